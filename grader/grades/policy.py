"""The rules of a course, read from a TOML file: deadline, late penalty, extensions, attempts, manual items.

Lateness: an upload's time of submission counts where there is one. Otherwise there is only the mark LATE of the
archive, which says neither how late nor against which deadline; then the flat rate applies, and nothing at all to a
student with an extension. A time that contradicts the mark is likely to be that of another attempt, unless it names the
attachment: before the deadline it does not count against the mark LATE, and after it not against a missing mark.

A deadline that is given to the minute lasts to the end of that minute: Canvas's 11:59 pm is 23:59:59. Days are counted
on the clocks of the zone that the deadline names. Where it names none they have 24 hours each, and notes say where
clocks that were set back may have made one too long.
"""

import difflib
import math
import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from grader.errors import GraderError
from grader.grades.sheets import Place, list_problems, open_text
from grader.intake.uploads import Student, Upload
from grader.model import FrozenModel
from grader.text import sanitise

DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)
SECOND: Final = timedelta(seconds=1)
MAX_MEANT: Final = 3  # students who are offered for a name that fits nobody
UNMARKED: Final = "Not marked LATE, with a time after the deadline: no points are taken off; please check."
DISPUTED: Final = "Late by these rules, and not marked LATE by Canvas: does Canvas have an extension?"
SET_BACK: Final = (
    "Clocks may have been set back after the deadline, and one hour less would cost less: please check, or give the "
    "deadline its zone."
)

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Unit(StrEnum):
    """The unit of a penalty, its cap and the floor."""

    PERCENT = "percent"  # of the points possible, as Canvas does it
    POINTS = "points"


class DayCount(StrEnum):
    """The rule by which a delay becomes days."""

    STARTED = "started_days"  # one minute is a day
    EXACT = "days"  # six hours are a quarter of a day


class Counting(StrEnum):
    """The one of several attempts that counts."""

    LAST = "last"
    BEST = "best"


class Deadline(FrozenModel):
    """The end of the time to hand in. `grace_min`: minutes that are forgiven; beyond them the whole delay counts."""

    due: AwareDatetime
    grace_min: Amount = 0
    zone: str = ""  # such as Europe/Stockholm: days are counted on the clocks there


class LatePenalty(FrozenModel):
    """The cost of being late. `flat` is for uploads of which only the archive's mark LATE is known."""

    unit: Unit = Unit.PERCENT
    per_day: Amount = 0
    count: DayCount = DayCount.STARTED
    cap: Amount | None = None  # at most so much is taken
    floor: Amount = 0  # nobody falls below it by being late
    flat: Amount = 0

    @model_validator(mode="after")
    def _require_bounds(self) -> Self:
        amounts = (self.per_day, self.cap or 0, self.floor, self.flat)
        if self.unit is Unit.PERCENT and max(amounts) > 100:
            raise ValueError("no value may be above 100 percent")
        return self


class Attempts(FrozenModel):
    """The rules for students who hand in several times."""

    counts: Counting = Counting.LAST


class Extension(FrozenModel):
    """A later deadline for one student, who is named by key, Canvas id, SIS id or login."""

    student: Text
    due: AwareDatetime | None = None
    days: Annotated[float, Field(ge=0, le=3650)] | None = None  # after the deadline; more is a date in the wrong key
    author: Text
    reason: Text

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if (self.due is None) == (self.days is None):
            raise ValueError("give either due or days")
        return self


class ManualItem(FrozenModel):
    """A rubric item that a person judges."""

    id: Text
    title: Text
    possible: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class PassRule(FrozenModel):
    """What it takes to pass: the checks that have to pass, by their ids, and how many points."""

    checks: tuple[Text, ...] = ()
    points: Amount = 0
    gradebook: Literal["points", "complete"] = "points"  # what goes into the column of the export


class GradingPolicy(FrozenModel):
    """All rules of a course. The default takes nothing off."""

    deadline: Deadline | None = None
    late: LatePenalty = LatePenalty()
    attempts: Attempts = Attempts()
    extension: tuple[Extension, ...] = ()
    manual: tuple[ManualItem, ...] = ()
    passing: PassRule | None = None

    @model_validator(mode="after")
    def _require_consistent(self) -> Self:
        if self.deadline is None and any(extension.days is not None for extension in self.extension):
            raise ValueError("extensions in days need a deadline")
        if len({item.id for item in self.manual}) < len(self.manual):
            raise ValueError("two manual items have the same id")
        return self


def load_policy(path: Path) -> GradingPolicy:
    """Read a policy. Raises GraderError, with one sentence that names file, table and key."""
    with open_text(path, "policy") as text:
        try:
            rules = tomllib.loads(text)
        except ValueError as error:
            raise ValueError(f"it is not TOML ({error})") from error
        try:
            policy = GradingPolicy.model_validate(rules)
        except ValidationError as error:
            raise ValueError("; ".join(list_problems(error, _name_key))) from error
        _require_zone(policy)
        return policy


