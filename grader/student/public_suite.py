"""The public checks on a notebook file, in a kernel of its own."""

from typing import Final

from grader import canary, pipeline
from grader.errors import SubmissionError
from grader.execution.progress import Listener
from grader.execution.run import execute
from grader.execution.setup import UNSANDBOXED
from grader.intake.notebook import Submission
from grader.judging import runner
from grader.judging.apart import leave_threads_to_children
from grader.judging.result import GradingResult, has_failures
from grader.model import Profile
from grader.sandbox.folders import open_temporary_folder
from grader.text import sanitise

OWN_MACHINE: Final = "own machine"


def run_public_suite(
    submission: Submission, step: str | None = None, listener: Listener | None = None
) -> GradingResult:
    """Run the public suite on a notebook in profile `structure`. Raises SubmissionError and GraderError.

    What passes needs no trial of this machine. Where a check fails, the trial shows whether the machine is at fault.
    """
    leave_threads_to_children()
    require_known(step)
    with (
        open_temporary_folder("a4-check-") as folder,
        pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, UNSANDBOXED, trial=False) as used,
    ):
        evidence = folder / "evidence"
        execute(submission, used, evidence, listener)
        if listener:
            listener.stage("judging")
        graded = pipeline.judge(evidence, used, pipeline.list_suite_folders(public_only=True), step)
        if has_failures(graded.result):
            canary.require_fit(used, pipeline.make_case, listener)
    return GradingResult(graded.result.model_copy(update={"sandbox": OWN_MACHINE}), graded.details)


def require_known(step: str | None) -> None:
    """Raise SubmissionError, before minutes are spent, if there is no such public check or step."""
    if step is None:
        return
    known = runner.list_checks(pipeline.list_suite_folders(public_only=True))
    steps = tuple(dict.fromkeys(name.split(".")[0] for name in known))
    if step not in (*known, *steps):
        raise SubmissionError(f"There is no public check or step {sanitise(step)!r}. The steps are {', '.join(steps)}.")
