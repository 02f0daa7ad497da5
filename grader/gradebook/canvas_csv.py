"""Points into the teacher's own gradebook export, for Canvas's import. Pure.

Only the cells that change are written; every other byte stays as Canvas wrote it, so that nothing is lost that this
module does not know of, and a comparison of the two files shows exactly what the import will do. A blank where a score
exists would delete the score: what was not graded therefore keeps its old text, as do `EX` (excused) and `N/A` (not
assigned to that student). Points are written with a decimal point and without separators of thousands, whatever the
file's language: Canvas reads `1,234` as 1.234. A group's grade goes into the row of the member that Canvas names in the
archive; Canvas passes it on to the others, unless the assignment grades them one by one.

Names that a spreadsheet would take for a formula are written the way Canvas's own exporter does it, `="name"`, with
inner quotes doubled, which Canvas forgets: a spreadsheet shows the name and saves it unchanged. Canvas finds students
by ID before it looks at names, so this is done where there is an ID and nowhere else.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from grader.errors import GraderError
from grader.gradebook.formulas import starts_formula
from grader.grades.grade import Grade, Standing
from grader.intake.gradebook_export import Cell, Column, Export, Person, parse_number, read_export
from grader.intake.roster import normalise_name
from grader.intake.uploads import Student
from grader.model import FrozenModel
from grader.text import sanitise

HUNDREDTH: Final = Decimal("0.01")  # what Canvas shows, exports and compares


class Change(FrozenModel):
    """One score that the import will change. `old` is the text in the export, blank if there was no score."""

    name: str
    old: str
    new: str


class FilledGradebook(FrozenModel):
    """The file to import, and what a person should know before importing it."""

    content: bytes
    column: str  # heading of the column that was filled
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]


def fill_column(export: bytes, grades: Sequence[Grade], assignment: str | int | None = None) -> FilledGradebook:
    """Fill one column of a teacher's export. `assignment` is its id or title, None where only one fits.

    Points are scaled from what was possible here to the column's points possible. Raises GraderError.
    """
    gradebook = read_export(export)
    column = choose(gradebook.columns, assignment)
    found, lost = match(grades, gradebook.people)
    marks = {person: _mark(grade, person, column) for person, grade in found.items()}
    cells = {person.row[column.index]: text for person, (text, _) in marks.items() if text is not None}
    return FilledGradebook(
        content=gradebook.replace_cells({**_quote_names(gradebook), **cells}),
        column=column.heading,
        changes=tuple(
            Change(name=p.name, old=_read_old(p, column), new=t) for p, (t, _) in marks.items() if t is not None
        ),
        warnings=(
            *_warn_about_column(column),
            *(warning for _, warning in marks.values() if warning),
            *(f"{sanitise(grade.student.name)} has no row of their own in the gradebook." for grade in lost),
            *_find_without_grade(gradebook.people, found),
        ),
    )


def choose(columns: Sequence[Column], assignment: str | int | None) -> Column:
    """The column of an assignment, by id, by heading or title, or because no other fits. Raises GraderError."""
    wanted = "" if assignment is None else str(assignment).strip()
    usable = [column for column in columns if column.importable]
    found = next(filter(None, _candidates(usable, wanted)), []) if wanted else usable
    if len(found) == 1:
        return found[0]
    if wanted and not found and (barred := next(filter(None, _candidates(columns, wanted)), [])):
        raise GraderError(
            f"Canvas does not import the column '{sanitise(barred[0].heading)}'; enter its scores by hand."
        )
    what = f"No column is called '{sanitise(wanted)}'" if wanted else "The gradebook does not tell which column to fill"
    raise GraderError(
        f"{what if not (wanted and found) else f'Several columns fit {sanitise(wanted)!r}'}; {_choice(usable)}."
    )


def _candidates(columns: Sequence[Column], wanted: str) -> Iterator[list[Column]]:
    """Columns that fit, the surest way of fitting first."""
    yield [column for column in columns if str(column.assignment_id) == wanted]
    yield [column for column in columns if wanted in (column.heading, column.title)]
    yield [
        column
        for column in columns
        if normalise_name(wanted) in (normalise_name(column.heading), normalise_name(column.title))
    ]


def _choice(columns: Sequence[Column]) -> str:
    if not columns:
        return "export it again once the assignment is published in Canvas"
    return "choose one of: " + ", ".join(f"'{sanitise(column.heading)}'" for column in columns)


def match(grades: Iterable[Grade], people: Sequence[Person]) -> tuple[dict[Person, Grade], list[Grade]]:
    """Whose row each grade belongs to, and the grades that have none. Raises GraderError if a row would get two."""
    rows = _Rows(people)
    found: dict[Person, Grade] = {}
    lost: list[Grade] = []
    for grade in grades:
        person = rows.find(grade.student)
        if person is None:
            lost.append(grade)
        elif person in found:
            raise GraderError(f"{sanitise(person.name)} has two grades; keep one of them.")
        else:
            found[person] = grade
    return found, lost


class _Rows:
    """Finds rows as Canvas does: by ID, then SIS user ID, login, name. What two rows share finds neither."""

    def __init__(self, people: Sequence[Person]) -> None:
        self._by_id = {person.canvas_id: person for person in people if person.canvas_id is not None}
        self._by_text: defaultdict[tuple[str, str], list[Person]] = defaultdict(list)
        for person in people:
            for key in _keys(person.sis_user_id, person.login, person.name):
                self._by_text[key].append(person)

    def find(self, student: Student) -> Person | None:
        if student.canvas_id is not None:
            return self._by_id.get(student.canvas_id)
        for key in _keys(student.sis_user_id, student.login, student.name):
            if len(found := self._by_text[key]) == 1:
                return found[0]
        return None


def _keys(sis_user_id: str | None, login: str | None, name: str) -> list[tuple[str, str]]:
    words = {"sis": sis_user_id or "", "login": (login or "").casefold(), "name": normalise_name(name)}
    return [(kind, word) for kind, word in words.items() if word]


def _mark(grade: Grade, person: Person, column: Column) -> tuple[str | None, str]:
    """The new text of a student's cell, None where it stays, and a warning or nothing."""
    old, name = _read_old(person, column), sanitise(person.name)
    if grade.standing is Standing.EXCUSED and old.upper() != "EX":
        return None, f"{name} is excused here and not in Canvas; excuse them in Canvas too."
    if grade.standing is not Standing.GRADED or grade.points is None:
        return None, f"{name} is {grade.standing} and keeps '{sanitise(old)}'." if old else ""
    if old.upper() in ("EX", "N/A"):
        return None, f"{name} has a grade here and is {_WORDS[old.upper()]} in Canvas; the cell stays '{old}'."
    if column.index >= len(person.row):
        return None, f"The row of {name} is too short for a score; export the gradebook again."
    text = format_points(grade.points, grade.possible, column.points_possible)
    return (None if _is_same(old, text) else text), ""