def _require_zone(policy: GradingPolicy) -> None:
    """Raise ValueError for a zone that does not exist, or in which clocks do not show what a deadline says.

    Not in the model: decisions that were stored with a zone can be read on a machine that does not know it.
    """
    if policy.deadline is None or not policy.deadline.zone:
        return
    try:
        zone = find_zone(policy.deadline.zone)
    except GraderError as error:
        raise ValueError(f"table [deadline], key zone: {error}") from error
    for due in (policy.deadline.due, *(extension.due for extension in policy.extension)):
        if due and due.utcoffset() and due.utcoffset() != _get_offset(due, zone):
            there = due.astimezone(zone).isoformat()
            raise ValueError(f"in {policy.deadline.zone} the time {due.isoformat()} is {there}; correct the offset")


def find_zone(name: str) -> ZoneInfo:
    """Return a time zone. Raises GraderError, with the zone that may be meant."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder of zones, such as "Europe"
        known = {zone.casefold(): zone for zone in sorted(available_timezones())}
        close = difflib.get_close_matches(name.casefold(), known, n=1)
        meant = known[close[0]] if close else "Europe/Stockholm"
        raise GraderError(f"{sanitise(name)!r} is no time zone of this machine such as {meant}") from error


def _name_key(place: Place) -> str:
    """Write a place as `table [late], key per_day`; tables in a list are counted from 1."""
    match place:
        case (table, int(index), *keys):
            name = f"table [[{table}]] {index + 1}"
        case (table, *keys):
            name = f"table [{table}]"
    return f"{name}, key {'.'.join(map(str, keys))}" if keys else name


def list_names(student: Student) -> frozenset[str]:
    """Return everything by which a policy or an override may name a student: key, Canvas id, SIS id, login."""
    ids = (student.key, *student.aliases, student.canvas_id, student.sis_user_id, student.login)
    return frozenset(str(name) for name in ids if name not in (None, ""))


class NameIndex:
    """The students of a class, by whatever may name them.

    A key begins with the name of the student, which may change, and ends with the Canvas id, which does not. So a key
    that was recorded earlier is found by its id. What somebody types is not: one of its two parts may be a mistake.

    Args:
        recorded: keys that students of this class had earlier.
    """

    def __init__(self, students: Iterable[Student], recorded: Iterable[str] = ()) -> None:
        self._by_name: dict[str, list[str]] = {}
        self._by_canvas_id: dict[str, list[str]] = {}
        self._by_spelling: dict[str, list[str]] = {}
        self._recorded = frozenset(recorded)
        for student in {student.key: student for student in students}.values():
            for name in list_names(student):
                self._by_name.setdefault(name, []).append(student.key)
            for name in {spelt.casefold() for spelt in (*list_names(student), student.name)}:
                self._by_spelling.setdefault(name, []).append(student.key)
            if student.canvas_id is not None:
                self._by_canvas_id.setdefault(str(student.canvas_id), []).append(student.key)

    def find(self, name: str) -> tuple[str, ...]:
        """Return the keys of those who have this name, or who had it as their key when it was recorded."""
        return self.find_recorded(name) if name in self._recorded else tuple(self._by_name.get(name, ()))

    def find_recorded(self, name: str) -> tuple[str, ...]:
        """Return the keys of those who have this name, or else who had it as their key under another name."""
        return tuple(self._by_name.get(name, ())) or self._find_by_number(name)

    def _find_by_number(self, name: str) -> tuple[str, ...]:
        return tuple(self._by_canvas_id.get(name.rpartition("_")[2], ())) if "_" in name else ()

    def suggest(self, name: str) -> str:
        """Ask for the students who may be meant by a name that fits nobody, in brackets; empty if nobody is near."""
        spelt = name.casefold()
        meant = [*self._find_by_number(name), *self._by_spelling.get(spelt, ())]
        if not meant and not name.isdecimal():  # a number that is nearly that of somebody says nothing
            close = difflib.get_close_matches(spelt, self._by_spelling, n=MAX_MEANT, cutoff=0.8)
            meant = [key for near in close for key in self._by_spelling[near]]
        keys = list(dict.fromkeys(meant))[:MAX_MEANT]
        return f" (did you mean {' or '.join(map(sanitise, keys))}?)" if keys else ""

    def has_key(self, name: str) -> bool:
        """Return True if this is the key of a student, and no name of another one."""
        return self.find(name) == (name,)


class Delay(FrozenModel):
    """The lateness of an upload. `penalty` is in the policy's unit, before its floor; `words` give its reason."""

    penalty: float = 0.0
    words: str = ""
    note: str = ""  # for staff


