"""Another source for a class: who is added, who stays, under which key; and what is another class's."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from grader.batch.attempts import find_first_seen, note_attempts
from grader.batch.joining import continue_class
from grader.errors import GraderError
from grader.grades.policy import NameIndex
from grader.grades.settlement import list_students
from grader.intake.archive import read_class
from grader.intake.roster import read_roster, read_test_students
from grader.intake.uploads import Intake

CANVAS = "Student,ID,SIS Login ID,Section,A4 (7)\n" + "".join(
    f'"{name}",{number},{login},S,\n'
    for name, number, login in (
        ("Ek, Ada", 1, "ada"),
        ("Ek, Bo", 2, "bo"),
        ("Ek, Cy", 3, "cy"),
        ("Student, Test", 9, "t"),
    )
)
WITHOUT_ADA = CANVAS.replace('"Ek, Ada",1,ada,S,\n', "")
ANOTHER = "Student,ID,SIS Login ID,Section,A4 (7)\n" + '"Berg, Eva",51,eva,S,\n"Berg, Jo",52,jo,S,\n'
MOODLE = "Identifier,Full name,Email address,Status,Grade,Maximum grade\n" + "".join(
    f"Participant {number},{name},{number}@x,Submitted,,100\n" for number, name in ((333, "Bo Ek"), (334, "Ada Ek"))
)
GROUPED = """submission_1:
  :submitters:
  - :name: Ada
  - :name: Bo
submission_2:
  :submitters:
  - :name: Cy