_WORDS: Final = {"EX": "excused", "N/A": "not assigned"}


def format_points(points: float, possible: float, column_possible: float | None) -> str:
    """Points on the column's scale, rounded half up to hundredths. Raises GraderError where that is no number."""
    given, here = Decimal(repr(points)), Decimal(repr(possible))
    if not (given.is_finite() and here.is_finite()) or (here <= 0 and column_possible):
        raise GraderError(
            f"A grade of {points} of {possible} points cannot be put on the gradebook's scale; grade again."
        )
    scaled = given * Decimal(repr(column_possible)) / here if column_possible else given
    return format(scaled.quantize(HUNDREDTH, ROUND_HALF_UP), "f")


def _is_same(old: str, new: str) -> bool:
    """Whether Canvas would see no change: it compares to hundredths."""
    value = parse_number(old)
    return value is not None and Decimal(repr(value)).quantize(HUNDREDTH, ROUND_HALF_UP) == Decimal(new)


def _read_old(person: Person, column: Column) -> str:
    return person.row[column.index].value.strip() if column.index < len(person.row) else ""


def _quote_names(gradebook: Export) -> Mapping[Cell, str]:
    """New text for the names that would start a formula and are not needed to find the student."""
    names = [i for i, heading in enumerate(gradebook.header) if heading in ("Student", "LastName", "FirstName")]
    cells = (person.row[i] for person in gradebook.people if person.canvas_id is not None for i in names)
    return {cell: text for cell in cells if (text := quote_name(cell.value)) != cell.value}


def quote_name(cell: str) -> str:
    """A name that no spreadsheet calculates, as `plain_name` reads it back; other names as they are."""
    inner = re.fullmatch(r'="(.*)"', cell, re.DOTALL)
    if inner and '"' not in inner[1].replace('""', ""):
        return cell  # Canvas's own form, or this one, with nothing that ends the quotes
    name = inner[1] if inner else cell
    return '="{}"'.format(name.replace('"', '""')) if starts_formula(cell) else cell


def _warn_about_column(column: Column) -> Iterator[str]:
    if not column.points_possible:
        yield f"'{sanitise(column.heading)}' has no points possible in Canvas; points are written as they are."


def _find_without_grade(people: Iterable[Person], found: Mapping[Person, Grade]) -> Iterator[str]:
    """Who is in the gradebook and not in the class. The student view is nobody."""
    for person in people:
        if person not in found and not person.is_test_student:
            yield f"{sanitise(person.name)} is in the gradebook and has no grade here."
