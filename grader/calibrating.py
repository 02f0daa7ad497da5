"""Measures the thresholds: the reference, graded like any submission, over several seeds."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from grader import calibration, grading, profiles
from grader.calibration import FALSE_FAIL, Calibration
from grader.errors import GraderError
from grader.execution.job import Setup
from grader.execution.run import execute
from grader.intake.notebook import read_submission
from grader.model import Method, Profile, RunStatus

REFERENCE = grading.ROOT / "reference" / "solution.ipynb"
CALIBRATIONS = grading.ROOT / "data" / "calibration.json"

Accuracies = dict[Method, float]


def calibrate(profile: Profile, seeds: Iterable[int], console: Console) -> Calibration:
    """Run the reference once per seed and write the thresholds to data/calibration.json. Raises GraderError."""
    if profile is Profile.STRUCTURE:
        raise GraderError(
            "Profile structure trains two steps, which says nothing about accuracy; calibrate quick or full."
        )
    numbers = tuple(seeds)
    with grading.setup(profile, numbers[0]) as used:
        runs = [_measured(grading.at_seed(used, seed), console) for seed in numbers]
        found = _calibration(used, numbers, runs)
    calibration.save(CALIBRATIONS, calibration.merged(calibration.load(CALIBRATIONS), found))
    for method, threshold in found.methods.items():
        console.print(
            f"{method.value:>5}: mean {threshold.mean:.4f}, deviation {threshold.deviation:.4f}, "
            f"threshold {threshold.threshold:.4f}"
        )
    for warning in calibration.warnings(found.methods):
        console.print(f"warning: {warning}")
    return found


def _measured(used: Setup, console: Console) -> Accuracies:
    """The reference's accuracies with one seed."""
    with tempfile.TemporaryDirectory(prefix="a4-calibrate-") as name:
        record = execute(read_submission(REFERENCE), used, Path(name) / "evidence")
        if record.summary.status is not RunStatus.OK:
            raise GraderError(f"The reference does not run ({record.reason}); mend it before calibrating.")
        case = grading.make_case(Path(name) / "evidence", used)
        found = {method: case.accuracy(method) for method in Method}
    if any(accuracy is None for accuracy in found.values()):
        raise GraderError("The reference left no weights to measure; mend it before calibrating.")
    console.print(
        f"seed {used.seed}: "
        + ", ".join(f"{m.value} {a:.3f}" for m, a in found.items())
        + f" ({record.summary.wall_s:.0f} s)"
    )
    return {method: accuracy for method, accuracy in found.items() if accuracy is not None}


def _calibration(used: Setup, seeds: tuple[int, ...], runs: list[Accuracies]) -> Calibration:
    precision = "bfloat16 autocast" if used.bfloat16 else "float32"
    return Calibration(
        name=f"{used.profile.value}, {used.checkpoint.name}, {used.reviews.name} ({used.reviews.sha256[:8]})",
        profile=used.profile,
        budget=profiles.fingerprint(used.profile),
        checkpoint=used.checkpoint.name,
        checkpoint_sha256=used.checkpoint.sha256,
        reviews=used.reviews.name,
        reviews_sha256=used.reviews.sha256,
        precision=precision,
        seeds=seeds,
        false_fail=FALSE_FAIL,
        methods={method: calibration.threshold([run[method] for run in runs]) for method in Method},
    )
