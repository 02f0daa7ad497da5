"""Untrusted files → validated `Evidence`: typed, bounded, and still only claims.

JSON is parsed with limits on size and depth, tensors by safetensors with limits on number and size. Whatever does not
fit is a `ProtocolViolation`, which says something about the notebook, not about the grader.
"""

import hashlib
import re
from collections.abc import Iterable
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Annotated, Final, TypeVar

import nbformat
import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from grader import assignment
from grader.errors import GraderError
from grader.execution.record import ProbeOutcome, RunRecord
from grader.model import FailedCell, Profile, RunStatus

MAX_JSON_BYTES: Final = 16 * 2**20
MAX_TENSORS: Final = 2_000
MAX_TENSOR_BYTES: Final = 2**30  # a whole DistilBERT is 268 MB in float32
MAX_DIMENSIONS: Final = 4
DTYPES: Final = frozenset(
    (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
)

Text = Annotated[str, Field(max_length=2_000)]
Name = Annotated[str, Field(max_length=300)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
Seconds = Annotated[float, Field(ge=0, le=10**9)]
Shape = Annotated[tuple[Count, ...], Field(max_length=8)]


DECIMALS: Final = re.compile(r"(?P<heading>\bStep [0-9]\.[0-9])\b|-?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?")
FEW_NUMBERS: Final = re.compile(r"(?:[^0-9]*[0-9]+){0,8}[^0-9]*", re.DOTALL)  # shapes of two tensors and more

T = TypeVar("T")


class ProtocolViolation(Exception):
    """Evidence that no honest kernel writes."""


class UntrustedModel(BaseModel):
    """Base of what a kernel says: types and sizes checked, unknown fields ignored, non-finite numbers refused."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, hide_input_in_errors=True)


class ErrorRecord(UntrustedModel):
    """An exception in the student's code."""

    type: Name
    message: Text

    def __str__(self) -> str:
        """As Python shows it, without decimals and beyond a few numbers: what a probe asked is not told this way.

        The template's own "Step 1.3" stays.
        """
        message = FEW_NUMBERS.match(DECIMALS.sub(lambda found: found["heading"] or "…", self.message))
        cut = message[0] if message else ""
        return f"{self.type}: {cut}" if cut else self.type


class TrainingEntry(UntrustedModel):
    """A model at the start of a training."""

    model_class: Name
    trainable: Count
    total: Count
    trainable_names: Annotated[tuple[Name, ...], Field(max_length=500)] = ()
    wrapped: Annotated[dict[Name, Name], Field(max_length=200)] = {}
    adapters: Annotated[dict[Name, Annotated[tuple[Shape, ...], Field(max_length=200)]], Field(max_length=200)] = {}
    changed: Annotated[tuple[Name, ...], Field(max_length=500)] = ()
    head_sha256: Name = ""


class Reduction(UntrustedModel):
    """How a wrapped layer was reduced to a matrix."""

    dtype: Name
    residual: float | None


class TrainingExit(UntrustedModel):
    """A model at the end of a training."""

    file: Annotated[str, Field(pattern=r"^training-[0-9]{1,3}\.safetensors$")] | None = None
    head_sha256: Name = ""
    reduced: Annotated[dict[Name, Reduction], Field(max_length=200)] = {}
    unsupported: Annotated[dict[Name, Name], Field(max_length=200)] = {}
    extra: Annotated[tuple[Name, ...], Field(max_length=100)] = ()


class RowKeys(UntrustedModel):
    """Keys of the reviews in a data set."""

    rows: Count
    kind: Annotated[str, Field(pattern="^(text|tokens)$")]
    keys: Annotated[list[Annotated[str, Field(max_length=16)]], Field(max_length=4_000)]


class TrainingData(UntrustedModel):
    """The data sets of one training."""

    train: RowKeys | None = None
    eval: RowKeys | None = None


class LogEntry(UntrustedModel):
    """One line of a training log."""

    step: Annotated[float, Field(ge=0, le=10**12)] | None = None
    loss: float | None = None
    eval_accuracy: float | None = None


class Training(UntrustedModel):
    """One call of `Trainer.train()`, or one loop of the student's own."""

    index: Count
    via: Name
    finished: bool
    error: ErrorRecord | None = None
    entry: TrainingEntry
    exit: TrainingExit = TrainingExit()
    data: TrainingData = TrainingData()
    evaluations: Annotated[tuple[RowKeys | None, ...], Field(max_length=8)] = ()  # by the notebook, afterwards
    arguments: Annotated[dict[Name, float | None], Field(max_length=50)] = {}
    log: Annotated[tuple[LogEntry, ...], Field(max_length=2_000)] = ()
    seconds: Seconds = 0
    steps: Count = 0
    precision: Name = "float32"
    unrecorded: ErrorRecord | None = None  # what kept the recorder from writing all of this down

    @property
    def wrapped(self) -> bool:
        """Whether any linear layer is replaced."""
        return bool(self.entry.wrapped)

    @property
    def encoder_frozen(self) -> bool:
        """Whether nothing below the head is trainable."""
        return not any(name.startswith("distilbert.") for name in self.entry.trainable_names)

    @property
    def exported(self) -> bool:
        """Whether it left weights. Of a notebook that trains very often, not all are kept."""
        return self.exit.file is not None

    @property
    def rank(self) -> int:
        """The rank of the adapters in the model, told from the shapes of their tensors."""
        shapes = (shape for adapter in self.entry.adapters.values() for shape in adapter if len(shape) == 2)
        sides = [side for shape in shapes for side in shape if side < assignment.WIDTH]
        if sides:
            return max(set(sides), key=sides.count)
        sizes = {sum(map(prod, adapter)) for adapter in self.entry.adapters.values() if set(map(len, adapter)) == {1}}
        ranks = {size / (2 * assignment.WIDTH) for size in sizes}  # of vectors, one outer product beside the other
        return int(min(ranks)) if len(ranks) == 1 and min(ranks).is_integer() else assignment.DEFAULT_RANK

    @property
    def fits(self) -> bool:
        """Whether it trains what its step asks for: so many parameters, LoRA in these layers, a head on an encoder
        that nothing has tuned."""
        if self.wrapped:
            right_layers = set(self.entry.wrapped) == set(assignment.QV_LAYER_NAMES)
            return right_layers and self.entry.trainable == assignment.count_lora_parameters(self.rank)
        if self.encoder_frozen:
            return self.entry.trainable == assignment.HEAD_PARAMETERS and not self.entry.changed
        return self.entry.trainable == assignment.FULL_PARAMETERS


class CountItem(UntrustedModel):
    """Answer of the counting function to one toy model."""

    value: Whole | None = None
    type: Name = ""
    printed: Text = ""
    error: ErrorRecord | None = None


class LayerEntry(UntrustedModel):
    """One entry of the extracted dictionary."""

    name: Text
    type: Name
    linear: bool
    place: Name | None


class ExtractItem(UntrustedModel):
    """Answer of the extraction to one model."""

    type: Name = ""
    mapping: bool = False
    entries: Annotated[tuple[LayerEntry, ...], Field(max_length=200)] = ()
    error: ErrorRecord | None = None


class ReplaceItem(UntrustedModel):
    """What replacing did to one model."""

    placed: Annotated[tuple[Name, ...], Field(max_length=50)] = ()
    others_changed: Count = 0
    finite: bool = False
    error: ErrorRecord | None = None


class LoraItem(UntrustedModel):
    """How a LoRA layer took one challenge; its numbers are in the tensors."""

    key: Name
    stage: Name = ""
    finished: Annotated[tuple[Name, ...], Field(max_length=10)] = ()
    shapes: Annotated[tuple[Shape, ...], Field(max_length=200)] = ()
    registered: Count = 0
    linear_trainable: bool = False
    error: ErrorRecord | None = None


class CountAnswers(UntrustedModel):
    """Answers about the counting function."""

    found: Name | None = None
    items: Annotated[tuple[CountItem, ...], Field(max_length=100)] = ()


class ExtractAnswers(UntrustedModel):
    """Answers about the extraction."""

    found: Name | None = None
    items: Annotated[tuple[ExtractItem, ...], Field(max_length=100)] = ()


class ReplaceAnswers(UntrustedModel):
    """Answers about the replacement."""

    found: Name | None = None
    items: Annotated[tuple[ReplaceItem, ...], Field(max_length=100)] = ()


class LoraAnswers(UntrustedModel):
    """Answers about the LoRA layer."""

    found: Name | None = None
    items: Annotated[tuple[LoraItem, ...], Field(max_length=100)] = ()


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
        """All trainings, in order."""
        found = self._read("trainings.json", TypeAdapter(Annotated[tuple[Training, ...], Field(max_length=1_000)]))
        if any(training.index != position for position, training in enumerate(found or ())):
            raise self._violation("trainings.json: trainings out of order")
        return found or ()

    @cached_property
    def count(self) -> CountAnswers | None:
        """Answers about the counting function; None when nothing was answered."""
        return self._probe("count", CountAnswers)

    @cached_property
    def extract(self) -> ExtractAnswers | None:
        """Answers about the extraction."""
        return self._probe("extract", ExtractAnswers)

    @cached_property
    def replace(self) -> ReplaceAnswers | None:
        """Answers about the replacement."""
        return self._probe("replace", ReplaceAnswers)

    @cached_property
    def lora(self) -> LoraAnswers | None:
        """Answers about the LoRA layer."""
        return self._probe("lora", LoraAnswers)

    @cached_property
    def lora_tensors(self) -> dict[str, Tensor]:
        """Tensors that the LoRA layer answered with, by `CHALLENGE.name`."""
        return self.tensors("probe-lora.safetensors")

    @cached_property
    def environment(self) -> dict[str, str]:
        """Versions that the kernel reports."""
        return self._read("environment.json", TypeAdapter(Annotated[dict[Name, Name], Field(max_length=50)])) or {}

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
        if not path.is_file():
            return {}
        if path.stat().st_size > MAX_TENSOR_BYTES:
            raise self._violation(f"{name}: larger than {MAX_TENSOR_BYTES // 2**20} MiB")
        try:
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                if len(names) > MAX_TENSORS:
                    raise self._violation(f"{name}: more than {MAX_TENSORS} tensors")
                found = {key: file.get_tensor(key) for key in names}
        except (SafetensorError, ValueError, RuntimeError, TypeError, AttributeError, OverflowError) as error:
            raise self._violation(f"{name}: not a safetensors file that can be read") from error
        if any(tensor.ndim > MAX_DIMENSIONS or tensor.dtype not in DTYPES for tensor in found.values()):
            raise self._violation(f"{name}: a tensor of a type or shape that no model here has")
        return found

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
            raise self._violation(f"{name}: named and not there")
        return path

    def _probe(self, family: str, kind: type[T]) -> T | None:
        return self._read(f"probe-{family}.json", TypeAdapter(kind))

    def _read(self, name: str, kind: TypeAdapter[T]) -> T | None:
        path = self.folder / name
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_JSON_BYTES:
            raise self._violation(f"{name}: larger than {MAX_JSON_BYTES // 2**20} MiB")
        try:
            return kind.validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            raise self._violation(f"{name}: {first['msg']}") from None

    def _violation(self, what: str) -> ProtocolViolation:
        """Note it: a result says so whoever caught it."""
        if what not in self.violations:
            self.violations.append(what)
        return ProtocolViolation(what)
