"""Measures the thresholds: grades the reference like any submission, over several seeds.

Accuracies are stored seed by seed: an interrupted calibration continues where it stopped, and a longer one uses what a
shorter one measured.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter
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
from grader.model import Method, Profile, RunStatus
from grader.paths import CALIBRATIONS, MEASURED, REFERENCE
from grader.sandbox.folders import open_temporary_folder

PATIENT: Final = Limits(cell_s=36_000, notebook_s=72_000)  # nobody waits for it, and other work may come first

Accuracies = dict[Method, float]
RUNS: Final = TypeAdapter(dict[int, Accuracies])  # what a file holds: accuracies by seed


def calibrate(profile: Profile, seeds: Iterable[int], console: Console) -> Calibration:
    """Run the reference once per seed and write the thresholds to data/calibration.json. Raises GraderError."""
    if profile is Profile.STRUCTURE:
        raise GraderError("Profile structure trains two steps, too few to judge accuracy by; calibrate quick or full.")
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
    """Return the reference's accuracies with one seed: stored ones, or new ones."""
    known = load_runs(used)
    if used.seed not in known:
        known[used.seed] = _run(used)
        stored = _locate_runs(used)
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_bytes(RUNS.dump_json(known, indent=1))
    found = known[used.seed]
    console.print(f"seed {used.seed}: " + ", ".join(f"{method.value} {a:.3f}" for method, a in found.items()))
    return found


def _run(used: Setup) -> Accuracies:
    with open_temporary_folder("a4-calibrate-") as folder:
        evidence = folder / "evidence"
        record = execute(read_submission(REFERENCE), used, evidence, limits=PATIENT)
        if record.summary.status is not RunStatus.OK:
            raise GraderError(f"The reference does not run ({record.reason}); fix it before calibrating.")
        case = pipeline.make_case(evidence, used)
        found = {method: measured.share for method in Method if (measured := case.measure_accuracy(method))}
        if len(found) < len(Method):
            raise GraderError("The reference leaves no weights to measure; fix it before calibrating.")
        return found


def load_runs(used: Setup) -> dict[int, Accuracies]:
    """Return all stored runs of the reference under these conditions, by seed."""
    stored = _locate_runs(used)
    return RUNS.validate_json(stored.read_bytes()) if stored.is_file() else {}


def _locate_runs(used: Setup) -> Path:
    about = (used.profile, profiles.fingerprint(used.profile), used.checkpoint.sha256, used.reviews.sha256)
    digest = hashlib.sha256(json.dumps([*about, read_submission(REFERENCE).sha256]).encode()).hexdigest()[:16]
    return MEASURED / f"reference-{used.profile.value}-{digest}.json"


def _calibration(used: Setup, seeds: tuple[int, ...], runs: list[Accuracies]) -> Calibration:
    return Calibration(
        name=f"{used.profile.value}, {used.checkpoint.name}, {used.reviews.name} ({used.reviews.sha256[:8]})",
        profile=used.profile,
        budget=profiles.fingerprint(used.profile),
        checkpoint=used.checkpoint.name,
        checkpoint_sha256=used.checkpoint.sha256,
        reviews=used.reviews.name,
        reviews_sha256=used.reviews.sha256,
        precision="bfloat16 autocast" if used.bfloat16 else "float32",
        seeds=seeds,
        false_fail=FALSE_FAIL,
        methods={method: calibration.compute_threshold([run[method] for run in runs]) for method in Method},
    )
