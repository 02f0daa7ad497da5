"""The public checks on a notebook file, in a kernel of its own."""

from pathlib import Path

from grader import pipeline
from grader.errors import SubmissionError
from grader.execution.progress import Listener
from grader.execution.run import execute
from grader.execution.setup import UNSANDBOXED
from grader.intake.notebook import read_submission
from grader.judging import runner
from grader.judging.result import GradingResult
from grader.model import Profile
from grader.sandbox.folders import open_temporary_folder
from grader.text import sanitise

OWN_MACHINE = "own machine"


def run_public_suite(notebook: Path, step: str | None = None, listener: Listener | None = None) -> GradingResult:
    """Run the public suite on a notebook file in profile `structure`. Raises SubmissionError and GraderError."""
    submission = read_submission(notebook.expanduser())
    require_known(step)
    with (
        open_temporary_folder("a4-check-") as folder,
        pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, UNSANDBOXED, listener=listener) as used,
    ):
        evidence = folder / "evidence"
        execute(submission, used, evidence, listener)
        graded = pipeline.judge(evidence, used, pipeline.list_suite_folders(public_only=True), step)
    return GradingResult(graded.result.model_copy(update={"sandbox": OWN_MACHINE}), graded.details)


def require_known(step: str | None) -> None:
    """Raise SubmissionError, before minutes are spent, if there is no such public check or step."""
    known = runner.list_checks(pipeline.list_suite_folders(public_only=True))
    steps = tuple(dict.fromkeys(name.split(".")[0] for name in known))
    if step is not None and step not in (*known, *steps):
        raise SubmissionError(f"There is no public check or step {sanitise(step)!r}. The steps are {', '.join(steps)}.")
