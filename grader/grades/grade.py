"""A student's grade after policy: points, and every change to them with its reason."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from grader.intake.uploads import Student, Upload
from grader.model import CheckResult, FrozenModel, Result, ScoreStatus


class Standing(StrEnum):
    """The state of a grade: only GRADED points go into a gradebook."""

    GRADED = "graded"
    UNGRADED = "ungraded"  # the grader failed, or has not judged it yet: the gradebook keeps what it has
    REFUSED = "refused"  # handed in something that cannot be graded
    MISSING = "missing"  # handed in nothing
    EXCUSED = "excused"


class AdjustmentKind(StrEnum):
    """The reason for points other than those of the checks."""

    LATE = "late"
    OVERRIDE = "override"  # a check's points, or the total, set by a person
    MANUAL = "manual"  # a rubric item that a person judges
    EXCUSED = "excused"


class Adjustment(FrozenModel):
    """One change to the points, with its reason; `author` is a person, or the policy."""

    kind: AdjustmentKind
    points: float  # signed
    reason: str
    author: str


class PassOutcome(StrEnum):
    """Whether a student passed, where the policy says what that takes."""

    NOT_ASKED = ""
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    OPEN = "open"  # it depends on what was not judged

    @property
    def is_decided(self) -> bool:
        return self in (PassOutcome.COMPLETE, PassOutcome.INCOMPLETE)


class Progress(FrozenModel):
    """The checks of an attempt beside those of the attempt before, by their titles."""

    fixed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()  # failed now, and passed before
    still_open: tuple[str, ...] = ()


class DecidedCheck(FrozenModel):
    """A check as a person decided it, in place of the grader's verdict."""

    check: CheckResult
    author: str
    reason: str


class Answer(FrozenModel):
    """What a student claimed about a check, and what a person answered."""

    claim: str
    answer: str


class Grade(FrozenModel):
    """One student's grade after policy. `points` is None unless GRADED."""

    student: Student
    standing: Standing
    points: float | None
    possible: float
    upload: Upload | None = None  # the one that counts
    result: Result | None = None  # of that one
    adjustments: tuple[Adjustment, ...] = ()
    note: str = ""  # for staff: why it is ungraded or refused
    decided: tuple[DecidedCheck, ...] = ()
    comment: str = ""  # of a person to the student
    check_comments: dict[str, str] = Field(default_factory=dict)  # the same on single checks, by id
    answers: dict[str, Answer] = Field(default_factory=dict)  # to appeals, by the check's id; open ones are not here
    group: str = ""  # with which the student handed in
    outcome: PassOutcome = PassOutcome.NOT_ASKED
    lacking: tuple[str, ...] = ()  # what a pass still takes: titles of checks, an amount of points
    since: Progress | None = None  # the attempt before, if there was one
    unjudged: float = 0.0  # points of the rubric that this run did not judge, and that `possible` leaves out

    @property
    def shown_result(self) -> Result | None:
        """The result that counts, with the checks as people decided them; the score is still the grader's."""
        if self.result is None or not self.decided:
            return self.result
        checks = {one.check.id: one.check for one in self.decided}
        return self.result.model_copy(update={"checks": tuple(checks.get(c.id, c) for c in self.result.checks)})

    @property
    def is_partial(self) -> bool:
        """True if the points are those of a part of the rubric."""
        return self.points is not None and self.unjudged > 0

    @property
    def base_points(self) -> float | None:
        """The points of the checks alone; with the adjustments they add up to `points`. None without a result."""
        if self.result is None:
            return None
        if self.result.score.status is ScoreStatus.GRADED:
            return self.result.score.points
        return round(sum(check.points or 0.0 for check in self.result.checks), 2)


def tell_apart(grades: Iterable[Grade]) -> list[Grade]:
    """Return the grades as pages and lists show them: people of the same name have their login or key behind it."""
    given = list(grades)
    count = Counter(grade.student.name for grade in given)
    return [_add_login(grade) if count[grade.student.name] > 1 else grade for grade in given]


def _add_login(grade: Grade) -> Grade:
    student = grade.student
    name = f"{student.name} ({student.login or student.key})"
    return grade.model_copy(update={"student": student.model_copy(update={"name": name})})


def describe_partial(grades: Iterable[Grade]) -> str:
    """Tell in one sentence which part of the rubric was not judged, and for how many; empty if all of it was."""
    partial = [grade for grade in grades if grade.is_partial]
    if not partial:
        return ""
    largest = max(partial, key=lambda grade: grade.unjudged)
    whole = round(largest.possible + largest.unjudged, 2)
    most = "" if len({grade.unjudged for grade in partial}) == 1 else "up to "
    students = "1 student" if len(partial) == 1 else f"{len(partial)} students"
    return f"The grades are partial: {most}{largest.unjudged:g} of {whole:g} points were not judged for {students}."
