"""What is known about weights, noted once, so that judging again reads no weights and does not even need them.

A training of all parameters leaves 268 MB. What the suite asks about them are a few facts (a certificate, an accuracy),
and in `structure`, where nothing was really learned, the weights are of no other use: they go when their facts are
noted. The ledger is written by trusted code, beside the evidence folder and not in it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import Field
from torch import Tensor

from grader.errors import GraderError
from grader.evidence.reader import Evidence
from grader.evidence.untrusted import ProtocolViolation
from grader.model import FrozenModel
from grader.oracle.certificates import Certificate, certify
from grader.protocol.records import Training

NAME: Final = "ledger.json"


class Facts(FrozenModel):
    """What is known about one file of weights."""

    sha256: str
    encoder_changed: tuple[str, ...]
    qv_ranks: dict[str, int]
    head_changed: bool
    unreadable: tuple[str, ...]

    def certificate(self) -> Certificate:
        """As `certify` gives it, with the ranks in place of the matrices that they were computed from."""
        found = Certificate(self.encoder_changed, {}, self.head_changed, self.unreadable)
        vars(found)["qv_ranks"] = dict(self.qv_ranks)  # where `cached_property` keeps what it computed
        return found


class Ledger(FrozenModel):
    """Facts by the name of the file in the evidence folder."""

    facts: dict[str, Facts] = Field(default_factory=dict)


def load(folder: Path) -> Ledger:
    """The ledger in a folder of the store; empty where there is none. Raises GraderError when it is damaged."""
    path = folder / NAME
    try:
        return Ledger.model_validate_json(path.read_bytes()) if path.is_file() else Ledger()
    except (OSError, ValueError) as error:
        raise GraderError(f"{path} is damaged; remove {folder} and grade again.") from error


def note(folder: Path, base: Mapping[str, Tensor], keep_weights: bool) -> Ledger:
    """Write the ledger of `folder`/evidence, and remove the weights that it speaks for unless they are to be kept."""
    evidence = Evidence(folder / "evidence")
    ledger = Ledger(facts=dict(_facts(evidence, base)))
    (folder / NAME).write_text(ledger.model_dump_json(indent=1), encoding="utf-8")  # published with the folder, or not
    if not keep_weights:
        for name in ledger.facts:
            (evidence.folder / name).unlink()
    return ledger


def _facts(evidence: Evidence, base: Mapping[str, Tensor]) -> list[tuple[str, Facts]]:
    try:
        trainings = [t for t in evidence.trainings if t.finished and t.exit.file]
        return [(t.exit.file or "", _compute_facts(evidence, t, base)) for t in trainings]
    except (ProtocolViolation, RuntimeError):  # what is malformed stays as it is: judging says what is wrong with it
        return []


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
