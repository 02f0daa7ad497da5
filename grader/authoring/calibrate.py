"""Measures the thresholds: the reference, graded like any submission, over several seeds.

Accuracies are stored seed by seed: an interrupted calibration goes on where it stopped, and a longer
one uses what a shorter one measured.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from grader import pipeline
from grader.errors import GraderError
from grader.execution import profiles
from grader.execution.driver import Limits
from grader.execution.job import Setup
from grader.execution.run import execute
from grader.execution.setup import SandboxOptions
from grader.intake.notebook import read_submission
from grader.judging import calibration
from grader.judging.calibration import FALSE_FAIL, Calibration
from grader.judging.case import Case
from grader.model import Method, Profile, RunStatus
from grader.paths import CALIBRATIONS, MEASURED, REFERENCE
from grader.sandbox.folders import open_temporary_folder

PATIENT = Limits(cell_s=36_000, notebook_s=72_000)  # nobody waits for it, and other work may come first

Accuracies = dict[Method, float]


def calibrate(profile: Profile, seeds: Iterable[int], console: Console) -> Calibration:
    """Run the reference once per seed and write the thresholds to data/calibration.json. Raises GraderError."""
    if profile is Profile.STRUCTURE:
        raise GraderError(
            "Profile structure trains two steps, which says nothing about accuracy; calibrate quick or full."
        )
    numbers = tuple(seeds)
    with pipeline.open_setup(profile, numbers[0], SandboxOptions(limits=PATIENT)) as used:
        runs = [_measure(replace(used, seed=seed), console) for seed in numbers]
        found = _calibration(used, numbers, runs)
    calibration.save(CALIBRATIONS, calibration.merge(calibration.load(CALIBRATIONS), found))
    for method, threshold in found.methods.items():
        console.print(
            f"{method.value:>5}: mean {threshold.mean:.4f}, deviation {threshold.deviation:.4f}, "
            f"threshold {threshold.threshold:.4f}"
        )
    for warning in calibration.list_warnings(found.methods):
        console.print(f"warning: {warning}")
    return found


def _measure(used: Setup, console: Console) -> Accuracies:
    """The reference's accuracies with one seed: stored ones, or new ones."""
    stored = _locate_runs(used)
    known = _read(stored)
    if str(used.seed) not in known:
        known[str(used.seed)] = _run(used)
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps(known, indent=1), encoding="utf-8")
    found = load_runs(used)[used.seed]
    console.print(f"seed {used.seed}: " + ", ".join(f"{method.value} {a:.3f}" for method, a in found.items()))
    return found


def _run(used: Setup) -> dict[str, float]:
    with open_temporary_folder("a4-calibrate-") as folder:
        evidence = folder / "evidence"
        record = execute(read_submission(REFERENCE), used, evidence, limits=PATIENT)
        if record.summary.status is not RunStatus.OK:
            raise GraderError(f"The reference does not run ({record.reason}); mend it before calibrating.")
        return collect_accuracies(pipeline.make_case(evidence, used))


def collect_accuracies(case: Case) -> dict[str, float]:
    """Held-out accuracy by method. Raises GraderError when one is missing."""
    found = {method.value: case.accuracy(method) for method in Method}
    if any(accuracy is None for accuracy in found.values()):
        raise GraderError("The reference left no weights to measure; mend it before calibrating.")
    return {name: accuracy for name, accuracy in found.items() if accuracy is not None}


def load_runs(used: Setup) -> dict[int, Accuracies]:
    """All runs of the reference under these circumstances that are stored, by seed."""
    known = _read(_locate_runs(used))
    return {int(seed): {Method(name): a for name, a in found.items()} for seed, found in known.items()}


def _locate_runs(used: Setup) -> Path:
    """File of the accuracies measured under these circumstances, by seed."""
    about = (used.profile, profiles.fingerprint(used.profile), used.checkpoint.sha256, used.reviews.sha256)
    digest = hashlib.sha256(json.dumps([*about, read_submission(REFERENCE).sha256]).encode()).hexdigest()[:16]
    return MEASURED / f"reference-{used.profile.value}-{digest}.json"


def _read(path: Path) -> dict[str, dict[str, float]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


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
        methods={method: calibration.compute_threshold([run[method] for run in runs]) for method in Method},
    )
