"""The times of handing in: a CSV file with the columns student and submitted_at.

`./autograder times` writes one. Canvas's archive says of a late file that it is late, and not how late. A student's
files in it are one attempt, so that one time is enough for all of them.
"""

from collections.abc import Container, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from grader.errors import GraderError
from grader.grades.policy import index_by_name, list_names
from grader.grades.settlement import list_students
from grader.grades.sheets import Sheet, open_text, read_sheet
from grader.intake.uploads import Intake, Student
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
    everybody = list_students(intake)
    known = index_by_name(everybody)
    if shared := [name for name in times if len(known.get(name, ())) > 1]:
        name = sanitise(shared[0])
        raise GraderError(f"Cannot use the times {source}: '{name}' is more than one student; use the keys.")
    found = {student.key: _find_time(student, times, source) for student in everybody}
    by_key = {key: time for key, time in found.items() if time}
    mine = {u.id: by_key[u.student.key] for u in intake.uploads if u.student.key in by_key and u.id not in later}
    uploads = tuple(u.model_copy(update={"submitted_at": mine.get(u.id, u.submitted_at)}) for u in intake.uploads)
    notes = [f"The time of '{sanitise(name)}' belongs to no student here." for name in times if name not in known]
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


def _find_time(student: Student, times: Mapping[str, datetime], source: str) -> datetime | None:
    """Return the one time under any of a student's names."""
    mine = {times[name] for name in list_names(student) if name in times}
    if len(mine) > 1:
        raise GraderError(
            f"Cannot use the times {source}: {sanitise(student.key)} has two, under two names; leave one."
        )
    return next(iter(mine), None)


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
