"""An export of Canvas's gradebook, read so that every cell can be replaced without touching another byte.

Rows: the header, perhaps one of "Manual Posting" notes, one of "Points Possible", the students, last the Test Student.
Rules follow Canvas's own importer (lib/gradebook_importer.rb) and exporter (lib/gradebook_exporter.rb).

Exports of Moodle and Gradescope are read too. Moodle's grading worksheet has one column, Grade, that is filled in the
same way; the other forms (Moodle's grades, Gradescope's grades and roster) only tell who is in the class.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from grader.errors import GraderError

EXPORT_AGAIN: Final = "in Canvas choose Grades, Export, and give that file unchanged"
TEST_STUDENT: Final = "Student, Test"  # the sortable name of Canvas's student view

_DROPPED = re.compile(r"(Current|Final) (Score|Points|Grade)|Override (Score|Grade|Status)")
_POSTING_NOTE = re.compile(r"^\s*(Muted|Manual Posting.*|\(read\s+only\))?\s*$", re.IGNORECASE | re.DOTALL)


class Platform(StrEnum):
    """The program that wrote an export, by its name for people."""

    CANVAS = "Canvas"
    MOODLE = "Moodle"
    GRADESCOPE = "Gradescope"


# Headings that are there, of each form that is known.
FORMS: Final = (
    (Platform.CANVAS, ("Student", "ID", "Section")),
    (Platform.CANVAS, ("LastName", "FirstName", "ID", "Section")),
    (Platform.MOODLE, ("Identifier", "Status")),  # without names where marking is blind
    (Platform.MOODLE, ("Identifier", "Full name")),
    (Platform.MOODLE, ("First name", "Last name", "Email address")),
    (Platform.MOODLE, ("First name", "Surname", "Email address")),
    (Platform.GRADESCOPE, ("First Name", "Last Name", "SID")),
    (Platform.GRADESCOPE, ("Name", "SID", "Email")),
)
NAMES: Final = ("Student", "Full name", "Name")
LAST_NAMES: Final = ("LastName", "Last name", "Surname", "Last Name")
FIRST_NAMES: Final = ("FirstName", "First name", "First Name")
SIS_IDS: Final = ("SIS User ID", "SID", "ID number")
LOGINS: Final = ("SIS Login ID", "Email address", "Email")
SECTIONS: Final = ("Section", "Sections", "Groups")
READ: Final = (NAMES, LAST_NAMES, FIRST_NAMES, SIS_IDS, LOGINS, SECTIONS)


@dataclass(frozen=True)
class Cell:
    """A value, and the place of its text in the file, quotes included."""

    value: str
    start: int
    end: int


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Column:
    """One assignment. `index` counts cells of a row from 0; `points_possible` is None where the export gives none."""

    index: int
    heading: str
    title: str
    assignment_id: int | None
    points_possible: float | None
    read_only: bool

    @property
    def importable(self) -> bool:
        """True if Canvas imports scores from this column: it drops every heading that looks like a total."""
        return not (self.read_only or _DROPPED.search(self.heading))


@dataclass(frozen=True)
class Person:
    """One student's row."""

    row: Row
    name: str
    canvas_id: int | None
    sis_user_id: str | None
    login: str | None
    section: str | None
    participant: str | None = None  # `Participant 101`: their number in this assignment of Moodle

    @property
    def is_somebody(self) -> bool:
        """True if the row says whose it is."""
        return any((self.name.strip(), self.canvas_id is not None, self.sis_user_id, self.login))

    @property
    def is_test_student(self) -> bool:
        """True if this is the course's student view and not a person."""
        return self.name == TEST_STUDENT


