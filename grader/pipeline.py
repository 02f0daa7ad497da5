"""The stages for one submission. The command line, batches and calibration all grade through here."""

import atexit
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

from grader import canary
from grader.assets.cache import locate_cache
from grader.assets.hub import Checkpoint
from grader.errors import GraderError, SubmissionError
from grader.evidence.reader import Evidence
from grader.execution import profiles, setup
from grader.execution.driver import Limits
from grader.execution.job import Setup
from grader.execution.progress import Listener
from grader.execution.run import execute
from grader.execution.setup import BEST_SANDBOX, UNSANDBOXED, SandboxOptions
from grader.intake.notebook import Submission, read_submission
from grader.judging import calibration, careful
from grader.judging.apart import Bounds
from grader.judging.boundary import Watch
from grader.judging.case import Case, Oracle
from grader.judging.result import GradingResult, judge_case
from grader.machine.inventory import Finding, Status
from grader.model import Precision, Profile
from grader.oracle.accuracy import AccuracyMeter
from grader.oracle.exposure import Library
from grader.paths import CALIBRATIONS, HIDDEN_TESTS, PUBLIC_TESTS, REFERENCE, ROOT
from grader.sandbox import Backend, run_self_tests
from grader.sandbox.folders import open_temporary_folder

DEFAULT_SEED = 0
UNFIT = "The notebook is right, so this machine is at fault. Nobody is graded here until the notebook passes."


@contextmanager
def open_setup(
    profile: Profile,
    seed: int,
    sandbox: SandboxOptions = BEST_SANDBOX,
    precision: Precision = Precision.AUTO,
    trial: bool = True,
    listener: Listener | None = None,
) -> Iterator[Setup]:
    """Yield what an execution needs, with a sandbox that lives as long as the block. Raises GraderError.

    trial: first grade a notebook that is known to be right. False where nothing is executed, or where the limits of
        the sandbox are tight on purpose.
    """
    with setup.open_setup(profile, seed, sandbox, precision) as used:
        if trial:
            canary.require_fit(used, make_case, listener)
        yield used


def check_fitness() -> Finding:
    """Grade the notebook that is known to be right, as a row for `doctor`: does it get its points here today?"""
    what = "trial notebook"
    backend = next((test.backend for test in run_self_tests() if test.passed), Backend.NONE)
    try:
        with open_setup(Profile.STRUCTURE, DEFAULT_SEED, SandboxOptions(backend), trial=False) as used:
            found = canary.attempt(used, make_case)
    except GraderError as error:
        return Finding(what, Status.MISSING, f"cannot be run in sandbox {backend}", str(error))
    if not found:
        return Finding(what, Status.OK, f"gets its points in sandbox {backend}")
    return Finding(what, Status.MISSING, f"loses points in sandbox {backend}: {'; '.join(map(str, found))}", UNFIT)


def list_suite_folders(public_only: bool = False) -> list[Path]:
    """Return the folders of the suite: the tests that students have, and those that only staff have."""
    found = [PUBLIC_TESTS] if public_only else [PUBLIC_TESTS, HIDDEN_TESTS]
    return [folder for folder in found if folder.is_dir()]


def grade(
    submission: Submission, used: Setup, folder: Path, listener: Listener | None = None, limits: Limits | None = None
) -> GradingResult:
    """Execute and judge; the evidence stays in `folder`/evidence. Raises GraderError."""
    execute(submission, used, folder / "evidence", listener, limits)
    if listener:
        listener.stage("judging")
    return judge(folder / "evidence", used, list_suite_folders())


def judge(evidence_folder: Path, used: Setup, folders: list[Path], only: str | None = None) -> GradingResult:
    """Judge stored evidence. `only`: one check or step. Raises GraderError.

    Nothing is executed, unless something goes wrong: then the reference tells whose fault that is.
    """

    def judge_watched(watch: Watch) -> GradingResult:
        return judge_case(make_case(evidence_folder, used), folders, only, watch)

    return careful.judge_carefully(judge_watched, Bounds.of(used.profile), lambda: find_faults_of_ours(used))


def find_faults_of_ours(used: Setup) -> frozenset[str] | None:
    """Return the parts of judging that go wrong for the reference solution too, on this machine; None if unknown.

    Found out once in a process, by grading it with next to no training. What that cannot judge counts as wrong.
    """
    if not REFERENCE.is_file():  # in the students' kit
        return None
    key = (used.checkpoint.sha256, used.reviews.sha256)
    if key not in _FAULTS:
        _FAULTS[key] = _judge_reference(plain(used))
    return _FAULTS[key]


_FAULTS: dict[tuple[str, str], frozenset[str] | None] = {}


def plain(used: Setup) -> Setup:
    """Return the set-up for a trial: with next to no training, and without a GPU."""
    return replace(used, profile=Profile.STRUCTURE, bfloat16=False, tf32=False, gpu_pool=None, environ={})


def _judge_reference(used: Setup) -> frozenset[str] | None:
    folders, bounds = list_suite_folders(), Bounds.of(used.profile)
    try:
        with open_temporary_folder("a4-reference-") as folder:
            execute(read_submission(REFERENCE), used, folder / "evidence")
            evidence = folder / "evidence"
            judge = lambda watch: judge_case(make_case(evidence, used), folders, watch=watch)  # noqa: E731
            return careful.list_faults(judge, bounds)
    except (GraderError, SubmissionError):
        return None


def make_case(evidence_folder: Path, used: Setup) -> Case:
    """Build a case: evidence beside the oracle for it."""
    return Case(Evidence(evidence_folder), build_oracle(used))


def build_oracle(used: Setup) -> Oracle:
    """Build the trusted side, lazily: few checks need most of it."""
    calibrations = cache(lambda: calibration.load(CALIBRATIONS))
    kept = locate_cache(ROOT, os.environ) / "keys" / f"{used.checkpoint.sha256[:16]}-{used.reviews.sha256[:16]}"

    def find(evidence: Evidence) -> calibration.Calibration | None:
        c = evidence.run.conditions
        return calibration.find(calibrations(), c.profile, c.budget, c.checkpoint_sha256, c.reviews_sha256)

    return Oracle(
        base_weights=used.checkpoint.weights,
        meter=lambda evidence: make_meter(used, evidence.profile),
        library=cache(lambda: Library(used.reviews, lambda: _tokenizer(used.checkpoint), kept)),
        calibration=find,
    )


def make_meter(used: Setup, profile: Profile) -> AccuracyMeter:
    return AccuracyMeter(
        heldout=used.reviews.heldout,
        snapshot=used.checkpoint.weights.parent,
        base_sha256=used.checkpoint.sha256,
        reviews_sha256=used.reviews.sha256,
        max_tokens=profiles.count_measured_tokens(profile),
        bfloat16=used.bfloat16,
        cache=locate_cache(ROOT, os.environ) / "accuracy",
    )


def _tokenizer(checkpoint: Checkpoint) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint.weights.parent)


def make_structure_case(notebook: Path) -> Case:
    """Execute a notebook in profile `structure` and build its case, for plain pytest."""
    submission = read_submission(notebook)
    held = ExitStack()
    atexit.register(held.close)  # evidence is read when a check asks for it
    folder = held.enter_context(open_temporary_folder("a4-case-"))
    with open_setup(Profile.STRUCTURE, DEFAULT_SEED, UNSANDBOXED) as used:
        execute(submission, used, folder / "evidence")
        return make_case(folder / "evidence", used)
