"""The schema of the evidence, for the kernel that writes it and the host that checks it. No record says what is right.

Files: `trainings.json` (`Trainings`), `probe-FAMILY.json` (the `Answers` of that family), `environment.json`.

Standard dataclasses, so that an unknown key is a `TypeError` where it is written. Their bounds are in the types, in the
vocabulary of `annotated_types`, which the host's pydantic understands; in the kernel nothing looks at them. Keys are
never renamed or dropped, and a new one has a default, since evidence of earlier runs is judged again.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final, Generic, Literal, TypeVar

from annotated_types import Ge, Le, MaxLen, Predicate

WEIGHTS_FILE: Final = re.compile(r"training-[0-9]{1,3}\.safetensors")
GRADIENTS_FILE: Final = re.compile(r"gradients-[0-9]{1,3}\.safetensors")

Text = Annotated[str, MaxLen(2_000)]
Name = Annotated[str, MaxLen(300)]
Key = Annotated[str, MaxLen(16)]
WeightsFile = Annotated[str, MaxLen(40), Predicate(WEIGHTS_FILE.fullmatch)]
GradientsFile = Annotated[str, MaxLen(40), Predicate(GRADIENTS_FILE.fullmatch)]
Count = Annotated[int, Ge(0), Le(10**12)]
Whole = Annotated[int, Ge(-(2**53)), Le(2**53)]
Seconds = Annotated[float, Ge(0), Le(10**9)]
Steps = Annotated[float, Ge(0), Le(10**12)]
Shape = Annotated[tuple[Count, ...], MaxLen(8)]
Names = Annotated[tuple[Name, ...], MaxLen(500)]
NameByPath = Annotated[dict[Name, Name], MaxLen(200)]
Shapes = Annotated[tuple[Shape, ...], MaxLen(200)]

Item = TypeVar("Item")


class Record:
    """Base of all records. pydantic refuses other keys, other types and NaN, besides values out of bounds."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True, slots=True)
class Raised(Record):
    """An exception in the student's code. The message may hold what a probe asked: `describe_error` leaves that out."""

    type: Name
    message: Text


@dataclass(frozen=True, slots=True)
class Entry(Record):
    """A model at the start of a training. Paths and names are the pretrained network's."""

    model_class: Name
    trainable: Count
    total: Count
    trainable_names: Names = ()
    wrapped: NameByPath = field(default_factory=dict)  # linear layer -> class of what is in its place
    adapters: Annotated[dict[Name, Shapes], MaxLen(200)] = field(default_factory=dict)
    changed: Names = ()  # no longer as pretrained
    head_sha256: Name = ""
    head: NameByPath = field(default_factory=dict)  # tensor of the head -> digest of its numbers


@dataclass(frozen=True, slots=True)
class Reduction(Record):
    """The reduction of a wrapped layer to a matrix."""

    dtype: Name  # that it computes in; "absent" of a pretrained tensor that the model does not hold
    residual: float | None  # largest deviation from the matrix, relative to the largest output


@dataclass(frozen=True, slots=True)
class Exit(Record):
    """A model at the end of a training; the defaults where it did not end."""

    file: WeightsFile | None = None
    head_sha256: Name = ""
    reduced: Annotated[dict[Name, Reduction], MaxLen(200)] = field(default_factory=dict)
    unsupported: NameByPath = field(default_factory=dict)  # wrapped layer -> error that it raises
    extra: Annotated[tuple[Name, ...], MaxLen(100)] = ()
    head: NameByPath = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowKeys(Record):
    """The keys of the first reviews in a data set (`row_keys`)."""

    rows: Count
    kind: Literal["text", "tokens"]
    keys: Annotated[tuple[Key, ...], MaxLen(4_000)]
    labels: Annotated[tuple[int, ...], MaxLen(4_000)] = ()  # as many; empty where there are no whole numbers


@dataclass(frozen=True, slots=True)
class DataSeen(Record):
    """The data sets of one training; None where nothing can be read."""

    train: RowKeys | None = None
    eval: RowKeys | None = None


@dataclass(frozen=True, slots=True)
class BatchSeen(Record):
    """The longest training review and the shortest, in one batch as the model gets it."""

    tokens: Count  # of the longest
    masked: bool  # the attention mask leaves out all padding, or there is none
    unequal: bool = False  # the two cannot be put into one batch, though each can be alone


