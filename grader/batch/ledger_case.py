"""A case whose weights may be gone: the ledger answers what the suite asks about them."""

from pathlib import Path

from torch import Tensor

from grader.batch.ledger import Ledger
from grader.errors import GraderError
from grader.evidence.reader import Evidence
from grader.judging.case import Case, Oracle
from grader.model import Method
from grader.oracle.certificates import Certificate
from grader.oracle.gradients import GradientFit


class LedgerEvidence(Evidence):
    """Evidence whose weights may be gone."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        """`folder`: the evidence folder itself."""
        super().__init__(folder)
        self.ledger = ledger

    def is_kept(self, name: str) -> bool:
        """Return True if a file of weights is there, or its facts are in the ledger."""
        return name in self.ledger.facts or super().is_kept(name)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of a file, from the ledger or computed."""
        noted = self.ledger.facts.get(name)
        return noted.sha256 if noted else super().digest(name)

    def weights(self, name: str) -> dict[str, Tensor]:
        """Read the tensors. Raises GraderError where only their facts are kept."""
        if name in (*self.ledger.facts, *self.ledger.gradients) and not (self.folder / name).is_file():
            raise GraderError("The weights are not kept; grade this submission again with --keep-weights.")
        return super().weights(name)


class LedgerCase(Case):
    """A case that looks into the ledger first."""

    def __init__(self, evidence: LedgerEvidence, oracle: Oracle, base: dict[str, Tensor]) -> None:
        """`base`: the checkpoint's tensors, which many cases share."""
        super().__init__(evidence, oracle)
        self.ledger = evidence.ledger
        self.base = base  # instead of the cached property

    def gradient_fit(self, method: Method) -> GradientFit | None:
        """Return how well the gradients of a training agree, from the ledger or recomputed."""
        training = self.training(method)
        if training is None or training.gradients not in self.ledger.gradients:
            return super().gradient_fit(method)
        noted = self.ledger.gradients[training.gradients]
        return noted.fit() if noted else None

    def certificate(self, method: Method) -> Certificate | None:
        """Return the certificate of a training, from the ledger or computed."""
        training = self.training(method)
        noted = self.ledger.facts.get(training.exit.file or "") if training and training.finished else None
        return noted.certificate() if noted else super().certificate(method)
