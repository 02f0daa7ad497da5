"""Facts about trained weights, written down once, so that judging again needs no weights.

A training of all parameters leaves 268 MB. The suite asks for a few facts about them (a certificate, an accuracy), and
in `structure`, where nothing is really learned, the weights have no other use: they are removed once their facts are
written. Trusted code writes the ledger, beside the evidence folder and not in it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ConfigDict, Field
from torch import Tensor

from grader import challenges
from grader.errors import GraderError
from grader.evidence.reader import Evidence
from grader.judging.boundary import OURS
from grader.model import FrozenModel
from grader.oracle import gradients
from grader.oracle.certificates import Certificate, KnownRank, certify
from grader.oracle.gradients import GradientFit
from grader.protocol.records import Training

NAME: Final = "ledger.json"


class Facts(FrozenModel):
    """The facts about one file of weights."""

    sha256: str
    encoder_changed: tuple[str, ...]
    qv_ranks: dict[str, int]
    head_changed: bool
    unreadable: tuple[str, ...]

    def certificate(self) -> Certificate:
        """Return what `certify` returns, with the ranks alone in place of matrices."""
        deltas = {path: KnownRank(rank) for path, rank in self.qv_ranks.items()}
        return Certificate(self.encoder_changed, deltas, self.head_changed, self.unreadable)


class GradientFacts(FrozenModel):
    """How well the gradients in one file agree with the recomputed ones: the fields of `GradientFit`."""

    output_error: float
    head_error: float | None
    adapter_errors: dict[str, float]
    tolerance: float

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")  # an error may be infinite

    def fit(self) -> GradientFit:
        """Return what `oracle.gradients.compare` returns."""
        return GradientFit(self.output_error, self.head_error, self.adapter_errors, self.tolerance)


class Ledger(FrozenModel):
    """Facts by the name of the file in the evidence folder. No fit: the answer holds no classifier's head."""

    facts: dict[str, Facts] = Field(default_factory=dict)
    gradients: dict[str, GradientFacts | None] = Field(default_factory=dict)


def load(folder: Path) -> Ledger:
    """Read the ledger in a folder of the store; empty where there is none. Raises GraderError when it is damaged."""
    path = folder / NAME
    try:
        return Ledger.model_validate_json(path.read_bytes()) if path.is_file() else Ledger()
    except (OSError, ValueError) as error:
        raise GraderError(f"{path} is damaged; remove {folder} and grade again.") from error


def note(folder: Path, base: Mapping[str, Tensor], keep_weights: bool) -> Ledger:
    """Write the ledger of `folder`/evidence; remove the weights that it describes unless they are to be kept."""
    evidence = Evidence(folder / "evidence")
    try:
        ended = [t for t in evidence.trainings if t.finished and t.exit.file]
        ledger = Ledger(
            facts={t.exit.file or "": _compute_facts(evidence, t, base) for t in ended},
            gradients={t.gradients: _compare(evidence, t.gradients, base) for t in evidence.trainings if t.gradients},
        )
    except OURS:
        raise
    except Exception:  # what is malformed stays as it is: judging says what is wrong with it
        ledger = Ledger()
    write(folder, ledger)
    if not keep_weights:
        for name in (*ledger.facts, *ledger.gradients):
            (evidence.folder / name).unlink()
    return ledger


def write(folder: Path, ledger: Ledger) -> None:
    """Write the ledger of a folder, which is published with the folder, or not."""
    (folder / NAME).write_text(ledger.model_dump_json(indent=1), encoding="utf-8")


def _compare(evidence: Evidence, name: str, base: Mapping[str, Tensor]) -> GradientFacts | None:
    question = challenges.draw(evidence.run.conditions.seed).question
    found = gradients.compare(evidence.weights(name), base, question)
    return GradientFacts(**vars(found)) if found else None


def _compute_facts(evidence: Evidence, training: Training, base: Mapping[str, Tensor]) -> Facts:
    name = training.exit.file or ""
    found = certify(evidence.weights(name), base, training.exit.reduced)
    return Facts(
        sha256=evidence.digest(name),
        encoder_changed=found.encoder_changed,
        qv_ranks=found.qv_ranks,
        head_changed=found.head_changed,
        unreadable=found.unreadable,
    )
