"""The times of handing in: a CSV file with the columns student and submitted_at.

`./autograder times` writes one. Canvas's archive says of a late file that it is late, and not how late. A student's
files in it are one attempt, so that one time is enough for all of them.
"""

from collections.abc import Container, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from grader.errors import GraderError
from grader.grades.policy import NameIndex
from grader.grades.settlement import list_students
from grader.grades.sheets import Sheet, open_text, read_sheet
from grader.intake.uploads import Intake
from grader.text import sanitise

COLUMNS: Final = ("student", "submitted_at")


def load_times(path: Path) -> dict[str, datetime]:
    """Read a file of times, by whatever name it gives the students. Raises GraderError."""
    with open_text(path, "times") as text:
        return _read_times(read_sheet(text))


def add_times(
    intake: Intake, times: Mapping[str, datetime], source: str, later: Container[str] = frozenset()
) -> Intake:
    """Return the intake with these times; a note names those that fit nobody. Raises GraderError.

    Args:
        source: a file or a decision, named where the times cannot be used.
        later: ids of uploads that came in after these times were given: they are of an attempt before.
    """
    known = NameIndex(list_students(intake))
    by_key = _group_by_key(times, known, source)
    mine = {u.id: by_key[u.student.key] for u in intake.uploads if u.student.key in by_key and u.id not in later}
    uploads = tuple(u.model_copy(update={"submitted_at": mine.get(u.id, u.submitted_at)}) for u in intake.uploads)
    notes = [f"The time of '{sanitise(name)}' belongs to no student here." for name in times if not known.find(name)]
    return intake.model_copy(update={"uploads": uploads, "notes": (*intake.notes, *notes)})


def describe_untimed(intake: Intake, later: Container[str]) -> str:
    """Ask for the times of uploads that came in after all times were given; empty if there are none."""
    count = sum(upload.id in later and upload.submitted_at is None for upload in intake.uploads)
    if not count:
        return ""
    uploads = "1 upload" if count == 1 else f"{count} uploads"
    return (
        f"The times known are older than {uploads}, for which only the mark LATE counts; `make times` asks Canvas for "
        "new ones, and TIMES= gives them."
    )


def _group_by_key(times: Mapping[str, datetime], known: NameIndex, source: str) -> dict[str, datetime]:
    """Return the one time of each student, whatever name it is under. Raises GraderError."""
    found: dict[str, datetime] = {}
    for name, time in times.items():
        keys = known.find(name)
        if len(keys) > 1:
            named = sanitise(name)
            raise GraderError(f"Cannot use the times {source}: '{named}' is more than one student; use the keys.")
        if keys and found.setdefault(keys[0], time) != time:
            key = sanitise(keys[0])
            raise GraderError(f"Cannot use the times {source}: {key} has two, under two names; leave one.")
    return found


def _read_times(sheet: Sheet) -> dict[str, datetime]:
    """Return times by key, Canvas id, SIS id or login of a student."""
    if sheet.columns != COLUMNS:
        raise ValueError(f"the columns have to be {' and '.join(COLUMNS)}")
    times: dict[str, datetime] = {}
    for place, cells in sheet.rows:
        name, time = cells.get("student", ""), _parse_time(cells.get("submitted_at", ""), place)
        if times.setdefault(name, time) != time:
            raise ValueError(f"{place}: {sanitise(name)!r} has another time already")
    return times


def _parse_time(text: str, place: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{place}: {sanitise(text)!r} is no time such as 2026-12-01T23:59:00+01:00") from None
    if time.tzinfo is None:
        raise ValueError(f"{place}: {sanitise(text)!r} has no time zone, such as +01:00 or Z at its end")
    return time
