"""Who gained or lost when a class was judged again, and whom to tell.

What is compared are the tables of checks: the one that was handed out last, which is what students know, and the new
one. Whoever has an open appeal is told too, whether something changed for them or not.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grader.gradebook.formulas import sanitise_cell
from grader.gradebook.tables import build_rows
from grader.grades.decisions import Appeal, Decision, list_in_force
from grader.grades.grade import Grade
from grader.grades.policy import NameIndex
from grader.text import sanitise

NAME: Final = "changes.csv"
TABLE: Final = "checks.json"
COLUMNS: Final = ("student", "name", "before", "after", "change", "checks", "open_appeals")
MAX_LISTED: Final = 20  # students in a terminal; the file has all

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


def encode_changes(changes: Iterable[Change]) -> bytes:
    """Write the list as a table for a spreadsheet."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for c in changes:
        words = [sanitise_cell(word) for word in (c.student, c.name, "; ".join(c.checks), "; ".join(c.open_appeals))]
        writer.writerow([*words[:2], c.before, c.after, c.gain, *words[2:]])
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
