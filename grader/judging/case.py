"""A `Case`: one submission's evidence beside everything that the trusted side knows about it. What checks look at."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from grader import challenges
from grader.challenges import Challenges
from grader.evidence.reader import Evidence, Training
from grader.judging.calibration import Calibration
from grader.model import Method, Profile
from grader.oracle import methods
from grader.oracle.accuracy import AccuracyMeter, IncompleteWeights
from grader.oracle.certificates import Certificate, certify
from grader.oracle.exposure import Library
from grader.protocol.checkpoint import load_base_tensors


@dataclass(frozen=True)
class Oracle:
    """What judging needs besides the evidence. `meter` and `library` are made only when a check asks."""

    base_weights: Path
    meter: Callable[[Evidence], AccuracyMeter]
    library: Callable[[], Library]
    calibration: Callable[[Evidence], Calibration | None]


class Case:
    """Evidence and oracle of one submission, with what follows from both computed once."""

    def __init__(self, evidence: Evidence, oracle: Oracle) -> None:
        """Nothing is read before a check asks for it."""
        self.evidence, self.oracle = evidence, oracle
        self._certificates: dict[Method, Certificate] = {}
        self._accuracies: dict[Method, float | None] = {}

    @property
    def profile(self) -> Profile:
        """Under which profile the notebook ran."""
        return self.evidence.profile

    @cached_property
    def challenges(self) -> Challenges:
        """What the probes asked: the same draw as at execution, from the recorded seed."""
        return challenges.draw(self.evidence.run.conditions.seed)

    @cached_property
    def placed(self) -> dict[Method, Training]:
        """The training that is judged for each method."""
        found = methods.attribute(self.evidence.trainings)
        return {method: self.evidence.trainings[index] for method, index in found.items()}

    @cached_property
    def base(self) -> dict[str, Tensor]:
        """The checkpoint's tensors."""
        return load_base_tensors(str(self.oracle.base_weights))

    @cached_property
    def calibration(self) -> Calibration | None:
        """The calibration for these circumstances, if there is one."""
        return self.oracle.calibration(self.evidence)

    @cached_property
    def library(self) -> Library:
        """Keys of the course's reviews."""
        return self.oracle.library()

    def training(self, method: Method) -> Training | None:
        """The training of a method, finished or not."""
        return self.placed.get(method)

    def certificate(self, method: Method) -> Certificate | None:
        """What the training of a method did to the weights; None when it left none."""
        training = self.training(method)
        if training is None or not training.finished or training.exit.file is None:
            return None
        if method not in self._certificates:
            tensors = self.evidence.weights(training.exit.file)
            self._certificates[method] = certify(tensors, self.base, training.exit.reduced)
        return self._certificates[method]

    def accuracy(self, method: Method) -> float | None:
        """Accuracy on held-out reviews; None when there are no weights to measure, or no reason to in this profile."""
        if method not in self._accuracies:
            self._accuracies[method] = self._measured(method)
        return self._accuracies[method]

    def _measured(self, method: Method) -> float | None:
        training = self.training(method)
        if self.profile is Profile.STRUCTURE or training is None or not training.finished or training.exit.file is None:
            return None
        digest = self.evidence.digest(training.exit.file)
        meter = self.oracle.meter(self.evidence)
        known = meter.known(digest)
        if known is not None:
            return known
        try:
            return meter.measure(self.evidence.weights(training.exit.file), self.base, digest)
        except (IncompleteWeights, RuntimeError, KeyError):  # shapes or names that no DistilBERT has
            return None

    def threshold(self, method: Method) -> float | None:
        """What the accuracy of a method has to reach."""
        return self.calibration.methods[method].threshold if self.calibration else None