@dataclass(frozen=True)
class Export:
    """The whole file: `text` without the byte order mark, and its rows."""

    text: str
    bom: bool
    delimiter: str
    rows: tuple[Row, ...]
    platform: Platform = Platform.CANVAS

    @property
    def header(self) -> list[str]:
        """The headings."""
        return [cell.value for cell in self.rows[0]]

    @cached_property
    def people(self) -> tuple[Person, ...]:
        """The students' rows in their order, the Test Student among them; a student of two sections may have two."""
        found = (self._read_person(row) for row in self.rows[1:] if not _describes_assignments(row))
        return tuple(person for person in found if person.is_somebody)

    @property
    def nobodies(self) -> tuple[int, ...]:
        """The numbers of the rows that name nobody, from 1."""
        rows = ((number, row) for number, row in enumerate(self.rows, 1) if number > 1)
        return tuple(n for n, row in rows if not (_describes_assignments(row) or self._read_person(row).is_somebody))

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The assignments in their order: the columns after Section that carry an id or points possible."""
        if self.platform is not Platform.CANVAS:
            return self._find_worksheet_column()
        possible = next((row for row in self.rows[1:] if row and "Points Possible" in row[0].value), ())
        first = self.header.index("Section") + 1
        headings = list(enumerate(self.header))[first:]
        found = (_read_column(index, heading, _read_cell(possible, index) or "") for index, heading in headings)
        return tuple(c for c in found if c.assignment_id is not None or c.points_possible is not None)

    def _find_worksheet_column(self) -> tuple[Column, ...]:
        """Return the one column that Moodle imports, if this is its worksheet."""
        most = next((i for i, heading in enumerate(self.header) if heading.lower() == "maximum grade"), None)
        if most is None or "Grade" not in self.header or len(self.rows) < 2:
            return ()
        possible = parse_number(_read_cell(self.rows[1], most) or "")
        return (Column(self.header.index("Grade"), "Grade", "Grade", None, possible, read_only=False),)

    def _read_person(self, row: Row) -> Person:
        cell = {heading: _read_cell(row, index) for index, heading in reversed(list(enumerate(self.header)))}
        first = {name: next((cell[h] for h in name if cell.get(h)), None) for name in READ}
        parts = [part for part in (first[LAST_NAMES], first[FIRST_NAMES]) if part]
        canvas_id = (cell.get("ID") or "") if self.platform is Platform.CANVAS else ""
        participant = cell.get("Identifier") if self.platform is Platform.MOODLE else None
        return Person(
            row=row,
            name=unquote_name(first[NAMES] or ", ".join(parts) or participant or ""),
            canvas_id=int(canvas_id) if re.fullmatch("[0-9]{1,18}", canvas_id) else None,
            sis_user_id=first[SIS_IDS],
            login=first[LOGINS],
            section=first[SECTIONS],
            participant=participant,
        )

    def replace_cells(self, replaced: Mapping[Cell, str]) -> bytes:
        """Return the file with the text of some cells replaced, everything else byte for byte as it was."""
        parts, end = [], 0
        for cell in sorted(replaced, key=lambda cell: cell.start):
            parts += [self.text[end : cell.start], self._quote(replaced[cell])]
            end = cell.end
        return codecs.BOM_UTF8 * self.bom + "".join([*parts, self.text[end:]]).encode("utf-8")

    def _quote(self, value: str) -> str:
        risky = any(character in value for character in f'"{self.delimiter}\r\n')
        return '"{}"'.format(value.replace('"', '""')) if risky else value


def read_export(content: bytes) -> Export:
    """Parse an export: UTF-8, with or without a byte order mark, commas or semicolons. Raises GraderError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GraderError(f"The gradebook is not UTF-8 text, as Canvas writes it; {EXPORT_AGAIN}.") from error
    delimiter = _guess_delimiter(text)
    rows = tuple(_read_rows(text, delimiter))
    header = [cell.value for cell in rows[0]] if rows else []
    platform = next((found for found, headings in FORMS if {*headings} <= {*header}), None)
    if platform is None:
        lack = "its first row lacks Student, ID or Section"
        raise GraderError(f"The file is not a Canvas gradebook: {lack}; {EXPORT_AGAIN}.")
    return Export(text, content.startswith(codecs.BOM_UTF8), delimiter, rows, platform)


def unquote_name(cell: str) -> str:
    """Return a name without the quotes that keep a spreadsheet from calculating it: `="=1+1"` is the name `=1+1`."""
    quoted = re.match(r'="(.*)"$', cell, re.DOTALL)
    return quoted[1].replace('""', '"') if quoted else cell


def _guess_delimiter(text: str) -> str:
    """Guess as Canvas does: what cuts the first lines into equally many fields, a semicolon only if into more."""
    lines = [line for line in text.split("\n", 3)[:3] if line]
    fields = {";": 0, ",": 0}
    for delimiter in fields:
        with suppress(GraderError):  # quotes that this delimiter does not explain
            counts = {sum(map(len, _read_rows(line, delimiter))) for line in lines}
            fields[delimiter] = counts.pop() if len(counts) == 1 else 0
    return ";" if fields[";"] > fields[","] else ","


def _read_rows(text: str, delimiter: str) -> Iterator[Row]:
    """Yield the rows that hold anything. Raises GraderError where quotes do not match."""
    pattern = re.compile(rf'(?:"((?:[^"]|"")*+)"|([^"\r\n{delimiter}]*+))({delimiter}|\r\n|\r|\n|\Z)')
    at, row = 0, list[Cell]()
    while at < len(text) or row:
        found = pattern.match(text, at)
        if found is None:
            line = text.count("\n", 0, at) + 1
            raise GraderError(f"The gradebook is damaged: line {line:,} is not CSV; {EXPORT_AGAIN}.")
        value = found[2] if found[1] is None else found[1].replace('""', '"')
        row.append(Cell(value, found.start(), found.start(3)))
        at = found.end()
        if found[3] != delimiter:
            if any(cell.value.strip() for cell in row):
                yield tuple(row)
            row = []


def _describes_assignments(row: Row) -> bool:
    return "Points Possible" in row[0].value or all(_POSTING_NOTE.match(cell.value) for cell in row)


def _read_column(index: int, heading: str, possible: str) -> Column:
    found = re.match(r"(.*)\s\(([0-9]+)\)$", heading, re.DOTALL)
    title, assignment_id = (found[1], int(found[2])) if found else (heading, None)
    read_only = re.search(r"read\s+only", possible) is not None
    return Column(index, heading, title, assignment_id, parse_number(possible), read_only)


def parse_number(text: str) -> float | None:
    """Read a number as Canvas does: the last comma or point is the decimal one, so that `1,234` is 1.234."""
    if not re.fullmatch(r"-?[0-9.,]*[0-9][0-9.,]*", text.strip()):
        return None
    *whole, last = re.split("[.,]", text.strip())
    return float(f"{''.join(whole)}.{last}" if whole else last)


def _read_cell(row: Row, index: int) -> str | None:
    """Return the text of one cell, None where the row is too short or the cell is blank."""
    return row[index].value.strip() or None if index < len(row) else None
