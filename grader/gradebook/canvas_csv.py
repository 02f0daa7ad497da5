"""Points written into the teacher's own gradebook export, for Canvas's import. Pure.

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
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from pydantic import Field

from grader.errors import GraderError
from grader.gradebook.formulas import starts_formula
from grader.grades.grade import Grade, Standing
from grader.intake.gradebook_export import Cell, Column, Export, Person, parse_number, read_export
from grader.intake.roster import normalise_name
from grader.intake.uploads import Student
from grader.model import FrozenModel
from grader.text import sanitise

HUNDREDTH: Final = Decimal("0.01")  # what Canvas shows, exports and compares
KEPT: Final = {"EX": "excused", "N/A": "not assigned"}  # texts of Canvas that stay


class FilledGradebook(FrozenModel):
    """The file to import, and what a person should know before importing it."""

    content: bytes
    warnings: tuple[str, ...]
    concerns: dict[str, str] = Field(default_factory=dict)  # the student's name, by those warnings that are about one


def fill_column(
    export: bytes, grades: Sequence[Grade], assignment: str | int | None = None, as_words: bool = False
) -> FilledGradebook:
    """Fill one column of a teacher's export. `assignment` is its id or title, None where only one fits.

    Points are scaled from what was possible here to the column's points possible; with `as_words` the column gets
    `complete` and `incomplete`. Raises GraderError.
    """
    gradebook = read_export(export)
    column = choose(gradebook.columns, assignment)
    found, lost = match(grades, gradebook.people)
    warnings, concerns, cells = list[str](), dict[str, str](), _quote_names(gradebook)
    if not column.points_possible:
        warnings.append(f"'{sanitise(column.heading)}' has no points possible in Canvas; points are not scaled to it.")
    if gradebook.nobodies:
        numbers = ", ".join(map(str, gradebook.nobodies))
        warnings.append(f"Rows of the gradebook without a name and an id are left out: row {numbers}.")
    if any(grade.is_partial for grade in found.values()):
        warnings.append(f"'{sanitise(column.heading)}' counts only what was judged{_explain_scale(column)}.")
    for person, grade in found.items():
        text, warning = _mark(grade, person, column, as_words)
        if warning:
            concerns[warning] = person.name
        if text is not None:
            cells[person.row[column.index]] = text
    names = [grade.student.name for grade in lost]
    concerns |= {f"{sanitise(name)} has no row in the gradebook.": name for name in names}
    names = [p.name for p in gradebook.people if p not in found and not p.is_test_student]
    concerns |= {f"{sanitise(name)} is in the gradebook and has no grade here.": name for name in names}
    said = (*warnings, *concerns)
    return FilledGradebook(content=gradebook.replace_cells(cells), warnings=said, concerns=concerns)


def choose(columns: Sequence[Column], assignment: str | int | None) -> Column:
    """Return the column of an assignment, by id, heading or title, or because no other fits. Raises GraderError."""
    wanted = "" if assignment is None else str(assignment).strip()
    usable = [column for column in columns if column.importable]
    # Without a name, an assignment that Canvas does not import might be the one that is meant.
    found = _find_columns(usable, wanted) if wanted else usable * (len(usable) == len(columns))
    if len(found) == 1:
        return found[0]
    if wanted and not found and (barred := _find_columns(columns, wanted)):
        column = sanitise(barred[0].heading)
        raise GraderError(f"Canvas does not import the column '{column}'; enter its scores by hand.")
    headings = ", ".join(f"'{sanitise(column.heading)}'" for column in usable)
    choice = f"choose one with ASSIGNMENT= (--assignment), by its heading or number: {headings}"
    advice = choice if usable else "export it again once the assignment is published in Canvas"
    if not wanted:
        raise GraderError(f"The gradebook does not tell which column to fill; {advice}.")
    raise GraderError(f"{'Several columns fit' if found else 'No column is called'} '{sanitise(wanted)}'; {advice}.")


def _find_columns(columns: Sequence[Column], wanted: str) -> list[Column]:
    """Return the columns that fit in the surest way in which any fits."""
    plain = normalise_name(wanted)
    return (
        [column for column in columns if str(column.assignment_id) == wanted]
        or [column for column in columns if wanted in (column.heading, column.title)]
        or [column for column in columns if plain in (normalise_name(column.heading), normalise_name(column.title))]
    )


def match(grades: Iterable[Grade], people: Sequence[Person]) -> tuple[dict[Person, Grade], list[Grade]]:
    """Return the grade of each row, and the grades without a row. Raises GraderError if a row would get two.

    Rows are found as Canvas does: by ID, then SIS user ID, login, name; last by Moodle's number. A text that two rows
    share finds neither; an ID that they share finds both, which are one student.
    """
    by_id = defaultdict[int | None, list[Person]](list)
    for person in people:
        by_id[person.canvas_id].append(person)
    by_text: defaultdict[tuple[str, str], list[Person]] = defaultdict(list)
    for person in people:
        for text in _list_texts(person):
            by_text[text].append(person)
    found, lost = dict[Person, Grade](), list[Grade]()
    for grade in grades:
        student = grade.student
        by_name = (rows for text in _list_texts(student) if len(rows := by_text[text]) == 1)
        rows = next(by_name, []) if student.canvas_id is None else by_id[student.canvas_id]
        if double := next((row for row in rows if row in found), None):
            raise GraderError(f"{sanitise(double.name)} has two grades; keep one of them.")
        found.update(dict.fromkeys(rows, grade))
        lost += [] if rows else [grade]
    return found, lost


def _list_texts(who: Person | Student) -> list[tuple[str, str]]:
    texts = {"sis": who.sis_user_id or "", "login": (who.login or "").casefold(), "name": normalise_name(who.name)}
    texts["participant"] = who.participant or ""
    return [(kind, text) for kind, text in texts.items() if text]


def _mark(grade: Grade, person: Person, column: Column, as_words: bool) -> tuple[str | None, str | None]:
    """Return the new text of a student's cell, and a warning, each where there is one."""
    old, name = _read_old(person, column), sanitise(person.name)
    if grade.standing is Standing.EXCUSED and old.upper() != "EX":
        return None, f"{name} is excused here and not in Canvas; excuse them in Canvas too."
    if grade.standing is not Standing.GRADED or grade.points is None:
        return None, f"{name} is {grade.standing} and keeps '{sanitise(old)}'." if old else None
    if old.upper() in KEPT:
        return None, f"{name} has a grade here and is {KEPT[old.upper()]} in Canvas; the cell stays '{old}'."
    if column.index >= len(person.row):
        return None, f"The row of {name} is too short for a score; export the gradebook again."
    if as_words:
        waits = f"{name} is graded, and it is open whether it is complete; the cell stays '{sanitise(old)}'."
        known = grade.outcome.is_decided
        return (str(grade.outcome) if known and old != grade.outcome else None), None if known else waits
    text = format_points(grade.points, grade.possible, column.points_possible)
    shown = parse_number(old)
    same = shown is not None and _round(Decimal(repr(shown))) == Decimal(text)
    return None if same else text, None


