"""Points into the teacher's export: what Canvas's import then does, and nothing else."""

import csv
import io
import re
import string
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.errors import GraderError
from grader.gradebook.canvas_csv import FilledGradebook, choose, fill_column, format_points, quote_name
from grader.gradebook.formulas import starts_formula
from grader.grades.grade import Grade, Standing
from grader.intake.gradebook_export import read_export, unquote_name
from grader.intake.roster import read_roster
from grader.intake.uploads import Student

from .canvas_import import Course, Import, User, import_gradebook
from .classes import grade, student

HEADER = "Student,ID,SIS User ID,SIS Login ID,Section,Notes,A1 (101),A4 (104),Assignments Current Score,Final Score\r\n"
POSTING = ",,,,,,,Manual Posting,,\r\n"
POSSIBLE = "    Points Possible,,,,,,10.00,50.00,(read only),(read only)\r\n"
ROWS = {
    "no score yet": '"Lovelace, Ada",12,s-12,ada,A,,9.00,,90.00,90.00\r\n',
    "has a score": '"Ross, Bob",13,s-13,bob,A and B,"ill, 2 days",8.00,31.50,70.00,70.00\r\n',
    "excused": '"Holt, Eve",14,s-14,eve,A,,7.00,EX,70.00,70.00\r\n',
    "not assigned": '"Noor, Sam",15,s-15,sam,B,,7.00,N/A,70.00,70.00\r\n',
    "formula": '"=""=HYPERLINK(1)""",16,s-16,mal,B,,7.00,,,\r\n',
    "sum": '"+1, Sum",17,s-17,sum,B,,7.00,,,\r\n',
    "test student": '"Student, Test",99,,0a1b,A,,,,,\r\n',
}
EXPORT = HEADER + POSTING + POSSIBLE + "".join(ROWS.values())
LOGINS = ("ada", "bob", "eve", "sam", "mal", "sum")
SORTABLE = ("Lovelace, Ada", "Ross, Bob", "Holt, Eve", "Noor, Sam", "=HYPERLINK(1)", "+1, Sum")
USERS = [User(i, name, f"s-{i}", login) for i, (name, login) in enumerate(zip(SORTABLE, LOGINS, strict=True), 12)]
USERS += [User(99, "Student, Test", "", "0a1b")]
SCORES = {(u, 101): s for u, s in ((12, "9.0"), (13, "8.0"), (14, "7.0"), (15, "7.0"), (16, "7.0"), (17, "7.0"))}


def course() -> Course:
    scores = {**SCORES, (13, 104): "31.5", (14, 104): "EX"}
    return Course(USERS, {101: "A1", 104: "A4"}, scores, unassigned={(15, 104)})


def fill(*grades: Grade, export: str = EXPORT, assignment: str | int | None = 104) -> FilledGradebook:
    return fill_column(export.encode(), grades, assignment)


def encode(rows: Iterable[Sequence[object]], delimiter: str, newline: str, bom: bool) -> bytes:
    """A table in one of the forms that spreadsheets give it."""
    target = io.StringIO(newline="")
    csv.writer(target, delimiter=delimiter, lineterminator=newline).writerows(rows)
    return (b"\xef\xbb\xbf" if bom else b"") + target.getvalue().encode()


def imported(gradebook: FilledGradebook) -> Import:
    done = import_gradebook(course(), gradebook.content)
    assert (done.new_assignments, done.new_students) == ([], [])
    return done


