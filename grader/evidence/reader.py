"""Untrusted files → validated `Evidence`: typed, bounded, and still only claims.

The records of `protocol.records` are what the kernel builds; here they are checked. Files have limits on size and
depth, tensors on number and size as well. Whatever does not fit is a `ProtocolViolation`, which says something about
the notebook, not about the grader.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

import nbformat
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from grader.errors import GraderError
from grader.evidence.untrusted import ProtocolViolation, parse_json, parse_tensors
from grader.execution.record import ProbeOutcome, RunRecord
from grader.model import FailedCell, Profile, RunStatus
from grader.protocol.events import fingerprint
from grader.protocol.records import (
    CountAnswers,
    Environment,
    ExtractAnswers,
    LoraAnswers,
    ReplaceAnswers,
    Training,
    Trainings,
)

T = TypeVar("T")


class Evidence:
    """The evidence of one execution. Parts are read and validated when first asked for."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where `execute` left it. Raises GraderError when there is no run record of ours in it."""
        self.folder = folder
        self.violations: list[str] = []  # found so far
        try:
            self.run = RunRecord.model_validate_json((folder / "run.json").read_bytes())
        except (OSError, ValidationError) as error:
            raise GraderError(f"{folder} holds no evidence of a run; grade the notebook again.") from error

    @cached_property
    def trainings(self) -> tuple[Training, ...]:
        """All trainings, in order. One whose weights made room for those of later ones left none."""
        found = self._read("trainings.json", TRAININGS) or ()
        if any(training.index != position for position, training in enumerate(found)):
            raise self._refuse(ProtocolViolation("trainings.json: trainings out of order"))
        last = max((one.index for one in found if self._keeps(one)), default=0)
        return tuple(_forget_weights(one) if one.index < last and not self._keeps(one) else one for one in found)

    def _keeps(self, training: Training) -> bool:
        """Return True if the weights that a training left are there, or known."""
        return training.exit.file is not None and self.is_kept(training.exit.file)

    def is_kept(self, name: str) -> bool:
        """Return True if a file of weights is there, or what is asked about it is known."""
        return (self.folder / name).is_file()

    @cached_property
    def fingerprints(self) -> tuple[tuple[str, str], ...]:
        """For each training the digests of its entry and of itself, as `protocol.events` computes them."""
        if not self.trainings:
            return ()
        found = json.loads((self.folder / "trainings.json").read_bytes())  # the schema has been checked
        rest = [{key: value for key, value in one.items() if key != "evaluations"} for one in found]
        return tuple((fingerprint(one["entry"]), fingerprint(one)) for one in rest)

    @cached_property
    def count(self) -> CountAnswers | None:
        """Answers about the counting function; None when nothing was answered."""
        return self._read("probe-count.json", COUNT)

    @cached_property
    def extract(self) -> ExtractAnswers | None:
        """Answers about the extraction."""
        return self._read("probe-extract.json", EXTRACT)

    @cached_property
    def replace(self) -> ReplaceAnswers | None:
        """Answers about the replacement."""
        return self._read("probe-replace.json", REPLACE)

    @cached_property
    def lora(self) -> LoraAnswers | None:
        """Answers about the LoRA layer."""
        return self._read("probe-lora.json", LORA)

    @cached_property
    def lora_tensors(self) -> dict[str, Tensor]:
        """Tensors that the LoRA layer answered with, by `CHALLENGE.name`."""
        return self.tensors("probe-lora.safetensors")

    @cached_property
    def environment(self) -> dict[str, str]:
        """Versions that the kernel reports."""
        found = self._read("environment.json", ENVIRONMENT)
        return asdict(found) if found else {}

    @cached_property
    def submitted(self) -> nbformat.NotebookNode:
        """The notebook as handed in, with the text of its saved outputs."""
        return nbformat.read(self.folder / "submitted.ipynb", 4)

    @cached_property
    def executed(self) -> nbformat.NotebookNode | None:
        """The notebook with the outputs of this run; None when the run left none."""
        path = self.folder / "executed.ipynb"
        return nbformat.read(path, 4) if path.is_file() else None

    @property
    def sources(self) -> dict[int, str]:
        """Sources of the code cells, in order, by their index among all cells."""
        return {index: cell.source for index, cell in enumerate(self.submitted.cells) if cell.cell_type == "code"}

    def find_failed_definition(self, names: Iterable[str]) -> FailedCell | None:
        """The first cell that raised although it holds a function or class of one of these names."""
        wanted = re.compile(rf"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(?:{'|'.join(names)})\b", re.MULTILINE)
        cells = self.submitted.cells
        failed = (cell for cell in self.run.summary.failed_cells if cell.index < len(cells))
        return next((cell for cell in failed if wanted.search(cells[cell.index].source)), None)

    @property
    def profile(self) -> Profile:
        """Under which profile the notebook ran."""
        return self.run.conditions.profile

    @property
    def interrupted(self) -> bool:
        """Whether the kernel was lost before all cells and probes were through."""
        return self.run.summary.status not in (RunStatus.OK, RunStatus.STUDENT_ERROR) and not self.probed

    @property
    def probed(self) -> bool:
        """Whether any family of probes was put to the kernel."""
        return any(outcome is not ProbeOutcome.NOT_RUN for outcome in self.run.probes.values())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """All tensors of one file, or none if the file is missing. Raises ProtocolViolation."""
        path = self.folder / name
        return self._parse(lambda: parse_tensors(path)) if path.is_file() else {}

    def weights(self, name: str) -> dict[str, Tensor]:
        """The tensors that a training says it left. Raises ProtocolViolation, also when there is no such file."""
        self._require(name)
        return self.tensors(name)

    def digest(self, name: str) -> str:
        """SHA-256 of a file that a training says it left. Raises ProtocolViolation when there is none."""
        with self._require(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _require(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise self._refuse(ProtocolViolation(f"{name}: named and not there"))
        return path

    def _read(self, name: str, schema: TypeAdapter[T]) -> T | None:
        path = self.folder / name
        return self._parse(lambda: parse_json(path, schema)) if path.is_file() else None

    def _parse(self, parse: Callable[[], T]) -> T:
        try:
            return parse()
        except ProtocolViolation as violation:
            raise self._refuse(violation) from violation.__cause__

    def _refuse(self, violation: ProtocolViolation) -> ProtocolViolation:
        """Note it: a result says so whoever caught it."""
        self.note(str(violation))
        return violation

    def note(self, violation: str) -> None:
        """Note what no honest notebook causes."""
        if violation not in self.violations:
            self.violations.append(violation)


def _forget_weights(training: Training) -> Training:
    return replace(training, exit=replace(training.exit, file=None))


TRAININGS: Final[TypeAdapter[tuple[Training, ...]]] = TypeAdapter(Trainings)
COUNT: Final[TypeAdapter[CountAnswers]] = TypeAdapter(CountAnswers)
EXTRACT: Final[TypeAdapter[ExtractAnswers]] = TypeAdapter(ExtractAnswers)
REPLACE: Final[TypeAdapter[ReplaceAnswers]] = TypeAdapter(ReplaceAnswers)
LORA: Final[TypeAdapter[LoraAnswers]] = TypeAdapter(LoraAnswers)
ENVIRONMENT: Final[TypeAdapter[Environment]] = TypeAdapter(Environment)
