"""A `Case`, which checks look at: one submission's evidence beside everything that the trusted side knows about it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeVar

from torch import Tensor

from grader import challenges
from grader.challenges import Challenges
from grader.evidence.reader import Evidence
from grader.evidence.untrusted import ProtocolViolation
from grader.judging.calibration import Calibration
from grader.model import Method, MethodSummary, Profile
from grader.oracle import descent, gradients, methods
from grader.oracle.accuracy import Accuracy, AccuracyMeter, IncompleteWeights
from grader.oracle.certificates import Certificate, builds_on, certify
from grader.oracle.exposure import OWN_LABELS, Library
from grader.oracle.gradients import GradientFit
from grader.oracle.work import explain_idleness
from grader.protocol.checkpoint import load_base_tensors
from grader.protocol.records import Exit, Training

LEARNING_MARGIN = 0.10  # of a threshold above the share of the more frequent label
Read = TypeVar("Read")


@dataclass(frozen=True)
class Oracle:
    """The trusted side of judging. `meter` and `library` are made only when a check asks."""

    base_weights: Path
    meter: Callable[[Evidence], AccuracyMeter]
    library: Callable[[], Library]
    calibration: Callable[[Evidence], Calibration | None]


class Case:
    """Evidence and oracle of one submission, with what follows from both computed once.

    `in_file`: its cells are those of a file that ran from the top. Else they are what ran in an open notebook.
    """

    in_file: ClassVar[bool] = True

    def __init__(self, evidence: Evidence, oracle: Oracle) -> None:
        """Read nothing: each part is read when a check asks for it."""
        self.evidence, self.oracle = evidence, oracle
        self._certificates: dict[Method, Certificate] = {}
        self._gradient_fits: dict[Method, GradientFit | None] = {}
        self._accuracies: dict[Method, Accuracy | None] = {}

    @property
    def profile(self) -> Profile:
        """The profile under which the notebook ran."""
        return self.evidence.profile

    @cached_property
    def challenges(self) -> Challenges:
        """The challenges of the probes: the same draw as at execution, from the recorded seed."""
        return challenges.draw(self.evidence.run.conditions.seed)

    @cached_property
    def placed(self) -> dict[Method, Training]:
        """The training that is judged for each method."""
        found = methods.attribute(self.evidence.trainings, self.idle)
        return {method: self.evidence.trainings[index] for method, index in found.items()}

    @cached_property
    def idle(self) -> dict[int, str]:
        """The trainings that ended without having done any work, with what each lacks, as the end of a sentence."""
        if not self.evidence.run.work_measured:
            return {}
        found = (
            (t.index, self._explain_origin(t) or explain_idleness(t, self.profile)) for t in self.evidence.trainings
        )
        return {index: words for index, words in found if words}

    def _explain_origin(self, training: Training) -> str | None:
        """Return what is wrong with a record of a training that did not go on under the host's eyes, or was changed."""
        watched = self.evidence.run.trainings
        if watched is None:
            return None
        seen, (entry, record) = watched.get(training.index), self.evidence.fingerprints[training.index]
        if seen is None or seen.entry != entry or (training.finished and seen.record != record):
            return "its record is not that of a training in this run"
        if training.work is not None and training.work.steps != seen.steps:
            return "its record has other steps than were taken"
        return None

    @cached_property
    def drifts(self) -> dict[Method, str]:
        """The trainings whose weights look made up, with what shows it, as the end of a sentence.

        Asked in profile `quick` alone: two steps move weights too little, and thousands too far.
        """
        if self.profile is not Profile.QUICK:
            return {}
        sample = self.oracle.meter(self.evidence).encode_sample()
        finished = {method: training for method, training in self.placed.items() if training.finished}
        found = ((method, self._explain_drift(training, sample)) for method, training in finished.items())
        return {method: words for method, words in found if words}

    def _explain_drift(self, training: Training, sample: tuple[Tensor, Tensor]) -> str | None:
        left, entry = training.exit.file, training.gradients
        if left is None:
            return "it leaves no weights that can be read"
        try:
            begun = self.evidence.weights(entry) if entry else {}
            follows = descent.moves_along_gradients(self.evidence.weights(left), begun, self.base, *sample)
        except (ProtocolViolation, RuntimeError):  # not there, or of shapes that no DistilBERT has
            follows = False
        if follows is None:  # another head: then its size does not fit either, unless the record lies
            follows = not methods.fits_its_step(training.entry)
        if follows:
            return None
        return "its weights stand still, or do not move as the gradients of the network would move them"

    def explain_absence(self) -> str:
        """Return what is wrong with the trainings that do not count, as a further sentence; empty if there are none."""
        words = list(dict.fromkeys(self.idle.values()))
        return f" A training does not count: {words[0]}." if words else ""

    def name_error(self, cell: int) -> str:
        """Return the error with which a cell failed, as Python writes it."""
        failed = next((c for c in self.evidence.run.summary.failed_cells if c.index == cell), None)
        return f"{failed.error}: {failed.message}".rstrip(". :") if failed else ""

    def describe_error(self, cell: int) -> str:
        """Return what a failed cell says, as a further sentence."""
        error = self.name_error(cell)
        return f" Cell {cell + 1} stops early, with {error}." if error else ""

    @cached_property
    def base(self) -> dict[str, Tensor]:
        """The checkpoint's tensors."""
        return load_base_tensors(str(self.oracle.base_weights))

    @cached_property
    def calibration(self) -> Calibration | None:
        """The calibration for these conditions, if there is one."""
        return self.oracle.calibration(self.evidence)

    @cached_property
    def library(self) -> Library:
        """Keys of the course's reviews."""
        return self.oracle.library()

    def training(self, method: Method) -> Training | None:
        """Return the training of a method, finished or not."""
        return self.placed.get(method)

    def measure_foreign_labels(self, method: Method) -> float | None:
        """Return the share of training reviews with another label than in train.csv; None where it is no mistake."""
        training = self.training(method)
        own = self.library.measure_own_labels(training.data.train) if training else None
        return 1 - own if own is not None and own < OWN_LABELS else None

    def _find_exit(self, method: Method) -> Exit | None:
        training = self.training(method)
        return training.exit if training and training.finished else None

    def certificate(self, method: Method) -> Certificate | None:
        """Compute what the training of a method did to the weights; None when it left none."""
        end = self._find_exit(method)
        if end is None or end.file is None:
            return None
        if method not in self._certificates:
            self._certificates[method] = certify(self.evidence.weights(end.file), self.base, end.reduced)
        return self._certificates[method]

    @cached_property
    def adapts_layers_of_step_1(self) -> bool:
        """True if what step 3 adds is of low rank beside the layers of step 1's model, and the rest is pretrained."""
        lora, full = self.certificate(Method.LORA), self.certificate(Method.FULL)
        training = self.training(Method.LORA)
        if lora is None or full is None or training is None or training.entry.changed:
            return False
        rank = methods.count_rank(training.entry)
        return max(lora.qv_ranks.values(), default=0) > rank and builds_on(lora, full, rank)

    def gradient_fit(self, method: Method) -> GradientFit | None:
        """Recompute the gradients at the start of a training; None where the model could not be asked."""
        training = self.training(method)
        if training is None or training.gradients is None:
            return None
        if method not in self._gradient_fits:
            answer = self.evidence.weights(training.gradients)
            self._gradient_fits[method] = gradients.compare(answer, self.base, self.challenges.question)
        return self._gradient_fits[method]

    def accuracy(self, method: Method) -> Accuracy | None:
        """Measure on held-out reviews whether a method reaches its threshold: on as many as that takes.

        None without weights to measure, and in profile `structure`.
        """
        if method not in self._accuracies:
            self._accuracies[method] = self.measure_accuracy(method, self.threshold(method))
        return self._accuracies[method]

    def measure_accuracy(self, method: Method, threshold: float | None = None) -> Accuracy | None:
        """Measure the accuracy on held-out reviews: on all of them, or on as many as a threshold takes."""
        end = self._find_exit(method)
        if self.profile is Profile.STRUCTURE or end is None or end.file is None:
            return None
        digest = self.evidence.digest(end.file)
        meter = self.oracle.meter(self.evidence)
        known = meter.known(digest, threshold)
        if known is not None:
            return known
        try:
            return meter.measure(self.evidence.weights(end.file), self.base, digest, threshold)
        except (IncompleteWeights, RuntimeError, KeyError):  # shapes or names that no DistilBERT has
            return None

    @cached_property
    def majority(self) -> float:
        """The accuracy on held-out reviews of an answer that is always the same."""
        return self.oracle.meter(self.evidence).measure_majority()

    def threshold(self, method: Method) -> float | None:
        """Return the accuracy that a method has to reach; None where nothing is calibrated, or nothing is told by it.

        A threshold that a constant answer comes close to says nothing about learning.
        """
        if self.calibration is None:
            return None
        threshold = self.calibration.methods[method].threshold
        return threshold if threshold >= self.majority + LEARNING_MARGIN else None


def read_or_none(read: Callable[[], Read]) -> Read | None:
    """Return what evidence says, or None where it is malformed; the checks that need it say so."""
    try:
        return read()
    except ProtocolViolation:
        return None


def summarise_method(case: Case, method: Method) -> MethodSummary:
    """Return one row of the comparison."""
    training = case.training(method)
    if training is None:
        return MethodSummary()
    measured = case.accuracy(method)
    return MethodSummary(
        trainable_parameters=training.entry.trainable,
        accuracy=measured.share if measured else None,
        reviews=measured.reviews if measured else None,
        threshold=case.threshold(method),
        train_s=round(training.seconds, 2) if training.finished else None,
        steps=training.steps if training.finished else None,
    )


def locate_trainings(case: Case) -> list[tuple[Method, int]]:
    """Return the cell in which each method was trained, as far as that is known."""
    cells = case.evidence.run.training_cells
    return [(m, cells[t.index]) for m, t in case.placed.items() if t.index in cells]