@pytest.mark.parametrize(
    ("who", "points", "change"),
    [
        pytest.param(student(12), 80.0, {(12, 104): "40.00"}, id="a first score, on the column's scale"),
        pytest.param(student(12), 0.0, {(12, 104): "0.00"}, id="zero is a score"),
        pytest.param(student(12), 33.33, {(12, 104): "16.67"}, id="half up to hundredths"),
        pytest.param(student(12), 2469.0, {(12, 104): "1234.50"}, id="no separator of thousands"),
        pytest.param(student(13), 90.0, {(13, 104): "45.00"}, id="another score"),
        pytest.param(student(13), 63.0, {}, id="the same score"),
        pytest.param(student(14), 90.0, {}, id="excused in Canvas"),
        pytest.param(student(15), 90.0, {}, id="not assigned in Canvas"),
        pytest.param(student(16), 90.0, {(16, 104): "45.00"}, id="a name that Canvas quoted"),
        pytest.param(student(17), 90.0, {(17, 104): "45.00"}, id="a name that Canvas did not quote"),
        pytest.param(student(99), 90.0, {(99, 104): "45.00"}, id="the test student"),
        pytest.param(student(None, "somebody", login="ADA"), 80.0, {(12, 104): "40.00"}, id="by the login"),
        pytest.param(student(None, "lovelace ada"), 80.0, {(12, 104): "40.00"}, id="by the name"),
        pytest.param(Student(key="k", name="x", sis_user_id="s-12"), 80.0, {(12, 104): "40.00"}, id="by the SIS id"),
        pytest.param(student(77, "Lovelace, Ada"), 80.0, {}, id="a Canvas id is not replaced by a name"),
    ],
)
def test_what_canvas_imports(who: Student, points: float, change: dict[tuple[int, int], str]) -> None:
    assert imported(fill(grade(who, points))).changes == change


@pytest.mark.parametrize("standing", [s for s in Standing if s is not Standing.GRADED])
@pytest.mark.parametrize("who", [12, 13, 14, 15, 16, 17, 99])
def test_who_is_not_graded_keeps_what_canvas_has(standing: Standing, who: int) -> None:
    assert imported(fill(grade(student(who), None, standing=standing))).changes == {}


ONE_ASSIGNMENT = 'Student,ID,SIS Login ID,Section,A4 (104)\n    Points Possible,,,,100\n"Ross, Bob",13,bob,A,\n'
TWINS = "Student,ID,SIS Login ID,Section,A4 (104),A4 (105)\n    Points Possible,,,,100,100\n"


@pytest.mark.parametrize("assignment", [104, "104", "A4", "A4 (104)", "a4", None])
def test_the_column_is_found_and_the_only_one_needs_no_name(assignment: str | int | None) -> None:
    export = ONE_ASSIGNMENT if assignment is None else EXPORT
    assert choose(read_export(export.encode()).columns, assignment).heading == "A4 (104)"


UNCLEAR = {
    "two fit": (EXPORT, None, "does not tell which column to fill; choose one with ASSIGNMENT="),
    "the columns are named": (EXPORT, None, "by its heading or number: 'A1 (101)', 'A4 (104)'"),
    "none fits": (EXPORT, "A5", "No column is called 'A5'; choose one with"),
    "no such id": (EXPORT, 105, "No column is called '105'; choose one with"),
    "a title twice": (TWINS, "A4", "Several columns fit 'A4'; choose one with"),
    "read-only": (ONE_ASSIGNMENT.replace("100", "(read only)"), "A4", "does not import the column"),
    "like a total": (ONE_ASSIGNMENT.replace("A4", "Final Score"), 104, "does not import the column"),
    "no assignment": ("Student,ID,Section\n", None, "export it again once the assignment is published"),
}


@pytest.mark.parametrize(("export", "assignment", "part"), UNCLEAR.values(), ids=UNCLEAR)
def test_the_column_is_never_guessed(export: str, assignment: str | int | None, part: str) -> None:
    with pytest.raises(GraderError, match=rf"^[^\n]*{re.escape(part)}[^\n]*$"):
        fill(export=export, assignment=assignment)


def test_only_the_cell_changes_and_nothing_when_filled_again() -> None:
    plain, points = EXPORT.replace(ROWS["sum"], ""), grade(student(12), 80.0)
    filled = fill(points, export=plain).content
    assert filled == plain.replace("A,,9.00,,90.00", "A,,9.00,40.00,90.00").encode()
    assert fill_column(filled, [points], 104).content == filled


