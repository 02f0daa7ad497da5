"""The stochastic part: how often an honest solution misses a threshold, and a dishonest one reaches it.

Every run trains in profile `quick`, takes minutes, and is stored at once as one JSON line, so that validation can be
stopped and resumed, and repeated for nothing. A line belongs to a case, a seed, and the conditions that a
calibration belongs to as well. It holds accuracies alone: what they are held against is the calibration of today.

A case makes only those trainings that its patch bears on: the others would be the reference's once more.

The reference may have been trained over many seeds already, by `make calibrate`. Runs that the thresholds do not follow
from are held against these; those that they follow from each against the threshold that the others give
(leave-one-out), so that no run judges itself.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.console import Console
from scipy.stats import beta

from grader import pipeline
from grader.authoring.calibrate import PATIENT, load_runs
from grader.errors import GraderError
from grader.execution import profiles
from grader.execution.job import Setup
from grader.execution.record import RunRecord
from grader.execution.run import execute
from grader.judging import calibration
from grader.judging.calibration import Calibration
from grader.judging.case import Case
from grader.model import FrozenModel, Method, RunStatus
from grader.oracle.work import is_replaced_at_end
from grader.paths import CALIBRATIONS
from grader.sandbox.folders import open_temporary_folder
from grader.student.definitions import drop_docstrings
from tests.proof.validity.corpus import Base, CaseKind, CorpusCase
from tests.proof.validity.fork_client import build_submission
from tests.proof.validity.ledger import append, locate_ledger, read

NAME: Final = "training"
REFERENCE_SEEDS: Final = 20
MUTANT_SEEDS: Final = 20
FIRST_SEED: Final = 1_000  # none that the calibration used
HONEST: Final = {"rank_6": 20, "lora_parameters": 20, "more_epochs": 40}  # and their seeds: 60 runs per method
CONFIDENCE: Final = 0.95
ENDED: Final = (RunStatus.OK, RunStatus.STUDENT_ERROR)  # all others say nothing about the case
STEPS: Final = dict(zip(("step1.accuracy", "step2.accuracy", "step3.accuracy"), Method, strict=True))
CELLS: Final = dict(zip(("train-full", "train-head", "train-lora"), Method, strict=True))  # of the reference
CALL: Final = "train_and_record("  # the line of such a cell that trains


class MeasuredRun(FrozenModel):
    """One run of one case."""

    case: str
    seed: int
    conditions: str
    accuracies: dict[Method, float | None]

    def reaches(self, method: Method, threshold: float) -> bool:
        """True if the accuracy check of a method would pass."""
        accuracy = self.accuracies.get(method)
        return accuracy is not None and accuracy >= threshold


@dataclass(frozen=True)
class Rate:
    """The number of times that something happened that should not."""

    what: str
    happened: int
    runs: int

    @property
    def bound(self) -> float:
        """Upper end of the one-sided 95 % confidence interval (Clopper and Pearson 1934)."""
        clean = self.runs - self.happened
        return float(beta.ppf(CONFIDENCE, self.happened + 1, clean)) if clean else 1.0


def plan(
    corpus: Sequence[CorpusCase], calibrated: Calibration | None, later: Sequence[MeasuredRun] = ()
) -> Iterator[tuple[CorpusCase, int]]:
    """Yield all that is to be run: honest solutions, and the mutants that show in accuracy alone.

    The reference is left out where its calibration has enough seeds, or enough with the `later` runs.
    """
    for case in corpus:
        if case.id == "reference" and has_enough_seeds(calibrated, later):
            continue
        seeds = HONEST | {"reference": REFERENCE_SEEDS} | ({case.id: MUTANT_SEEDS} if case.training else {})
        yield from ((case, FIRST_SEED + number) for number in range(seeds.get(case.id, 0)))


def has_enough_seeds(calibrated: Calibration | None, later: Sequence[MeasuredRun] = ()) -> bool:
    """True if the runs of a calibration, with `later` ones, show how often the reference misses a threshold."""
    return calibrated is not None and len(calibrated.seeds) + len(later) >= REFERENCE_SEEDS


def find_calibration(used: Setup) -> Calibration | None:
    """The thresholds for these conditions, as they are now."""
    conditions = (used.profile, profiles.fingerprint(used.profile), used.checkpoint.sha256, used.reviews.sha256)
    return calibration.find(calibration.load(CALIBRATIONS), *conditions)


def find_later_runs(used: Setup, calibrated: Calibration | None) -> tuple[MeasuredRun, ...]:
    """Runs of the reference that `make calibrate` stored here, and that today's thresholds do not follow from."""
    seen = calibrated.seeds if calibrated else ()
    runs = {seed: found for seed, found in load_runs(used).items() if seed not in seen}
    return tuple(
        MeasuredRun(case="reference", seed=seed, conditions="calibration", accuracies=dict(found))
        for seed, found in runs.items()
    )


def find_affected_methods(case: CorpusCase, base: Base) -> tuple[Method, ...]:
    """The methods whose accuracy the patch may change: those a mutant has to fail, those a variant's edit precedes."""
    if case.kind is CaseKind.MUTANT:
        return tuple(method for check, method in STEPS.items() if check in case.failed)
    order = list(base.cells)
    after = tuple(method for cell, method in CELLS.items() if order.index(cell) >= case.departs)
    return after or tuple(Method)  # the reference departs nowhere


def reduce_cells(case: CorpusCase, base: Base) -> tuple[str, ...]:
    """The case's cells without the trainings that its patch does not bear on."""
    needed = find_affected_methods(case, base)
    idle = [base.cells[cell] for cell, method in CELLS.items() if method not in needed]
    lines = {line for source in idle for line in source.splitlines() if line.startswith(CALL)}
    return tuple("\n".join(line for line in cell.splitlines() if line not in lines) for cell in case.cells)


