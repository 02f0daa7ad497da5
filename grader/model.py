"""Result types, which flow between the stages and into `result.json`. Imports no sibling.

Everything is immutable. `Result` is schema 1 of `result.json`; other tools read it, so fields are only ever added.
"""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Verdict(StrEnum):
    """The grader's verdict on one check."""

    PASSED = "passed"
    FAILED = "failed"
    BLOCKED = "blocked"  # a prerequisite did not pass
    ERROR = "error"  # the grader is at fault: never a zero
    NOT_JUDGED = "not_judged"  # this profile or calibration does not cover it


class Visibility(StrEnum):
    """The readers of a check's source: students too, or only staff."""

    PUBLIC = "public"
    HIDDEN = "hidden"


class Profile(StrEnum):
    """The amount of training in an execution."""

    STRUCTURE = "structure"
    QUICK = "quick"
    FULL = "full"


class Precision(StrEnum):
    """The precision of matrix products. `structure` always uses float32."""

    AUTO = "auto"  # quick: bfloat16 where the processor has matrix units for it; full: as submitted
    FLOAT32 = "float32"  # quick
    BFLOAT16 = "bfloat16"  # quick
    TF32 = "tf32"  # full, on a GPU: products of float32 numbers are rounded to ten bits


class Method(StrEnum):
    """The three ways of fine-tuning that the assignment compares, in its order."""

    FULL = "full"
    HEAD = "head"
    LORA = "lora"


class RunStatus(StrEnum):
    """The end of a notebook's execution."""

    OK = "ok"
    STUDENT_ERROR = "student_error"  # at least one cell raised; later cells ran too
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    KERNEL_DIED = "kernel_died"
    PROTOCOL_VIOLATION = "protocol_violation"  # evidence or messages that no honest kernel sends
    BAD_SUBMISSION = "bad_submission"  # not executed at all
    INFRA_ERROR = "infra_error"  # the grader is at fault: never a zero


class ScoreStatus(StrEnum):
    """The state of the points: only graded ones may go into a gradebook."""

    GRADED = "graded"
    UNGRADED = "ungraded"


class FrozenModel(BaseModel):
    """Base of all result types: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SubmissionRef(FrozenModel):
    """The upload that a result belongs to."""

    name: str
    sha256: str


class FailedCell(FrozenModel):
    """A cell that raised or was stopped. `index` counts all cells of the notebook from 0."""

    index: int
    error: str  # "ValueError", or "TimeLimit" when the grader stopped it
    message: str


class RunSummary(FrozenModel):
    """A summary of the execution."""

    status: RunStatus
    wall_s: float
    peak_memory_mib: float
    failed_cells: tuple[FailedCell, ...] = ()


class Score(FrozenModel):
    """Points over the checks that were judged. `points` is None exactly when the submission is ungraded."""

    points: float | None
    possible: float
    status: ScoreStatus


class Place(FrozenModel):
    """A line of the notebook. `cell` counts all cells from 0, as in `FailedCell`; `line` counts from 1 in its cell."""

    cell: int
    line: int
    source: str  # the line itself, stripped, and cut where it is long


class CheckResult(FrozenModel):
    """The verdict of one check. `points` is None for `error` and `not_judged`.

    A passed check may carry a rationale too: advice that costs nothing.
    """

    id: str
    title: str
    verdict: Verdict
    points: float | None
    possible: float
    visibility: Visibility
    rationale: str = ""
    hint: str = ""
    place: Place | None = None  # where in the notebook the cause is, as far as the code shows it


class MethodSummary(FrozenModel):
    """One row of the comparison of the three methods, as measured by the grader (None: not measured)."""

    trainable_parameters: int | None = None
    accuracy: float | None = None  # on the hidden held-out reviews, from rebuilt weights
    reviews: int | None = None  # so many of these: more where it is close to what is needed
    threshold: float | None = None  # accuracy that the check requires
    train_s: float | None = None
    steps: int | None = None


class Claim(FrozenModel):
    """A figure that the notebook itself printed, beside the grader's. A mismatch is a flag for staff, no deduction."""

    method: Method
    quantity: Literal["accuracy", "trainable_parameters"]
    claimed: float
    measured: float | None
    cell: int
    agrees: bool | None  # None: nothing measured, or after other training than the notebook's own


class Result(FrozenModel):
    """`result.json`, schema 1."""

    schema_: Literal[1] = Field(1, alias="schema")
    submission: SubmissionRef
    profile: Profile
    seed: int
    calibration: str | None  # name of the calibration that thresholds came from
    sandbox: str  # "none" or the backend that ran
    run: RunSummary
    score: Score
    checks: tuple[CheckResult, ...]
    methods: dict[Method, MethodSummary] = {}
    claims: tuple[Claim, ...] = ()
    environment: dict[str, str] = {}
    timings: dict[str, float] = {}  # stage -> seconds

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)


class CellRecord(FrozenModel):
    """One executed code cell, for the staff report. `output` is text only, cut to a bounded size."""

    index: int
    source: str
    duration_s: float
    status: Literal["ok", "error", "timeout", "not_run"]
    output: str = ""
    error: str = ""  # "ValueError: its message"
    traceback: str = ""
    first_error: str = ""  # where the cell came too early: in its place, before it ran again after the last cell


class CurvePoint(FrozenModel):
    """One entry of a training log."""

    step: int
    loss: float | None = None
    eval_accuracy: float | None = None


class StaffDetails(FrozenModel):
    """The parts of the staff report beyond the result."""

    cells: tuple[CellRecord, ...] = ()
    curves: dict[Method, tuple[CurvePoint, ...]] = {}
    notes: tuple[str, ...] = ()  # flags for a human, a sentence each
    faults: dict[str, str] = {}  # check that could not be judged -> what the grader did wrong