@pytest.mark.parametrize("bom", [False, True], ids=["no mark", "byte order mark"])
@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_the_files_form_is_kept(bom: bool, delimiter: str, newline: str) -> None:
    export = encode(csv.reader(io.StringIO(EXPORT, newline="")), delimiter, newline, bom)
    gradebook = fill_column(export, [grade(student(12), 81.0), grade(student(13), 90.5)], 104)
    assert gradebook.content.startswith(b"\xef\xbb\xbf") == bom
    assert gradebook.content.count(newline.encode()) == export.count(newline.encode())
    assert imported(gradebook).changes == {(12, 104): "40.50", (13, 104): "45.25"}


def test_decimal_commas_of_an_export_stay() -> None:
    export = EXPORT.replace(",31.50,", ',"31,50",')
    assert imported(fill(grade(student(13), 63.0), export=export)).changes == {}
    assert b'"31,50"' in fill(export=export).content


EXCUSED, UNGRADED = (grade(student(u), None, standing=s) for u, s in ((12, Standing.EXCUSED), (13, Standing.UNGRADED)))
WARNINGS = {
    "no row": (grade(student(77, "Gone, Al"), 5.0), "Gone, Al has no row in the gradebook."),
    "no grade": (grade(student(13), 5.0), "Lovelace, Ada is in the gradebook and has no grade here."),
    "EX": (grade(student(14), 5.0), "Holt, Eve has a grade here and is excused in Canvas; the cell stays 'EX'."),
    "N/A": (grade(student(15), 5.0), "Noor, Sam has a grade here and is not assigned in Canvas; the cell stays 'N/A'."),
    "excused here": (EXCUSED, "Lovelace, Ada is excused here and not in Canvas; excuse them in Canvas too."),
    "keeps a score": (UNGRADED, "Ross, Bob is ungraded and keeps '31.50'."),
}


@pytest.mark.parametrize(("given_grade", "warning"), WARNINGS.values(), ids=WARNINGS)
def test_warnings(given_grade: Grade, warning: str) -> None:
    assert warning in (said := fill(given_grade).warnings)
    assert not any("Student, Test" in one for one in said)  # whom nobody misses


def test_two_grades_for_one_row() -> None:
    with pytest.raises(GraderError, match="Lovelace, Ada has two grades"):
        fill(grade(student(12), 1.0), grade(student(None, "Ada Lovelace", login="ada"), 2.0))


def test_points_possible_that_are_not_given() -> None:
    export = ONE_ASSIGNMENT.replace("100", "")
    gradebook = fill(grade(student(13), 7.5, possible=10), export=export, assignment="A4")
    assert b",A,7.50" in gradebook.content
    assert "no points possible in Canvas" in gradebook.warnings[0]


AS_TEXT = [(0.125, 1, 1, "0.13"), (1 / 3, 1, 100, "33.33"), (95, 100, 100, "95.00"), (-2, 100, 100, "-2.00")]
AS_TEXT += [(1e7, 1e7, 12345678, "12345678.00"), (1e-9, 100, 100, "0.00")]


@pytest.mark.parametrize(("points", "possible", "column", "text"), AS_TEXT)
def test_points_as_text(points: float, possible: float, column: float, text: str) -> None:
    assert format_points(points, possible, column) == text


@pytest.mark.parametrize(("points", "possible"), [(float("nan"), 10), (float("inf"), 10), (5, 0), (5, float("nan"))])
def test_points_that_are_none(points: float, possible: float) -> None:
    with pytest.raises(GraderError, match="cannot be put on the gradebook's scale"):
        format_points(points, possible, 100)


# Names


WRITTEN = {name: f'="{name}"' for name in ("+1+1", "-1", "@SUM(A1)", "\t=1+1", "=1+1")}
WRITTEN |= {name: name for name in ("Ross, Bob", "O'Neil-Smith, Ann", '="=1+1"')}
WRITTEN |= {'="=1"&cmd|\' /C calc\'!A0&"x"': '="=1""&cmd|\' /C calc\'!A0&""x"', '+"a"': '="+""a"""'}


@pytest.mark.parametrize(("cell", "written"), WRITTEN.items())
def test_names_that_would_be_calculated(cell: str, written: str) -> None:
    assert quote_name(cell) == written
    assert quote_name(written) == written


