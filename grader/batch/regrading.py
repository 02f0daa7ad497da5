"""Who gained or lost when a class was judged again, and whom to tell.

What is compared are the tables of checks: the one that was handed out last, which is what students know, and the new
one. Whoever has an open appeal is told too, whether something changed for them or not. A class may be judged again
before anybody was told, so the list keeps what earlier judgings found, each with its time, until a person removes it.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

from grader.batch.store import write
from grader.gradebook.formulas import sanitise_cell
from grader.gradebook.tables import build_rows
from grader.grades.decisions import Appeal, Decision, list_in_force
from grader.grades.grade import Grade
from grader.grades.policy import NameIndex
from grader.text import sanitise

NAME: Final = "changes.csv"
TABLE: Final = "checks.json"
COLUMNS: Final = ("student", "name", "before", "after", "change", "checks", "open_appeals", "judged_at")
SEPARATORS: Final = (",", ";", "\t")
MAX_LISTED: Final = 20  # students in a terminal; the file has all

Row = dict[str, str]  # of the list, as its cells stand there
Rows = Mapping[str, Sequence[Mapping[str, Any]]]  # of the table, by the key of the student


@dataclass(frozen=True)
class Change:
    """What became of one student. Points are None where there are none; `checks`: "step1.accuracy: failed → passed"."""

    student: str
    name: str
    before: float | None
    after: float | None
    checks: tuple[str, ...]
    open_appeals: tuple[str, ...]

    @property
    def gain(self) -> float:
        """Points gained; negative where points were lost."""
        return round((self.after or 0.0) - (self.before or 0.0), 2)

    @property
    def has_changed(self) -> bool:
        """True if the points or a verdict are others."""
        return self.before != self.after or bool(self.checks)


def read_table(folder: Path) -> Rows:
    """Read the table that was handed out last; empty where there is none that can be read."""
    try:
        rows = json.loads((folder / TABLE).read_bytes())
        return _group(row for row in rows if isinstance(row.get("student"), str))
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def list_changes(before: Rows, grades: Sequence[Grade], decisions: Sequence[Decision]) -> tuple[Change, ...]:
    """List whom to tell: those with other points or verdicts than before, and those who wait for an answer."""
    appeals = [d.matter for d in list_in_force(decisions) if isinstance(d.matter, Appeal) and not d.matter.answer]
    after = _group(build_rows(grades))
    found = []
    for grade in grades:
        old, new, names = before.get(grade.student.key, ()), after[grade.student.key], NameIndex([grade.student])
        change = Change(
            student=grade.student.key,
            name=grade.student.name,
            before=old[0].get("points") if old else None,
            after=grade.points,
            checks=tuple(_compare(old, new)),
            open_appeals=tuple(appeal.contests for appeal in appeals if names.find_recorded(appeal.student)),
        )
        if (old and change.has_changed) or change.open_appeals:
            found.append(change)
    return tuple(sorted(found, key=lambda change: (-abs(change.gain), change.student)))


def describe_changes(changes: Sequence[Change]) -> Iterator[str]:
    """Say how many gained and lost, and whom to tell, a line each."""
    gained, lost = sum(c.gain > 0 for c in changes), sum(c.gain < 0 for c in changes)
    if not changes:
        yield "Nobody gained or lost, and no appeal is open."
        return
    yield f"{gained} gained, {lost} lost. To tell ({NAME} has all of them):"
    for change in changes[:MAX_LISTED]:
        points = " → ".join("–" if value is None else f"{value:g}" for value in (change.before, change.after))
        notes = "; ".join((*change.checks, *(f"open appeal on {check}" for check in change.open_appeals)))
        yield f"  {sanitise(change.name or change.student)}: {points} ({change.gain:+g}){f'; {notes}' if notes else ''}"
    if len(changes) > MAX_LISTED:
        yield f"  and {len(changes) - MAX_LISTED} more"


def note_changes(folder: Path, changes: Iterable[Change]) -> tuple[str, ...]:
    """Put the changes before those that the list has already, and say what it has of earlier. Raises OSError."""
    path, said = folder / NAME, []
    at = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    new = [_make_row(change, at) for change in changes]
    earlier = _read_earlier(path)
    if earlier is None:
        aside = _find_free_name(path)
        path.rename(aside)
        said.append(f"{NAME} was no list that can be continued; it is kept as {aside.name}, and a new one is begun.")
    kept = _leave_out_repeated(earlier or [], new)
    write(path, _encode((*new, *kept)))
    if kept:
        students = len({row["student"] for row in kept})
        said.append(
            f"{NAME} also has what earlier judgings changed for {students} student{'s' * (students != 1)}, "
            "with the time of each; delete the file when everybody is told."
        )
    return tuple(said)


def _make_row(change: Change, at: str) -> Row:
    """Write a change as cells of a table for a spreadsheet."""
    texts = (change.student, change.name, "; ".join(change.checks), "; ".join(change.open_appeals))
    student, name, checks, appeals = map(sanitise_cell, texts)
    before, after = ("" if points is None else str(points) for points in (change.before, change.after))
    return dict(zip(COLUMNS, (student, name, before, after, str(change.gain), checks, appeals, at), strict=True))


def _read_earlier(path: Path) -> list[Row] | None:
    """Read what earlier judgings changed, newest first; None for a file that is no such list. Raises OSError.

    A row of an open appeal alone is left out: appeals are listed anew. Older versions wrote no times, spreadsheets
    write other separators, and a person's own columns stay.
    """
    if not path.is_file():
        return []
    try:
        text = path.read_bytes().decode("utf-8-sig")
        heading = text.partition("\n")[0]
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(SEPARATORS, key=heading.count))
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error):
        return None
    names = tuple(reader.fieldnames or ())
    if not set(COLUMNS[:-1]) <= set(names) or any(None in row for row in rows):  # None: cells without a heading
        return None
    found = [{name: row.get(name) or "" for name in dict.fromkeys((*COLUMNS, *names))} for row in rows]
    return [row for row in found if row["before"] != row["after"] or row["checks"]]


def _leave_out_repeated(earlier: Iterable[Row], new: Sequence[Row]) -> list[Row]:
    """Leave out what a judging found that was stopped before it handed anything out: the next one finds it again."""
    found = {row["student"]: row for row in new}
    kept, seen = [], set[str]()
    for row in earlier:
        is_newest, again = row["student"] not in seen, found.get(row["student"])
        seen.add(row["student"])
        if not (is_newest and again and all(row[name] == again[name] for name in ("before", "after", "checks"))):
            kept.append(row)
    return kept


def _find_free_name(path: Path) -> Path:
    names = (path.with_stem(f"{path.stem}-{number}") for number in count(1))
    return next(name for name in names if not name.exists())


def _encode(rows: Sequence[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys((*COLUMNS, *(name for row in rows for name in row)))))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig", "replace")


def _group(rows: Iterable[Mapping[str, Any]]) -> Rows:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["student"], []).append(row)
    return found


def _compare(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    before, now = ({row["check"]: row.get("verdict") for row in rows if row.get("check")} for rows in (old, new))
    for check in dict.fromkeys((*before, *now)) if before else ():
        if before.get(check) != now.get(check):
            yield f"{check}: {before.get(check) or 'absent'} → {now.get(check) or 'absent'}"
