"""A class: who handed in what, and where each of them stands. Immutable; knows no file format and no tool."""

from datetime import datetime
from enum import StrEnum

from grader.model import Frozen, Result, ScoreStatus


class Student(Frozen):
    """One student, or one group that hands in together. `key` is unique in a class and safe as a file's name."""

    key: str
    name: str  # as staff know it
    canvas_id: int | None = None
    sis_user_id: str | None = None
    login: str | None = None
    section: str | None = None


class Upload(Frozen):
    """One file of one student: what is graded. `id` is unique in a class and safe as a folder's name."""

    id: str
    student: Student
    entry: str  # path in the archive exactly as downloaded: Canvas recognises feedback by it
    display_name: str  # the file's name as its author knows it
    sha256: str
    late: bool = False  # as the archive marks it
    attachment_id: int | None = None
    submitted_at: datetime | None = None
    attempt: int = 1  # order among what one student handed in, from 1; files handed in together have the same


class Refusal(Frozen):
    """What was handed in and cannot be graded: a sentence that its author understands."""

    entry: str
    reason: str
    student: Student | None = None
    attachment_id: int | None = None


class Intake(Frozen):
    """Everything found in one archive or folder. `missing`: on the roster, and nothing that can be graded.

    A student whose files were all refused is in `refusals` and in `missing`. `notes` are for staff, one sentence each.
    """

    source: str
    uploads: tuple[Upload, ...]
    refusals: tuple[Refusal, ...] = ()
    missing: tuple[Student, ...] = ()
    notes: tuple[str, ...] = ()


class Standing(StrEnum):
    """Whether a student's points may go into a gradebook."""

    GRADED = "graded"
    UNGRADED = "ungraded"  # our fault, or not judged yet: the gradebook keeps what it has
    REFUSED = "refused"  # handed in something that cannot be graded
    MISSING = "missing"  # handed in nothing
    EXCUSED = "excused"


class AdjustmentKind(StrEnum):
    """Why points differ from what the checks gave."""

    LATE = "late"
    OVERRIDE = "override"  # a check's points, or the total, set by a person
    MANUAL = "manual"  # a rubric item that a person judges
    EXCUSED = "excused"


class Adjustment(Frozen):
    """One change to the points, with its reason; `author` is a person, or the policy."""

    kind: AdjustmentKind
    points: float  # signed
    reason: str
    author: str


class Grade(Frozen):
    """Where one student stands after policy. `points` is None unless GRADED."""

    student: Student
    standing: Standing
    points: float | None
    possible: float
    upload: Upload | None = None  # the one that counts
    result: Result | None = None  # of that one
    adjustments: tuple[Adjustment, ...] = ()
    note: str = ""  # for staff: why it is ungraded or refused

    @property
    def base_points(self) -> float | None:
        """What the checks alone gave, so that this and the adjustments add up to the points. None without a result."""
        if self.result is None:
            return None
        if self.result.score.status is ScoreStatus.GRADED:
            return self.result.score.points
        return round(sum(check.points or 0.0 for check in self.result.checks), 2)
