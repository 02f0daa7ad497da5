"""The stochastic part: how often an honest solution misses a threshold, and a dishonest one reaches it.

Every run trains in profile `quick`, takes minutes, and is stored at once as one JSON line, so that validation can be
stopped and resumed, and repeated for nothing. A line belongs to a specimen, a seed, and the circumstances that a
calibration belongs to as well.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Final

from nbformat.v4 import new_code_cell, new_notebook
from rich.console import Console

from grader import grading, profiles
from grader.assets.cache import cache_folder
from grader.case import Case
from grader.execution.job import Setup
from grader.execution.run import execute
from grader.intake.notebook import Submission
from grader.model import Frozen, Method
from grader.validation.corpus import Kind, Specimen

REFERENCE_SEEDS: Final = 20
OTHER_SEEDS: Final = 5
FIRST_SEED: Final = 1_000  # none that the calibration used
HONEST: Final = ("lora_parameters", "rank_6", "more_epochs")
CONFIDENCE: Final = 0.95


class Measured(Frozen):
    """One run of one specimen."""

    specimen: str
    seed: int
    circumstances: str
    accuracies: dict[Method, float | None]
    thresholds: dict[Method, float | None]

    def reaches(self, method: Method) -> bool | None:
        """Whether the accuracy check of a method would pass; None without a threshold."""
        threshold, accuracy = self.thresholds.get(method), self.accuracies.get(method)
        return None if threshold is None else accuracy is not None and accuracy >= threshold


@dataclass(frozen=True)
class Rate:
    """How often something happened that should not."""

    what: str
    happened: int
    runs: int

    @property
    def bound(self) -> float:
        """Upper end of the one-sided 95 % confidence interval (Clopper and Pearson 1934)."""
        low, high = self.happened / max(self.runs, 1), 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if _at_most(self.happened, self.runs, middle) > 1 - CONFIDENCE else (low, middle)
        return high


def _at_most(k: int, n: int, p: float) -> float:
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


def plan(corpus: Sequence[Specimen]) -> Iterator[tuple[Specimen, int]]:
    """What is to be run: the reference most often, honest variants, and the mutants that show in accuracy alone."""
    for specimen in corpus:
        seeds = REFERENCE_SEEDS if specimen.id == "reference" else OTHER_SEEDS
        if specimen.training or specimen.id in ("reference", *HONEST):
            yield from ((specimen, FIRST_SEED + number) for number in range(seeds))


def known(planned: Iterable[tuple[Specimen, int]], used: Setup) -> tuple[Measured, ...]:
    """The planned runs that are stored already."""
    by_key = _by_key(used)
    return tuple(by_key[s.id, seed] for s, seed in planned if (s.id, seed) in by_key)


def measure(planned: Iterable[tuple[Specimen, int]], used: Setup, console: Console) -> tuple[Measured, ...]:
    """Run what is planned and not stored yet, in order; every run is stored when it ends."""
    by_key, found = _by_key(used), []
    for specimen, seed in planned:
        if (specimen.id, seed) not in by_key:
            by_key[specimen.id, seed] = _measured(specimen, grading.at_seed(used, seed))
            _append(store(), by_key[specimen.id, seed])
        found.append(by_key[specimen.id, seed])
        console.print(_line(found[-1]), markup=False)
    return tuple(found)


def store() -> Path:
    """Where runs are stored, one JSON line each."""
    return cache_folder(grading.ROOT, os.environ) / "validation" / "training.jsonl"


def _by_key(used: Setup) -> dict[tuple[str, int], Measured]:
    where = circumstances(used)
    return {(m.specimen, m.seed): m for m in stored(store()) if m.circumstances == where}


def circumstances(used: Setup) -> str:
    """What a stored run depends on besides specimen and seed."""
    return f"{profiles.fingerprint(used.profile)} {used.checkpoint.sha256[:16]} {used.reviews.sha256[:16]}"


def stored(path: Path) -> tuple[Measured, ...]:
    """All stored runs. A line that was cut off by a crash is left out."""
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(Measured.model_validate_json(line) for line in lines if _whole(line))


def _whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _append(path: Path, measured: Measured) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{measured.model_dump_json()}\n")  # a line before it may have been cut off by a crash


def _measured(specimen: Specimen, used: Setup) -> Measured:
    notebook = new_notebook(cells=[new_code_cell(source) for source in specimen.cells])
    submission = Submission(specimen.id, Path(f"{specimen.id}.ipynb"), "0" * 64, notebook, notebook)
    with tempfile.TemporaryDirectory(prefix="a4-validate-") as name:
        execute(submission, used, Path(name))
        case: Case = grading.make_case(Path(name), used)
        accuracies = {method: case.accuracy(method) for method in Method}
        thresholds = {method: case.threshold(method) for method in Method}
    return Measured(
        specimen=specimen.id,
        seed=used.seed,
        circumstances=circumstances(used),
        accuracies=accuracies,
        thresholds=thresholds,
    )


def _line(measured: Measured) -> str:
    figures = ", ".join(
        f"{m.value} {a:.3f}" if a is not None else f"{m.value} -" for m, a in measured.accuracies.items()
    )
    return f"{measured.specimen}, seed {measured.seed}: {figures}"


def rates(found: Sequence[Measured], corpus: Sequence[Specimen]) -> tuple[Rate, ...]:
    """False fails of honest solutions by method, and false passes of each mutant on the checks it has to fail."""
    by_id = {specimen.id: specimen for specimen in corpus}
    return (
        *(_false_fails(found, by_id, method) for method in Method),
        *(_false_passes(found, s) for s in corpus if s.training and any(m.specimen == s.id for m in found)),
    )


def _false_fails(found: Sequence[Measured], by_id: dict[str, Specimen], method: Method) -> Rate:
    honest = [m.reaches(method) for m in found if by_id[m.specimen].kind is Kind.VARIANT]
    judged = [reached for reached in honest if reached is not None]
    return Rate(f"honest solutions that miss the threshold of {method.value}", judged.count(False), len(judged))


def _false_passes(found: Sequence[Measured], specimen: Specimen) -> Rate:
    methods = [
        m for m, step in zip(Method, ("step1", "step2", "step3"), strict=True) if f"{step}.accuracy" in specimen.failed
    ]
    judged = [m.reaches(method) for m in found if m.specimen == specimen.id for method in methods]
    return Rate(f"{specimen.id}: {specimen.words}", judged.count(True), len([j for j in judged if j is not None]))