@dataclass(frozen=True, slots=True)
class LogEntry(Record):
    """One line of a training log."""

    step: Steps | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    eval_accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Work(Record):
    """The work of one training, as torch's hooks tell it. Moves are those of some numbers at random places."""

    steps: Count = 0  # of optimisers that hold a tensor of the model
    gradients: Count = 0  # steps that found a gradient
    reviews: Count = 0  # rows that the encoder read, evaluations of a Trainer apart
    losses: Annotated[tuple[float | None, ...], MaxLen(100)] = ()  # of the first backward passes
    moved: float | None = 0.0  # the largest moves of all steps together; None: not finite
    apart: float | None = 0.0  # those between the steps, and before the first
    after: float | None = 0.0  # that after the last
    compared: Count = 0  # numbers that the first step of a new optimiser moved
    against: Count = 0  # those of them that went against their gradient


@dataclass(slots=True)
class Training(Record):
    """One call of `Trainer.train()`, or one loop of the student's own. The one record that is filled over time."""

    index: Count
    via: Name
    finished: bool
    entry: Entry
    error: Raised | None = None
    device: Name = ""
    exit: Exit = field(default_factory=Exit)
    data: DataSeen = DataSeen()
    batch: BatchSeen | None = None  # of the training data, before the budget cuts it
    evaluations: Annotated[tuple[RowKeys | None, ...], MaxLen(8)] = ()  # by the notebook, afterwards
    arguments: Annotated[dict[Name, float | None], MaxLen(50)] = field(default_factory=dict)
    log: Annotated[tuple[LogEntry, ...], MaxLen(2_000)] = ()
    seconds: Seconds = 0
    steps: Count = 0
    precision: Name = "float32"
    gradients: GradientsFile | None = None  # of the model at the start; None where it could not be asked
    unrecorded: Raised | None = None  # what kept the recorder from writing all of this down
    work: Work | None = None  # None: evidence of earlier runs does not say, or the training did not end


Trainings = Annotated[tuple[Training, ...], MaxLen(1_000)]


@dataclass(frozen=True, slots=True)
class CountItem(Record):
    """The answer of the counting function to one toy model."""

    value: Whole | None = None
    type: Name = ""
    printed: Text = ""
    error: Raised | None = None


@dataclass(frozen=True, slots=True)
class LayerEntry(Record):
    """One entry of the extracted dictionary."""

    name: Text
    type: Name
    linear: bool
    place: Name | None  # where in the model the layer is


@dataclass(frozen=True, slots=True)
class ExtractItem(Record):
    """The answer of the extraction to one model."""

    type: Name = ""
    mapping: bool = False
    entries: Annotated[tuple[LayerEntry, ...], MaxLen(200)] = ()
    error: Raised | None = None


@dataclass(frozen=True, slots=True)
class ReplaceItem(Record):
    """The effect of replacing layers in one model."""

    placed: Annotated[tuple[Name, ...], MaxLen(50)] = ()
    others_changed: Count = 0
    finite: bool = False
    error: Raised | None = None


@dataclass(frozen=True, slots=True)
class LoraItem(Record):
    """The course of one challenge for a LoRA layer; its numbers are in the tensors."""

    key: Name
    stage: Name = ""  # the last that was begun
    finished: Annotated[tuple[Name, ...], MaxLen(10)] = ()
    shapes: Shapes = ()  # of the adapter's tensors
    registered: Count = 0
    linear_trainable: bool = False
    error: Raised | None = None
    registered_later: Count = 0  # tensors that it registers in its first forward pass


@dataclass(frozen=True, slots=True)
class Answers(Record, Generic[Item]):
    """The answers of the student's function or class of this name; no name where the notebook defines none."""

    found: Name | None = None
    items: Annotated[tuple[Item, ...], MaxLen(100)] = ()


CountAnswers = Answers[CountItem]
ExtractAnswers = Answers[ExtractItem]
ReplaceAnswers = Answers[ReplaceItem]
LoraAnswers = Answers[LoraItem]


@dataclass(frozen=True, slots=True)
class Environment(Record):
    """The environment of the kernel: versions, the device, the number of threads."""

    python: Name
    torch: Name
    transformers: Name
    datasets: Name
    device: Name
    threads: Name