"""


class Source(NamedTuple):
    """What one run is given: names of files, each with its content, and the list of students."""

    names: Sequence[str]
    export: str = ""


def run(folder: Path, source: Source, before: Intake | None = None) -> Intake:
    """Read a source as a run of a class does that found `before`."""
    with zipfile.ZipFile(folder / "s.zip", "w") as archive:
        for name in source.names:
            entry, _, text = name.partition("=")
            archive.writestr(entry, text or "{}")
    export = source.export.encode()
    roster, nobody = (read_roster(export), read_test_students(export)) if export else ((), frozenset[int]())
    intake = read_class(folder / "s.zip", folder / "files", roster, test_students=nobody)
    return continue_class(intake, before, roster, folder, nobody) if before else intake


A, B, C = "ekada_1_11_a.ipynb", "ekbo_2_12_a.ipynb", "ekcy_3_13_a.ipynb"
LATE = ("ekcy_LATE_3_13_a.ipynb",)
TEAMS = (f"submission_metadata.yml={GROUPED}", "submission_1/a.ipynb", "submission_2/a.ipynb")
JOINED = {  # the first source, the second; then the uploads of the class, how many stay, who is missing
    "one late student, on the list": (
        Source((A, B), CANVAS),
        Source(LATE, CANVAS),
        ["ekada_1_11", "ekbo_2_12", "ekcy_3_13"],
        2,
        [],
    ),
    "one late student, list later": (
        Source((A, B)),
        Source(LATE, CANVAS),
        ["ekada_1_11", "ekbo_2_12", "ekcy_3_13"],
        2,
        [],
    ),
    "one again": (Source((A, B)), Source(("ekbo_2_15_b.ipynb",)), ["ekada_1_11", "ekbo_2_15"], 1, []),
    "refused stays": (
        Source(("ekada_1_11_a.pdf", B), CANVAS),
        Source((B,), CANVAS),
        ["ekbo_2_12"],
        1,
        ["Ek, Ada", "Ek, Cy"],
    ),
    "all again": (Source((A, B)), Source((A, B, *LATE)), ["ekada_1_11", "ekbo_2_12", "ekcy_3_13"], 0, []),
    "left the list": (Source((A, B), CANVAS), Source((B,), WITHOUT_ADA), ["ekada_1_11", "ekbo_2_12"], 1, ["Ek, Cy"]),
    "the test student": (
        Source((A, "studenttest_9_19_a.ipynb")),
        Source((A,), CANVAS),
        ["ekada_1_11"],
        0,
        ["Ek, Bo", "Ek, Cy"],
    ),
    "renamed in Canvas": (Source((A, B)), Source(("bergada_1_11_a.ipynb", B)), ["bergada_1_11", "ekbo_2_12"], 0, []),
    "anonymous before": (Source(("anon_x1_11_a.ipynb", B)), Source((A, B)), ["ekada_1_11", "ekbo_2_12"], 0, []),
    "another file, list later": (
        Source(("Bo Ek_333_assignsubmission_file/a.ipynb", "Ada Ek_334_assignsubmission_file/a.ipynb")),
        Source(("Bo Ek_333_assignsubmission_file/b.ipynb",), MOODLE),
        ["Ada_Ek_334", "boek"],
        1,
        [],
    ),
}


@pytest.mark.parametrize("case", JOINED.values(), ids=JOINED)
def test_another_source(case: tuple[Source, Source, list[str], int, list[str]], tmp_path: Path) -> None:
    first, second, uploads, staying, missing = case
    intake = run(tmp_path, second, run(tmp_path, first))
    assert sorted(upload.id for upload in intake.uploads) == uploads
    assert [student.name for student in intake.missing] == missing
    notes = [note for note in intake.notes if note.startswith("In the class from before and not in this source: ")]
    assert [f"{staying} student" in note for note in notes] == [True] * (staying > 0)
    again = run(tmp_path, second, intake)  # who stayed once stays
    assert ([u.id for u in again.uploads], again.notes) == ([u.id for u in intake.uploads], intake.notes)


STRANGE = {
    "another course": (Source((A, B), CANVAS), Source(("bergeva_51_61_a.ipynb",), CANVAS)),
    "another course with its list": (Source((A, B), CANVAS), Source(("bergeva_51_61_a.ipynb",), ANOTHER)),
    "no list": (Source((A, B)), Source(LATE)),
    "anonymous": (Source((A, B), CANVAS), Source(("anon_x9_61_a.ipynb",), CANVAS)),
    "a namesake of Moodle's": (
        Source(("Bo Ek_333_assignsubmission_file/a.ipynb",)),
        Source(("Bo Ek_999_assignsubmission_file/a.ipynb",)),
    ),
}


@pytest.mark.parametrize(("first", "second"), STRANGE.values(), ids=STRANGE)
def test_a_source_of_another_class_is_not_taken(first: Source, second: Source, tmp_path: Path) -> None:
    before = run(tmp_path, first)
    with pytest.raises(
        GraderError, match=r"belongs to another class: expected .*; found .* Name a new folder with OUT="
    ):
        run(tmp_path, second, before)


def test_groups_stay_with_their_files(tmp_path: Path) -> None:
    before = run(tmp_path, Source(TEAMS))
    late = (
        TEAMS[0].replace("submission_1:\n  :submitters:\n  - :name: Ada\n  - :name: Bo\n", ""),
        "submission_2/b.ipynb",
    )
    intake = run(tmp_path, Source(late), before)
    assert [[member.name for member in group.members] for group in intake.groups] == [["Ada", "Bo"]]
    assert {upload.student.name for upload in intake.uploads} == {"Ada", "Cy"}


MINE = "Bo Ek_333_assignsubmission_file/a"
RENAMED = {  # the first source, the second; whom an old key means then
    "list later": (Source((f"{MINE}.ipynb",)), Source((f"{MINE}.ipynb",), MOODLE), {"Bo_Ek_333": "boek"}),
    "list later, refused": (Source((f"{MINE}.pdf",)), Source((f"{MINE}.pdf",), MOODLE), {"Bo_Ek_333": "boek"}),
    "list later, another content": (
        Source((f"{MINE}.ipynb",)),
        Source((f"{MINE}.ipynb=x",), MOODLE),
        {"Bo_Ek_333": "boek"},
    ),
    "list taken away": (Source((f"{MINE}.ipynb",), MOODLE), Source((f"{MINE}.ipynb",)), {"boek": "Bo_Ek_333"}),
    "anonymous before": (Source(("anon_x1_11_a.ipynb",)), Source((A,), CANVAS), {"anon_x1": "ekada_1"}),
    "a name nearly the same": (
        Source(("Ada Ek.ipynb",)),
        Source(("Ada Ek.ipynb", "ada ek.ipynb=x")),
        {"Ada_Ek": "Ada_Ek-222a93"},
    ),
    "somebody's key today": (
        Source(("Ada Ek/a.ipynb", "x/a.ipynb")),
        Source(("Ada Ek/a.ipynb", "x/a.ipynb")),
        {"Ada_Ek": "Ada_Ek", "x": "x"},
    ),
}


@pytest.mark.parametrize(("first", "second", "keys"), RENAMED.values(), ids=RENAMED)
def test_old_keys_find_their_students(first: Source, second: Source, keys: dict[str, str], tmp_path: Path) -> None:
    intake = run(tmp_path, second, before := run(tmp_path, first))
    for _ in range(2):  # also in later runs
        known = NameIndex(list_students(intake))
        assert {key: known.find(key) for key in keys} == {key: (name,) for key, name in keys.items()}
        intake = run(tmp_path, second, intake)
    note_attempts(tmp_path, before)
    seen = set(find_first_seen(tmp_path, before).values())
    note_attempts(tmp_path, intake, before)
    same = {upload.sha256 for upload in before.uploads}
    now = find_first_seen(tmp_path, intake)
    assert {now[upload.id] for upload in intake.uploads if upload.sha256 in same} <= seen  # and no file is new
