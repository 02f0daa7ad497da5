"""Changes that a person made to grades: a TOML or CSV file, in which every entry has an author and a reason.

TOML: a list of tables per kind. CSV: the columns kind, student, target, verdict, points, author, reason, date.

```toml
[[check]]
student = "andersson_lovisa"   # key, Canvas id, SIS id or login
check = "step2.accuracy"
points = 6                     # or verdict = "passed" or "failed"
author = "M. Example"
reason = "trained on the right data, see the appeal"
date = 2026-12-04              # optional

[[manual]]                     # item = "discussion", points = 8
[[total]]                      # points = 70: final, nothing is taken off it
[[excused]]
```
"""

import datetime
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from grader.grades.policy import ManualItem, NameIndex, Text
from grader.grades.sheets import COMMA, list_problems, open_text, read_sheet
from grader.intake.uploads import Student
from grader.model import FrozenModel, Verdict

Entry = tuple[str, dict[str, Any]]  # its place in the file, and its fields
COLUMNS: Final = ("kind", "student", "target", "verdict", "points", "author", "reason", "date")


class OverrideKind(StrEnum):
    """The part of a grade that a person changes."""

    CHECK = "check"
    MANUAL = "manual"
    TOTAL = "total"
    EXCUSED = "excused"


# What each kind of change is of, and the points possible for each target.
Targets = Mapping[OverrideKind, tuple[str, Mapping[str, float]]]


class Override(FrozenModel):
    """One change. `student` is the key of a student; `target` the id of a check or of a manual item.

    `possible`: what the target was worth when somebody decided; None for the whole, and in changes of older versions.
    `made_for`: the SHA-256 of the file that counted then, and none where there was no file; from a file of overrides,
    which names no file, of all that the student had handed in. None in changes of older versions.
    """

    kind: OverrideKind
    student: Text
    target: str = ""
    verdict: Literal[Verdict.PASSED, Verdict.FAILED] | None = None
    points: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    author: Text
    reason: Text
    date: datetime.date | None = None
    possible: float | None = None
    made_for: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _require_complete(self) -> Self:
        if (self.kind in (OverrideKind.CHECK, OverrideKind.MANUAL)) != bool(self.target):
            raise ValueError("a change of a check or a manual item names it, and no other change does")
        if self.kind is OverrideKind.CHECK and (self.points is None) == (self.verdict is None):
            raise ValueError("give either points or verdict")
        if self.kind in (OverrideKind.MANUAL, OverrideKind.TOTAL) and (self.points is None or self.verdict):
            raise ValueError("give points")
        if self.kind is OverrideKind.EXCUSED and (self.points is not None or self.verdict):
            raise ValueError("an excused student has no points")
        return self

    @property
    def signed(self) -> str:
        """The author, with the date where there is one."""
        return f"{self.author}, {self.date}" if self.date else self.author


class Overrides(FrozenModel):
    """All changes of a file, checked. `possible`: the points of the whole rubric, manual items included."""

    entries: tuple[Override, ...] = ()
    possible: float = 0.0

    def of(self, student: Student) -> tuple[Override, ...]:
        """Return the changes for one student."""
        return tuple(entry for entry in self.entries if entry.student == student.key)


def load_overrides(
    path: Path,
    students: Iterable[Student],
    rubric: Mapping[str, float],
    manual: Iterable[ManualItem] = (),
    recorded: Iterable[str] = (),
) -> Overrides:
    """Read a file of overrides. Raises GraderError with one sentence that lists every problem of the file.

    Args:
        students: the class.
        rubric: the points of each check, by its id.
        manual: the manual items of the policy.
        recorded: keys that students had earlier.
    """
    known, items, problems, found = NameIndex(students, recorded), {item.id: item.possible for item in manual}, [], []
    possible = round(sum(rubric.values()) + sum(items.values()), 2)
    whole = ("", {"": possible})  # these changes have no target
    targets = {OverrideKind.CHECK: ("check", rubric), OverrideKind.MANUAL: ("item", items)}
    targets |= {OverrideKind.TOTAL: whole, OverrideKind.EXCUSED: whole}
    with open_text(path, "overrides") as text:
        for place, fields in (_read_csv if path.suffix.lower() == ".csv" else _read_toml)(text):
            try:
                override = Override.model_validate(fields)
            except ValidationError as error:
                named = list_problems(error, lambda keys: f"key {'.'.join(map(str, keys))}")
                problems += [f"{place}: {what}" for what in named]
                continue
            problems += [f"{place}: {what}" for what in _find_misfits(override, known, targets)]
            key, worth = next(iter(known.find(override.student)), ""), targets[override.kind][1].get(override.target)
            found.append(override.model_copy(update={"student": key, "possible": worth if override.target else None}))
        problems += [f"two entries change {what}" for what in _find_duplicates(found)]
        if problems:
            raise ValueError("; ".join(problems))
    return Overrides(entries=tuple(found), possible=possible)


def _find_misfits(override: Override, known: NameIndex, targets: Targets) -> Iterator[str]:
    count = len(known.find(override.student))
    if count != 1:
        nobody = f"no student of this class{known.suggest(override.student)}"
        yield f"{override.student!r} is {'more than one student' if count else nobody}"
    title, worth = targets[override.kind]
    if override.target not in worth:
        yield f"{override.target!r} is no {title} of the rubric"
    elif override.points is not None and override.points > worth[override.target]:
        yield f"{override.points:g} points are more than the {worth[override.target]:g} possible"


def _find_duplicates(found: Iterable[Override]) -> list[str]:
    counts = Counter((entry.kind, entry.student, entry.target) for entry in found if entry.student)
    repeated = [change for change, count in counts.items() if count > 1]
    return [f"{target or f'the {kind} entry'} of {student!r}" for kind, student, target in repeated]


def _read_toml(text: str) -> Iterator[Entry]:
    for kind, entries in tomllib.loads(text).items():
        if kind not in list(OverrideKind) or not isinstance(entries, list):
            raise ValueError(f"{kind!r} is not one of the lists [[check]], [[manual]], [[total]] and [[excused]]")
        target = {"check": "check", "manual": "item"}.get(kind, "")
        for number, entry in enumerate(entries, 1):
            place = f"[[{kind}]] {number}"
            if not isinstance(entry, dict) or {"kind", "target", "possible", "made_for"} & set(entry):
                raise ValueError(f"{place} is not a table of the keys for {kind}")
            fields = {key: value for key, value in entry.items() if key != target}
            yield place, {**fields, "kind": kind, "target": entry.get(target, "")}


def _read_csv(text: str) -> Iterator[Entry]:
    sheet = read_sheet(text)
    if unknown := [name for name in sheet.columns or ("",) if name not in COLUMNS]:
        raise ValueError(f"expected the columns {', '.join(COLUMNS)}; found {unknown[0]!r}")
    for place, cells in sheet.rows:
        points = cells.get("points", "")
        decimal = {"points": points.replace(",", ".")} if points and sheet.delimiter != COMMA else {}
        yield place, {**cells, **decimal}
