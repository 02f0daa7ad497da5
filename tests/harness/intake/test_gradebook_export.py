"""A gradebook export: rows, columns, students, and cells that can be replaced without touching another byte."""

import csv
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.errors import GraderError
from grader.intake.gradebook_export import Platform, parse_number, read_export, unquote_name
from grader.intake.roster import read_roster

FULL = (
    "Student,ID,SIS User ID,SIS Login ID,Integration ID,Root Account,Section,Notes,A1 (101),A4 (104),Final Score\r\n"
    ",,,,,,,,Manual Posting,,\r\n"
    "    Points Possible,,,,,,,,10.00,100.00,(read only)\r\n"
    '"Lovelace, Ada",12,s-12,ada@example.edu,i-12,canvas.example.edu,A and B,ill,9.00,,90.00\r\n'
    '"=""=1+1""",13,s-13,evil,,canvas.example.edu,A,,,,\r\n'
    '"Student, Test",99,,0a1b2c,,,A,,,,\r\n'
)
PLAIN = 'Student,ID,SIS Login ID,Section,A4 (104)\nPoints Possible,,,,10\n"Ross, Bob",14,bob,A,\n'


def test_students_and_assignments() -> None:
    first, second = read_roster(FULL.encode())
    ada = ("lovelaceada_12", "Lovelace, Ada", 12, "s-12", "ada@example.edu", "A and B")
    assert tuple(first.model_dump(exclude_defaults=True).values()) == ada
    assert (second.name, second.key) == ("=1+1", "11_13")
    columns = read_export(FULL.encode()).columns
    assert [(c.title, c.assignment_id, c.points_possible) for c in columns] == [("A1", 101, 10), ("A4", 104, 100)]


NAMESAKES = ("Min,Kim,7,min@x", "Min,Kim,8,kim@x", "Ada,Lovelace,9,ada@x")
HEADINGS = "First Name,Last Name,SID,Email"


def test_people_of_one_name_keep_their_keys_however_the_list_is_sorted() -> None:
    lists = ("\n".join((HEADINGS, *rows)).encode() for rows in itertools.permutations(NAMESAKES))
    found = [{student.login: student.key for student in read_roster(text)} for text in lists]
    assert all(keys == found[0] for keys in found)
    assert len({*found[0].values()}) == 3
    assert not {"kimmin", "kimmin-2"} & {*found[0].values()}  # earlier versions gave these out in the order of rows
    assert found[0]["ada@x"] == "lovelaceada"  # whoever shares no name keeps the key of earlier


def test_people_of_one_name_without_anything_else_are_different_students() -> None:
    assert len({student.key for student in read_roster(f"{HEADINGS}\nMin,Kim,,\nMin,Kim,,\n".encode())}) == 2


def test_names_in_two_columns() -> None:
    (student,) = read_roster(b"LastName,FirstName,ID,SIS Login ID,Section,A4 (1)\nLovelace,Ada,12,ada,A,\n")
    assert (student.name, student.canvas_id, student.login) == ("Lovelace, Ada", 12, "ada")


@pytest.mark.parametrize("heading", ["Final Score Quiz (7)", "Override Grade (8)", "My Current Points (9)"])
def test_assignments_that_canvas_takes_for_totals(heading: str) -> None:
    (column,) = read_export(f"Student,ID,SIS Login ID,Section,{heading}\n".encode()).columns
    assert not column.importable


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"Name,Points\nx,1\n", id="another table"),
        pytest.param("Student,ID,Section\nÅ,1,A\n".encode("latin-1"), id="latin-1"),
        pytest.param(b'Student,ID,Section\n"x"y,1,A\n', id="text behind quotes"),
        pytest.param(b'Student,ID,Section\n"x,1,A\n', id="quotes that do not end"),
        pytest.param(b"PK\x03\x04\xff\xfe", id="a spreadsheet's file"),
    ],
)
def test_what_is_no_export(content: bytes) -> None:
    with pytest.raises(GraderError, match=r"in Canvas choose Grades, Export, and give that file unchanged\.$"):
        read_export(content)


NUMBERS = {"1,234": 1.234, "1.234,5": 1234.5, "12": 12, "-3.5": -3.5, "95,00": 95, "EX": None, "": None, ".": None}


@pytest.mark.parametrize(("text", "value"), NUMBERS.items())
def test_numbers_as_canvas_reads_them(text: str, value: float | None) -> None:
    assert parse_number(text) == value