def compute_delay(upload: Upload, policy: GradingPolicy) -> Delay:
    """Compute what the rules take off an upload. Raises GraderError for a time without a zone."""
    due = _find_due(upload.student, policy)
    if upload.submitted_at is None or due is None or has_doubtful_time(upload, policy):
        return _compute_by_mark(upload, policy)
    if upload.submitted_at.tzinfo is None:
        raise GraderError(f"The upload {upload.id} has a time without a time zone; give it one.")
    over, grace = _measure(upload.submitted_at, due), _get_grace(policy)
    if over <= grace:
        return Delay()
    disputed = upload.attachment_id is not None and not upload.late
    delay = _compute_by_time(upload.submitted_at, due, policy)
    doubts = (DISPUTED * (disputed and delay.penalty > 0), SET_BACK * may_owe_an_hour(upload, policy))
    return delay.model_copy(update={"note": " ".join(filter(None, doubts))})


def is_disputed(upload: Upload, policy: GradingPolicy) -> bool:
    """Return True if a file of Canvas loses points by its own time, and Canvas does not mark it LATE."""
    return upload.attachment_id is not None and not upload.late and compute_delay(upload, policy).penalty > 0


def may_owe_an_hour(upload: Upload, policy: GradingPolicy) -> bool:
    """Return True if an upload would lose less had clocks been set back since the deadline, which names no zone."""
    at, due, deadline = upload.submitted_at, _find_due(upload.student, policy), policy.deadline
    if at is None or due is None or deadline is None or deadline.zone or has_doubtful_time(upload, policy):
        return False
    over, grace = _measure(at, due), _get_grace(policy)
    less = _compute_penalty(over - HOUR, policy.late) if over - HOUR > grace else 0
    if over <= grace or _compute_penalty(over, policy.late) <= less:
        return False
    # Days are counted from the deadline on, also those of an extension, unless somebody wrote when that ends.
    start = due if any(extension.due == due for extension in policy.extension) else deadline.due
    return any(_get_offset(at, zone) < _get_offset(start, zone) for zone in _list_zones(start, start.utcoffset()))


def has_doubtful_time(upload: Upload, policy: GradingPolicy) -> bool:
    """Return True if mark and time of an upload contradict each other, and nothing says that the time is its own.

    That is a file marked LATE with a time before the deadline that no extension explains; and a file of Canvas without
    the mark with a time that would cost points. Other sources mark nothing.
    """
    at, due = upload.submitted_at, _find_due(upload.student, policy)
    if at is None or at.tzinfo is None or due is None or policy.deadline is None or upload.is_own_time:
        return False
    if upload.late:
        return at <= policy.deadline.due and not _list_extended(upload.student, policy)
    costs = policy.late.per_day > 0 and _measure(at, due) > _get_grace(policy)
    return costs and upload.attachment_id is not None


def compute_deduction(points: float, possible: float, delay: Delay, late: LatePenalty) -> float:
    """Compute the points that a delay takes from `points`: at least none, and never below the floor or zero."""
    unit = possible / 100 if late.unit is Unit.PERCENT else 1.0
    kept = max(points - delay.penalty * unit, min(points, late.floor * unit), 0.0)
    return max(0.0, points - kept)


def _find_due(student: Student, policy: GradingPolicy) -> datetime | None:
    general = [policy.deadline.due] if policy.deadline else []
    return max(general + _list_extended(student, policy), default=None)


def _list_extended(student: Student, policy: GradingPolicy) -> list[datetime]:
    mine = [extension for extension in policy.extension if extension.student in list_names(student)]
    return [due for extension in mine if (due := find_end(extension, policy.deadline))]


def find_end(extension: Extension, deadline: Deadline | None) -> datetime | None:
    """Return when an extension ends; None for days where there is no deadline. Raises GraderError for a zone."""
    if extension.days is None or deadline is None:
        return extension.due
    if not deadline.zone:
        return deadline.due + extension.days * DAY
    clock = deadline.due.astimezone(find_zone(deadline.zone)) + extension.days * DAY
    # Where clocks change they show some times twice, and some never: the later moment of the two holds.
    return max(clock.replace(fold=fold).astimezone(UTC) for fold in (0, 1))


def _get_grace(policy: GradingPolicy) -> timedelta:
    return timedelta(minutes=policy.deadline.grace_min if policy.deadline else 0)


def _measure(at: datetime, due: datetime, zone: str = "") -> timedelta:
    """Return by how much a time is after a deadline, in whole minutes if that is given to the minute, else in seconds.

    Args:
        zone: where clocks count the days between the two; without one, each has 24 hours.
    """
    step = SECOND if due.second or due.microsecond else MINUTE
    clock = find_zone(zone) if zone else UTC
    span = at.astimezone(clock).replace(tzinfo=None) - due.astimezone(clock).replace(tzinfo=None)
    return span // step * step