def load_known(planned: Iterable[tuple[CorpusCase, int]], base: Base, used: Setup) -> tuple[MeasuredRun, ...]:
    """The planned runs that are stored already."""
    stored = {(m.case, m.seed, m.conditions): m for m in read(locate_ledger(NAME), MeasuredRun)}
    keys = [(case.id, seed, digest_conditions(used, reduce_cells(case, base))) for case, seed in planned]
    return tuple(stored[key] for key in keys if key in stored)


def measure(planned: Iterable[tuple[CorpusCase, int]], base: Base, used: Setup, console: Console) -> None:
    """Run what is planned and not stored yet, in order; every run is stored when it ends."""
    for case, seed in planned:
        known = load_known([(case, seed)], base, used)
        found = known[0] if known else _measure(case, base, replace(used, seed=seed))
        if not known:
            append(locate_ledger(NAME), found)
        accuracies = ", ".join(f"{m.value} {'-' if a is None else f'{a:.3f}'}" for m, a in found.accuracies.items())
        console.print(f"{case.id}, seed {seed}: {accuracies}", markup=False)


def digest_conditions(used: Setup, cells: Sequence[str]) -> str:
    """Digest all that a stored run depends on besides its seed."""
    source = digest_cells(cells)
    return f"{source} {profiles.fingerprint(used.profile)} {used.checkpoint.sha256[:16]} {used.reviews.sha256[:16]}"


def digest_cells(cells: Sequence[str]) -> str:
    """Digest what cells of code do: comments and docstrings train nothing."""
    return hashlib.sha256("\0".join(filter(None, map(_strip, cells))).encode()).hexdigest()[:16]


def _strip(cell: str) -> str:
    try:
        return ast.unparse(drop_docstrings(ast.parse(cell)))
    except SyntaxError:  # commands of IPython's
        return cell


def _measure(case: CorpusCase, base: Base, used: Setup) -> MeasuredRun:
    cells = reduce_cells(case, base)
    with open_temporary_folder("a4-validate-") as folder:
        record = execute(build_submission(case.id, cells), used, folder / "evidence", limits=PATIENT)
        require_ended(case, record)
        judged = pipeline.make_case(folder / "evidence", used)
        accuracies = {method: find_accuracy(judged, method) for method in find_affected_methods(case, base)}
    where = digest_conditions(used, cells)
    return MeasuredRun(case=case.id, seed=used.seed, conditions=where, accuracies=accuracies)


def find_accuracy(judged: Case, method: Method) -> float | None:
    """Return what the accuracy check compares with its threshold; None where it fails whatever the accuracy is."""
    training = judged.training(method)
    if training is None or is_replaced_at_end(training.work) or judged.measure_foreign_labels(method) is not None:
        return None
    measured = judged.measure_accuracy(method)  # on all reviews: what it is held against is the calibration of today
    return measured.share if measured else None


def require_ended(case: CorpusCase, record: RunRecord) -> None:
    """Raise GraderError for a run that ended before its notebook did: its accuracies are not missing, but unknown."""
    if record.summary.status not in ENDED:
        raise GraderError(f"{case.id} did not run to its end ({record.reason}); run the training part again.")


def compute_rates(
    found: Sequence[MeasuredRun], corpus: Sequence[CorpusCase], calibrated: Calibration | None
) -> tuple[Rate, ...]:
    """False fails of honest solutions by method, and false passes of each mutant on the checks it has to fail.

    Nothing is counted without a calibration: thresholds are never guessed.
    """
    if calibrated is None:
        return ()
    thresholds = {method: one.threshold for method, one in calibrated.methods.items()}
    reference = [m for m in found if m.case == "reference"]
    honest = {case.id for case in corpus if case.kind is CaseKind.VARIANT} - {"reference"}
    variants = [m for m in found if m.case in honest]
    return (
        *(_rate_left_out(calibrated, method) for method in Method if has_enough_seeds(calibrated)),
        *(_false_fails("other runs of the reference", reference, m, thresholds[m]) for m in Method),
        *(_false_fails("honest variants", variants, m, thresholds[m]) for m in Method),
        *(_false_passes([m for m in found if m.case == s.id], s, thresholds) for s in corpus if s.training),
    )


def _rate_left_out(calibrated: Calibration, method: Method) -> Rate:
    accuracies = calibrated.methods[method].accuracies
    missed = [
        accuracy
        < calibration.compute_threshold([*accuracies[:i], *accuracies[i + 1 :]], calibrated.false_fail).threshold
        for i, accuracy in enumerate(accuracies)
    ]
    what = f"runs of the reference that miss the threshold of {method.value} that its other runs give"
    return Rate(what, missed.count(True), len(missed))


def _false_fails(who: str, honest: Sequence[MeasuredRun], method: Method, threshold: float) -> Rate:
    missed = [not measured.reaches(method, threshold) for measured in honest if method in measured.accuracies]
    return Rate(f"{who} that miss the threshold of {method.value}, {threshold:.3f}", missed.count(True), len(missed))


def _false_passes(found: Sequence[MeasuredRun], case: CorpusCase, thresholds: Mapping[Method, float]) -> Rate:
    methods = [method for check, method in STEPS.items() if check in case.failed]
    reached = [measured.reaches(method, thresholds[method]) for measured in found for method in methods]
    return Rate(f"{case.id}: accuracy passes although {case.words}", reached.count(True), len(reached))
