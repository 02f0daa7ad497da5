"""Changes that a person made: a reviewed TOML or CSV file, in which every entry has an author and a reason.

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

import csv
import datetime
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from grader.errors import GraderError
from grader.grades.policy import ManualItem, Text, index_by_name
from grader.grades.sheets import SEMICOLON, read_sheet
from grader.intake.uploads import Student
from grader.model import FrozenModel, Verdict

COLUMNS: Final = ("kind", "student", "target", "verdict", "points", "author", "reason", "date")


class OverrideKind(StrEnum):
    """What a person changes."""

    CHECK = "check"
    MANUAL = "manual"
    TOTAL = "total"
    EXCUSED = "excused"


class Override(FrozenModel):
    """One change. `student` is the key of a student; `target` the id of a check or of a manual item."""

    kind: OverrideKind
    student: Text
    target: str = ""
    verdict: Literal[Verdict.PASSED, Verdict.FAILED] | None = None
    points: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    author: Text
    reason: Text
    date: datetime.date | None = None

    @model_validator(mode="after")
    def _require_complete(self) -> Self:
        if (self.kind in (OverrideKind.CHECK, OverrideKind.MANUAL)) != bool(self.target):
            raise ValueError("only changes of a check or a manual item name one, and they have to")
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
        """What concerns one student."""
        return tuple(entry for entry in self.entries if entry.student == student.key)


class _Entry(NamedTuple):
    place: str
    fields: dict[str, Any]


def load_overrides(
    path: Path, students: Iterable[Student], rubric: Mapping[str, float], manual: Iterable[ManualItem] = ()
) -> Overrides:
    """Read a file of overrides against the class, the rubric (check id -> points) and the manual items of the policy.

    Raises GraderError with one sentence that lists every problem of the file.
    """
    known, items, problems, found = index_by_name(students), {item.id: item.possible for item in manual}, [], []
    possible = round(sum(rubric.values()) + sum(items.values()), 2)
    for entry in _read(path):
        try:
            override = Override.model_validate(entry.fields)
        except ValidationError as error:
            problems += [f"{entry.place}: {_format_detail(detail)}" for detail in error.errors()]
            continue
        problems += [f"{entry.place}: {what}" for what in _misfits(override, known, rubric, items, possible)]
        found.append(override.model_copy(update={"student": next(iter(known.get(override.student, [""])))}))
    problems += [f"two entries change {what}" for what in _find_duplicates(found)]
    if problems:
        raise GraderError(f"Cannot use the overrides {path}: {'; '.join(problems)}; correct the file.")
    return Overrides(entries=tuple(found), possible=possible)


def _misfits(
    override: Override,
    known: Mapping[str, list[str]],
    rubric: Mapping[str, float],
    items: Mapping[str, float],
    possible: float,
) -> Iterator[str]:
    called = known.get(override.student, [])
    if len(called) != 1:
        yield f"{override.student!r} is {'no student of this class' if not called else 'more than one student'}"
    ranges: dict[OverrideKind, Mapping[str, float]] = {OverrideKind.CHECK: rubric, OverrideKind.MANUAL: items}
    within = ranges.get(override.kind)
    if within is not None and override.target not in within:
        yield f"{override.target!r} is no {'check' if override.kind is OverrideKind.CHECK else 'item'} of the rubric"
        return
    highest = possible if within is None else within[override.target]
    if override.points is not None and override.points > highest:
        yield f"{override.points:g} points are more than the {highest:g} there are"


def _find_duplicates(found: Iterable[Override]) -> list[str]:
    seen, twice = set(), []
    for entry in found:
        what = (entry.kind, entry.student, entry.target)
        if what in seen and entry.student:
            twice.append(f"{entry.target or f'the {entry.kind} entry'} of {entry.student!r}")
        seen.add(what)
    return twice


def _format_detail(detail: Any) -> str:
    key, text = ".".join(map(str, detail["loc"])), detail["msg"].removeprefix("Value error, ")
    return f"key {key}: {text[:1].lower()}{text[1:]}" if key else text


def _read(path: Path) -> list[_Entry]:
    try:
        return list((_csv_entries if path.suffix.lower() == ".csv" else _toml_entries)(path))
    except OSError as error:
        raise GraderError(f"Cannot read the overrides {path} ({error.strerror}); check the path.") from error
    except (ValueError, csv.Error) as error:
        raise GraderError(f"Cannot use the overrides {path}: {error}; correct the file.") from error


def _toml_entries(path: Path) -> Iterator[_Entry]:
    for kind, entries in tomllib.loads(path.read_text(encoding="utf-8-sig")).items():
        if kind not in list(OverrideKind) or not isinstance(entries, list):
            raise ValueError(f"{kind!r} is not one of the lists [[check]], [[manual]], [[total]] and [[excused]]")
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict) or {"kind", "target"} & set(entry):
                raise ValueError(f"[[{kind}]] {number} is not a table of its keys")
            name = {"check": "check", "manual": "item"}.get(kind)
            fields = {key: value for key, value in entry.items() if key != name}
            yield _Entry(
                f"[[{kind}]] {number}", {**fields, "kind": kind, "target": entry.get(name, "") if name else ""}
            )


def _csv_entries(path: Path) -> Iterator[_Entry]:
    """Rows of a CSV file; empty cells are absent."""
    sheet = read_sheet(path.read_text(encoding="utf-8-sig"))
    if unknown := [name for name in sheet.columns or ("",) if name not in COLUMNS]:
        raise ValueError(f"the columns have to be {', '.join(COLUMNS)}, and there is {unknown[0]!r}")
    for place, cells in sheet.rows:
        points = cells.get("points", "")
        decimal = {"points": points.replace(",", ".")} if points and sheet.delimiter == SEMICOLON else {}
        yield _Entry(place, {**cells, **decimal})
