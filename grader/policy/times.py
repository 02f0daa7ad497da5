"""When everybody handed in: a CSV file with the columns student and submitted_at.

`python -m grader times` writes one. Canvas's archive says of a late file that it is late, and not how late. A student's
files in it are one attempt, so that one time is enough for all of them.
"""

import csv
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from grader.cohort import Intake, Student
from grader.errors import GraderError
from grader.policy.rules import names_of
from grader.text import inert

COLUMNS: Final = ("student", "submitted_at")


def with_times(intake: Intake, path: Path) -> Intake:
    """The intake with the times of a file; a note names those that fit nobody. Raises GraderError."""
    times = _read(path)
    uploads = tuple(u.model_copy(update={"submitted_at": _of(u.student, times)}) for u in intake.uploads)
    known = frozenset().union(*(names_of(upload.student) for upload in intake.uploads))
    notes = tuple(f"The time of '{inert(name)}' fits nobody who handed in." for name in times if name not in known)
    return intake.model_copy(update={"uploads": uploads, "notes": (*intake.notes, *notes)})


def _of(student: Student, times: Mapping[str, datetime]) -> datetime | None:
    return next((times[name] for name in names_of(student) if name in times), None)


def _read(path: Path) -> dict[str, datetime]:
    try:
        return dict(_rows(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise GraderError(f"Cannot read the times {path} ({error.strerror}); check the path.") from error
    except (ValueError, csv.Error) as error:
        raise GraderError(f"Cannot use the times {path}: {error}; correct the file.") from error


def _rows(text: str) -> Iterator[tuple[str, datetime]]:
    """A student, by key, Canvas id, SIS id or login, and a time. Commas or semicolons, as spreadsheets write them."""
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in text.partition("\n")[0] else ",", strict=True)
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise ValueError(f"the columns have to be {' and '.join(COLUMNS)}")
    for row in rows:
        yield str(row["student"]).strip(), _time(str(row["submitted_at"]).strip(), rows.line_num)


def _time(text: str, line: int) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"line {line}: {inert(text)!r} is no time such as 2026-12-01T23:59:00+01:00") from None
    if time.tzinfo is None:
        raise ValueError(f"line {line}: {inert(text)!r} has no time zone, such as +01:00 or Z at its end")
    return time