@pytest.mark.parametrize(
    ("cell", "name"), [("Ross, Bob", "Ross, Bob"), ('="=1+1"', "=1+1"), ('="a""b"', 'a"b'), ('="', '="')]
)
def test_names_in_quotes(cell: str, name: str) -> None:
    assert unquote_name(cell) == name


CELLS = st.text(st.sampled_from('ab ,;"\n=å\u2028'), max_size=6)
TABLES = st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=5)


@given(TABLES, st.sampled_from(",;"), st.booleans(), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_table_is_read(table: list[list[str]], delimiter: str, bom: bool, newline: str, quoted: bool) -> None:
    text = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    # Three plain rows first, so that the delimiter is told by them.
    writer.writerows([["Student", "ID", "SIS Login ID", "Section", "A4 (1)"], *[["x", "1", "y", "A", "1"]] * 2])
    writer.writerows([*row, "z", "A", "1"] for row in table)
    raw = (b"\xef\xbb\xbf" if bom else b"") + text.getvalue().encode()
    export = read_export(raw)
    assert export.delimiter == delimiter
    assert [[c.value for c in row] for row in export.rows[3:]] == [[*row, "z", "A", "1"] for row in table]
    assert export.replace_cells({}) == raw
    same = {cell: cell.value for cell in itertools.chain(*export.rows)}
    again = read_export(export.replace_cells(same))
    assert [[c.value for c in row] for row in again.rows] == [[c.value for c in row] for row in export.rows]


def test_one_cell_is_replaced() -> None:
    export = read_export(PLAIN.encode())
    cell = export.people[0].row[4]
    assert export.replace_cells({cell: '9,"5'}) == PLAIN.replace("bob,A,", 'bob,A,"9,""5"').encode()


WORKSHEET = (
    "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed\n"
    'Participant 101,Ada Lovelace,ada@x,Submitted,,20.00,Yes\nParticipant 102,"Bob Ross",bob@x,None,-,20.00,Yes\n'
)
BLIND = "Identifier,Status,Grade,Maximum Grade\nParticipant 101,Submitted,,20.00\nParticipant 102,Submitted,-,20.00\n"


def test_a_worksheet_of_blind_marking_names_participants() -> None:
    export = read_export(BLIND.encode())
    assert (export.platform, [column.points_possible for column in export.columns]) == (Platform.MOODLE, [20.0])
    roster = read_roster(BLIND.encode())
    assert [(s.key, s.name, s.participant) for s in roster] == [
        (f"participant{number}", f"Participant {number}", f"Participant {number}") for number in (101, 102)
    ]


def test_namesakes_without_an_address_keep_their_keys_by_their_numbers() -> None:
    rows = ("Participant 101,Kim Min,Submitted,,20", "Participant 102,Kim Min,Submitted,,20")
    lists = ("\n".join(("Identifier,Full name,Status,Grade,Maximum Grade", *o)) for o in itertools.permutations(rows))
    first, second = ({s.participant: s.key for s in read_roster(text.encode())} for text in lists)
    assert first == second
    assert len({*first.values()}) == 2


OTHERS = {
    "Moodle's worksheet": (WORKSHEET, 20.0),
    "Moodle's grades": ("First name,Last name,ID number,Email address\nAda,Lovelace,7,ada@x\nBob,Ross,8,bob@x\n", None),
    "Gradescope": ("First Name,Last Name,SID,Email,Total Score\nAda,Lovelace,7,ada@x,1\nBob,Ross,8,bob@x,2\n", None),
}


@pytest.mark.parametrize(("text", "possible"), OTHERS.values(), ids=OTHERS)
def test_exports_of_other_platforms(text: str, possible: float | None) -> None:
    export = read_export(text.encode())
    assert [person.login for person in export.people] == ["ada@x", "bob@x"]
    assert all("Ada" in person.name and "Lovelace" in person.name for person in export.people[:1])
    assert [column.points_possible for column in export.columns] == [possible] * (possible is not None)


def test_a_posting_note_beside_read_only_totals_is_nobodys_row() -> None:
    text = "Student,ID,Section,A4 (7),Total\n,,,Manual Posting,(read only)\n    Points Possible,,,20,(read only)\n"
    export = read_export(text.encode())
    assert (export.people, export.nobodies) == ((), ())