@given(st.text(st.sampled_from('=+-@"a1 \t,;&'), max_size=12))
def test_a_written_name_is_one_string_and_the_same_name(name: str) -> None:
    """What stands in the cell is no formula, or `="…"` in which every inner quote is doubled: it has no other value."""
    cell = f'="{name}"' if name.lstrip().startswith("=") else name  # as Canvas exports it
    written = quote_name(cell)
    assert not starts_formula(written) or re.fullmatch(r'="([^"]|"")*"', written)
    if '""' not in name:  # Canvas does not double quotes, so that two of them cannot be told from one
        assert unquote_name(written) == name


def test_names_stay_where_only_they_find_the_student_and_the_roster_reads_the_same() -> None:
    export = ONE_ASSIGNMENT.replace('"Ross, Bob",13,bob', "+1,,")
    assert b"\n+1,,," in fill(export=export, assignment=None).content
    assert b'"=""+1, Sum"""' in (filled := fill(grade(student(12), 5.0)).content)
    assert read_roster(filled) == read_roster(EXPORT.encode())


# Any class

LETTERS = st.sampled_from(string.ascii_letters + ' ,;"=+-@åé王')
NAMES = st.text(LETTERS, min_size=1, max_size=12).map(str.strip).filter(bool)
OLD = st.sampled_from(["", "12.5", "EX", "0", "100"])
PEOPLE = st.lists(st.tuples(NAMES, OLD, st.none() | st.floats(0, 100)), max_size=8)


@settings(max_examples=150)
@given(PEOPLE, st.sampled_from(",;"), st.booleans(), st.sampled_from([10, 50, 100, 2500]))
def test_any_class(people: list[tuple[str, str, float | None]], delimiter: str, bom: bool, possible: int) -> None:
    """Exactly the graded students change who are not excused and have another score; everybody else keeps theirs."""
    names = [f'="{name}"' if name.lstrip().startswith("=") else name for name, _, _ in people]
    rows = [[names[i], i + 1, f"login{i}", "A", old, "1"] for i, (_, old, _) in enumerate(people)]
    header = ["Student", "ID", "SIS Login ID", "Section", "A4 (104)", "Final Score"]
    above = ["", "", "", "", "Manual Posting", ""], ["    Points Possible", "", "", "", possible, "(read only)"]
    raw = encode([header, *above, *rows], delimiter, "\n", bom)
    canvas = Course(
        [User(i + 1, name, "", f"login{i}") for i, (name, _, _) in enumerate(people)],
        {104: "A4"},
        {(i + 1, 104): old for i, (_, old, _) in enumerate(people) if old},
    )
    assert import_gradebook(canvas, raw).changes == {}
    grades = [
        grade(student(i + 1, name), points, standing=Standing.UNGRADED if points is None else Standing.GRADED)
        for i, (name, _, points) in enumerate(people)
    ]
    done = import_gradebook(canvas, fill_column(raw, grades, 104).content)
    expected = {
        (i + 1, 104): format_points(points, 100, possible)
        for i, (_, old, points) in enumerate(people)
        if points is not None and old != "EX"
    }
    unchanged = {key for key, new in expected.items() if (old := canvas.scores.get(key)) and float(old) == float(new)}
    assert done.changes == {key: new for key, new in expected.items() if key not in unchanged}
    assert done.new_students == []


WORKSHEETS = {
    "two of a name": "Full name,Grade,Maximum Grade\nParticipant 111,Submitted,Kim Min,{},100\n",
    "blind": "Grade,Maximum Grade\nParticipant 111,Submitted,{},100\n",
}


@pytest.mark.parametrize("text", WORKSHEETS.values(), ids=WORKSHEETS)
def test_rows_of_moodle_are_found_by_the_numbers_of_participants(text: str) -> None:
    first = f"Identifier,Status,{text}"
    whole = first + first.splitlines(keepends=True)[1].replace("111", "222")
    found = [
        Grade(student=s, standing=Standing.GRADED, points=int(s.participant[-3:]) / 10, possible=100)
        for s in read_roster(whole.format("", "").encode())
        if s.participant
    ]
    made = fill_column(whole.format("", "").encode(), found)
    assert (made.content.decode(), made.warnings) == (whole.format("11.10", "22.20"), ())
