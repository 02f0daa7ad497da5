"""The times of handing in: a CSV file with the columns student, submitted_at and perhaps attachments.

`./autograder times` writes one. Canvas's archive says of a late file that it is late, and not how late. A student's
files in it are one attempt, so that one time is enough for all of them. Canvas knows the time of the newest attempt
alone, and the archive may hold the one before: where the ids of the attachments are there, a time counts only for them.
"""

import re
from collections.abc import Collection, Container, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, Field

from grader.errors import GraderError
from grader.grades.policy import NameIndex
from grader.grades.settlement import list_students
from grader.grades.sheets import Sheet, open_text, read_sheet
from grader.intake.uploads import Intake
from grader.model import FrozenModel
from grader.text import sanitise

COLUMNS: Final = ("student", "submitted_at")
ATTACHMENTS: Final = "attachments"  # a column: the ids of what was handed in then, with spaces between them


class Times(FrozenModel):
    """When students handed in, by any name of theirs; and what, by the ids of attachments, where that is known."""

    times: dict[str, AwareDatetime]
    attachments: dict[str, tuple[int, ...]] = Field(default_factory=dict)


def load_times(path: Path) -> Times:
    """Read a file of times, by whatever name it gives the students. Raises GraderError."""
    with open_text(path, "times") as text:
        return _read_times(read_sheet(text))


def add_times(intake: Intake, given: Times, source: str, later: Container[str] = frozenset()) -> Intake:
    """Return the intake with these times; a note names those that fit nobody. Raises GraderError.

    Args:
        source: a file or a decision, named where the times cannot be used.
        later: ids of uploads that came in after these times were given: they are of an attempt before.
    """
    # Given are decisions, with keys of then; a file that names anybody wrongly has been refused.
    known = NameIndex(list_students(intake), (*given.times, *given.attachments))
    by_key = _group_by_key(given.times, known, source)
    attachments = {key: ids for name, ids in given.attachments.items() for key in known.find(name)}
    uploads, others = [], set[str]()
    for upload in intake.uploads:
        time, ids = by_key.get(upload.student.key), attachments.get(upload.student.key)
        if time and ids and upload.attachment_id is not None:
            is_own = upload.attachment_id in ids
            others |= set() if is_own else {upload.student.key}
            upload = upload.model_copy(update={"submitted_at": time, "is_own_time": True}) if is_own else upload
        elif time and upload.id not in later:
            upload = upload.model_copy(update={"submitted_at": time, "is_own_time": False})
        uploads.append(upload)
    others -= {upload.student.key for upload in uploads if upload.is_own_time}
    notes = (*intake.notes, *_describe_misfits(given, known, others))
    return intake.model_copy(update={"uploads": tuple(uploads), "notes": notes})


def _describe_misfits(given: Times, known: NameIndex, others: Collection[str]) -> Iterator[str]:
    """Tell of times that fit nobody, and of those that are of another attempt than the one here."""
    for name in given.times:
        if not known.find(name):
            yield f"The time of '{sanitise(name)}' belongs to no student here{known.suggest(name)}."
    if others:
        yield (
            f"The time known is of another attempt than the one here, for which only the mark LATE counts: "
            f"{', '.join(map(sanitise, sorted(others)))}. Download the zip again to grade the newest attempts."
        )


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


def _read_times(sheet: Sheet) -> Times:
    """Return times by key, Canvas id, SIS id or login of a student."""
    if sheet.columns not in (COLUMNS, (*COLUMNS, ATTACHMENTS)):
        raise ValueError(f"the columns have to be {' and '.join(COLUMNS)}, and perhaps {ATTACHMENTS}")
    times: dict[str, datetime] = {}
    attachments: dict[str, tuple[int, ...]] = {}
    for place, cells in sheet.rows:
        name, time = cells.get("student", ""), _parse_time(cells.get("submitted_at", ""), place)
        if times.setdefault(name, time) != time:
            raise ValueError(f"{place}: {sanitise(name)!r} has another time already")
        ids = cells.get(ATTACHMENTS, "").split()
        if not all(re.fullmatch("[0-9]{1,18}", one) for one in ids):
            raise ValueError(f"{place}: {sanitise(' '.join(ids))!r} are no ids of attachments such as 900871 900872")
        if ids:
            attachments[name] = (*attachments.get(name, ()), *map(int, ids))
    return Times(times=times, attachments=attachments)


def _parse_time(text: str, place: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{place}: {sanitise(text)!r} is no time such as 2026-12-01T23:59:00+01:00") from None
    if time.tzinfo is None:
        raise ValueError(f"{place}: {sanitise(text)!r} has no time zone, such as +01:00 or Z at its end")
    return time