def _explain_scale(column: Column) -> str:
    """Tell what the points of a part of the rubric become in a column that has a scale, as the end of a sentence."""
    whole = column.points_possible
    return f": whoever has all the judged points has {whole:g} of {whole:g} there" if whole else ""


def format_points(points: float, possible: float, column_possible: float | None) -> str:
    """Write points on the column's scale, rounded half up to hundredths. Raises GraderError if that is no number."""
    given, here = Decimal(repr(points)), Decimal(repr(possible))
    if not (given.is_finite() and here.is_finite()) or (here <= 0 and column_possible):
        grade = f"A grade of {points} of {possible} points"
        raise GraderError(f"{grade} cannot be put on the gradebook's scale; grade again.")
    return format(_round(given * Decimal(repr(column_possible)) / here if column_possible else given), "f")


def _round(points: Decimal) -> Decimal:
    return points.quantize(HUNDREDTH, ROUND_HALF_UP)


def _read_old(person: Person, column: Column) -> str:
    return person.row[column.index].value.strip() if column.index < len(person.row) else ""


def _quote_names(gradebook: Export) -> dict[Cell, str]:
    """Return new text for the names that would start a formula and are not needed to find the student."""
    names = [i for i, heading in enumerate(gradebook.header) if heading in ("Student", "LastName", "FirstName")]
    cells = (person.row[i] for person in gradebook.people if person.canvas_id is not None for i in names)
    return {cell: text for cell in cells if (text := quote_name(cell.value)) != cell.value}


def quote_name(cell: str) -> str:
    """Write a name so that no spreadsheet calculates it and `unquote_name` reads it back; other names stay."""
    inner = re.fullmatch(r'="(.*)"', cell, re.DOTALL)
    if inner and '"' not in inner[1].replace('""', ""):
        return cell  # Canvas's own form, or this one, with nothing that ends the quotes
    name = inner[1] if inner else cell
    return '="{}"'.format(name.replace('"', '""')) if starts_formula(cell) else cell