@cache
def _list_zones(due: datetime, offset: timedelta | None) -> tuple[ZoneInfo, ...]:
    """Return the zones that have an offset at a time; all of them for that of UTC, in which anybody may write a time.

    The offset is an argument because times that are written in different ways are equal, and then one cached answer.
    """
    zones = [ZoneInfo(name) for name in available_timezones()]
    return tuple(zone for zone in zones if offset in (timedelta(0), _get_offset(due, zone)))


def _get_offset(time: datetime, zone: ZoneInfo) -> timedelta:
    return time.astimezone(zone).utcoffset() or timedelta(0)


def _compute_by_mark(upload: Upload, policy: GradingPolicy) -> Delay:
    if not upload.late:
        return Delay(note=UNMARKED if has_doubtful_time(upload, policy) else "")
    if _list_extended(upload.student, policy):
        return Delay(note="Marked LATE without a time, and has an extension: no points are taken off; please check.")
    words = f"Marked LATE by Canvas, time unknown: {format_amount(policy.late.flat, policy.late.unit)} flat."
    doubt = "Marked LATE with a time before the deadline; please check." if has_doubtful_time(upload, policy) else ""
    return Delay(penalty=_cap(policy.late.flat, policy.late), words=words, note=doubt)


def _compute_by_time(at: datetime, due: datetime, policy: GradingPolicy) -> Delay:
    late, zone = policy.late, policy.deadline.zone if policy.deadline else ""
    # In an hour that clocks show twice, they may show less than the deadline after it.
    span = max(_measure(at, due, zone), min(_measure(at, due), MINUTE))
    days = _count_days(span, late)
    whole, penalty = days * late.per_day, _compute_penalty(span, late)
    name = f"{'started ' * (late.count is DayCount.STARTED)}day{'s' * (days != 1)}"
    limit = f", at most {format_amount(penalty, late.unit)}" if penalty < whole else ""
    end = due.astimezone(find_zone(zone)) if zone else due
    return Delay(
        penalty=penalty,
        words=f"Handed in {format_duration(span)} after the deadline ({end:%Y-%m-%d %H:%M %Z}): {_format_number(days)} "
        f"{name}, {format_amount(late.per_day, late.unit)} per day{limit}.",
    )


def _count_days(span: timedelta, late: LatePenalty) -> float:
    return math.ceil(span / DAY) if late.count is DayCount.STARTED else span / DAY


def _compute_penalty(span: timedelta, late: LatePenalty) -> float:
    return _cap(_count_days(span, late) * late.per_day, late)


def _cap(value: float, late: LatePenalty) -> float:
    return value if late.cap is None else min(value, late.cap)


def format_amount(value: float, unit: Unit) -> str:
    """Write a penalty: `10% of the points possible`, `5 points`."""
    return f"{_format_number(value)}{'% of the points possible' if unit is Unit.PERCENT else ' points'}"


def _format_number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def format_duration(span: timedelta) -> str:
    """Write a span of time in its two largest units: `2 d 3 h`, `3 h 12 min`, `45 s`."""
    seconds = int(span.total_seconds())
    parts = (seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")
    first = next((place for place, (number, _) in enumerate(parts) if number), 3)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"


def describe(policy: GradingPolicy) -> tuple[str, ...]:
    """Write the rules in sentences, for reports."""
    late, lines = policy.late, []
    if policy.deadline:
        grace = f", {policy.deadline.grace_min:g} min grace" if policy.deadline.grace_min else ""
        clocks = f", days by the clocks of {policy.deadline.zone}" if policy.deadline.zone else ""
        lines.append(f"Deadline {policy.deadline.due:%Y-%m-%d %H:%M %Z}{grace}{clocks}.")
    if late.per_day and policy.deadline:
        what = "started day" if late.count is DayCount.STARTED else "day"
        cap = "" if late.cap is None else f", at most {format_amount(late.cap, late.unit)}"
        lines.append(f"Late: {format_amount(late.per_day, late.unit)} per {what}{cap}.")
    if late.flat:
        lines.append(f"Marked LATE without a time: {format_amount(late.flat, late.unit)}.")
    lines.append("The last attempt counts." if policy.attempts.counts is Counting.LAST else "The best attempt counts.")
    if rule := policy.passing:
        lines.append(f"To pass: {_format_number(rule.points)} points, and {len(rule.checks)} checks that have to pass.")
    if policy.extension:
        lines.append(f"Extensions: {len(policy.extension)}.")
    return tuple(lines)
