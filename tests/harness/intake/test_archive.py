"""A class's submissions from an archive or a folder: who handed in what, and what is refused."""

import io
import os
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from grader.errors import GraderError
from grader.intake.archive import locate_upload, read_class
from grader.intake.roster import Roster, read_roster
from grader.intake.unpacking import Bounds
from grader.intake.uploads import Intake, Student

NOTEBOOK = b'{"cells": []}'
OTHER = b'{"cells": [1]}'
ADA = Student(key="lovelaceada_12", name="Lovelace, Ada", canvas_id=12, sis_user_id="s-12", login="ada@example.edu")
BOB = Student(key="ross_bob", name="Ross, Bob", login="bobr")
EVE = Student(key="holteve_14", name="Holt, Eve", canvas_id=14, login="eve")
SMALL = Bounds(entries=20, entry_bytes=50_000, total_bytes=100_000, ratio=50, ratio_from_bytes=1_000, nested_entries=5)

Make = Callable[[Path, Mapping[str, bytes]], Path]


def packed(entries: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return target.getvalue()


def as_zip(folder: Path, entries: Mapping[str, bytes]) -> Path:
    (folder / "submissions.zip").write_bytes(packed(entries))
    return folder / "submissions.zip"


def as_folder(folder: Path, entries: Mapping[str, bytes]) -> Path:
    for name, content in entries.items():
        path = folder / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "class"


def take(tmp_path: Path, entries: Mapping[str, bytes], *roster: Student, make: Make = as_zip) -> Intake:
    return read_class(make(tmp_path, entries), tmp_path / "files", roster, SMALL)


def ids(intake: Intake) -> list[str]:
    return [upload.id for upload in intake.uploads]


def reason(intake: Intake) -> str:
    (refusal,) = intake.refusals
    return refusal.reason


@pytest.fixture(params=[as_zip, as_folder], ids=["zip", "folder"])
def make(request: pytest.FixtureRequest) -> Make:
    """Make a source of either form."""
    return request.param


ASA = "ångström"
ONE_NOTEBOOK = {  # entry: id, student's name and Canvas id, file's name, late
    "plain": ("lovelaceada_12_34_a4.ipynb", ("lovelaceada_12_34", "lovelaceada", 12, "a4.ipynb", False)),
    "late": ("lovelaceada_LATE_12_34_a4-1.ipynb", ("lovelaceada_12_34", "lovelaceada", 12, "a4-1.ipynb", True)),
    "anonymous": ("LATE_anon_x1Y_34_a4.ipynb", ("anon_x1Y_34", "anonymous x1Y", None, "a4.ipynb", True)),
    "upper case": ("x_1_2_A.IPYNB", ("x_1_2", "x", 1, "A.IPYNB", False)),
    "saved by a browser as text": ("x_1_2_a.ipynb.txt", ("x_1_2", "x", 1, "a.ipynb.txt", False)),
    "folder per student": ("Ada Lovelace/work/a4.ipynb", ("Ada_Lovelace", "Ada Lovelace", None, "a4.ipynb", False)),
    "loose": ("Ada Lovelace.ipynb", ("Ada_Lovelace", "Ada Lovelace", None, "Ada Lovelace.ipynb", False)),
    "a device of Windows": ("con.ipynb", ("con_", "con", None, "con.ipynb", False)),
    "decomposed": (unicodedata.normalize("NFD", f"{ASA}_1_2_ö.ipynb"), (f"{ASA}_1_2", ASA, 1, "ö.ipynb", False)),
    "nothing usable in the name": ("…/….ipynb", ("submission", "…", None, "….ipynb", False)),
}


@pytest.mark.parametrize(("entry", "expected"), ONE_NOTEBOOK.values(), ids=ONE_NOTEBOOK)
def test_one_notebook(tmp_path: Path, entry: str, expected: tuple[object, ...], make: Make) -> None:
    intake = take(tmp_path, {entry: NOTEBOOK}, make=make)
    (found,) = intake.uploads
    assert (found.id, found.student.name, found.student.canvas_id, found.display_name, found.late) == expected
    assert (found.entry, locate_upload(tmp_path / "files", found).read_bytes()) == (entry, NOTEBOOK)
    assert intake.refusals == ()


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ("x_1_2_a4.py", "'a4.py' is a Python script; hand in the notebook itself"),
        ("x_1_2_a4.html", "is a web page"),
        ("x_1_2_a4.pdf", "is a PDF"),
        ("x_1_2_a4.rar", "is a rar archive"),
        ("x_1_2_a4", "is no notebook"),
        ("x_1_text.html", "is text typed into Canvas"),
        ("x_1_link.html", "is a link"),
        ("x_1_2_._a4.ipynb", "is a hidden file"),
        ("x_1_2_\x1b[31m\u202e.py", "'?[31m?.py' is a Python script"),
    ],
)
def test_what_is_no_notebook(tmp_path: Path, entry: str, part: str, make: Make) -> None:
    intake = take(tmp_path, {entry: b"text"}, make=make)
    assert part in reason(intake)
    assert intake.uploads == ()
    assert [refusal.student and refusal.student.key for refusal in intake.refusals] == ["x_1"]
    kept = [tmp_path / "files" / f"{refusal.sha256}.ipynb" for refusal in intake.refusals]
    assert list((tmp_path / "files").glob("*")) == kept  # for staff to look at


@pytest.mark.parametrize(
    "entry", ["__MACOSX/._x_1_2_a.ipynb", "._x_1_2_a.ipynb", "ada/.ipynb_checkpoints/a-checkpoint.ipynb", ".DS_Store"]
)
def test_what_a_computer_adds_is_left_out(tmp_path: Path, entry: str, make: Make) -> None:
    intake = take(tmp_path, {entry: NOTEBOOK, "y_3_4_a.ipynb": NOTEBOOK}, make=make)
    assert (ids(intake), intake.refusals) == (["y_3_4"], ())


def test_equal_content_is_one_file(tmp_path: Path, make: Make) -> None:
    intake = take(tmp_path, {"x_1_2_a.ipynb": NOTEBOOK, "y_3_4_b.ipynb": NOTEBOOK, "z_5_6_c.ipynb": OTHER}, make=make)
    first, second, third = intake.uploads
    assert first.sha256 == second.sha256 != third.sha256
    assert len(list((tmp_path / "files").iterdir())) == 2


def test_several_notebooks_of_one_student(tmp_path: Path, make: Make) -> None:
    intake = take(tmp_path, {"x_1_9_b.ipynb": OTHER, "x_1_10_a.ipynb": NOTEBOOK, "x_1_11_r.pdf": b"%PDF"}, make=make)
    # Canvas's archive holds the latest attempt alone: these are two files of one, not two attempts.
    assert [(u.id, u.attempt) for u in intake.uploads] == [("x_1_9", 1), ("x_1_10", 1)]
    assert (intake.notes, len(intake.refusals)) == (("x handed in 2 notebooks.",), 1)


def test_files_in_a_students_folder_are_attempts(tmp_path: Path, make: Make) -> None:
    inner = packed({"a.ipynb": NOTEBOOK, "b.ipynb": OTHER})
    entries = {"ada/1.ipynb": NOTEBOOK, "ada/2.zip": inner, "ada/3.ipynb": OTHER, "bob/1.ipynb": NOTEBOOK}
    intake = take(tmp_path, entries, make=make)
    found = [(u.student.key, u.attempt) for u in intake.uploads]
    assert found == [*(("ada", attempt) for attempt in (1, 2, 2, 3)), ("bob", 1)]


LONG = "Assignment 4 Comparing fine-tuning methods "


@pytest.mark.parametrize(
    ("names", "others"),
    [
        pytest.param((f"{LONG}Cem", f"{LONG}Bea"), (f"{LONG}Ada", f"{LONG}Dan"), id="too long for a key"),
        pytest.param(("Ada B", "Ada_B"), ("Ada-B",), id="equal once made safe"),
    ],
)
def test_keys_stay_whoever_comes(tmp_path: Path, names: tuple[str, ...], others: tuple[str, ...], make: Make) -> None:
    def keys(*given: str) -> dict[str, str]:
        intake = take(tmp_path, {f"{name}.ipynb": NOTEBOOK for name in given}, make=make)
        return {upload.student.name: upload.student.key for upload in intake.uploads}

    before, after = keys(*names), keys(*others, *names)
    assert {name: after[name] for name in names} == before
    assert len(set(after.values())) == len(names) + len(others)


def test_names_that_a_file_system_cannot_tell_apart(tmp_path: Path, make: Make) -> None:
    entries = {"Ada!.ipynb": NOTEBOOK, "ada?.ipynb": OTHER, "\uff21\uff24\uff21_.ipynb": NOTEBOOK}
    intake = take(tmp_path, entries, make=make)
    forms = {unicodedata.normalize("NFKC", upload.id).casefold() for upload in intake.uploads}
    assert (len(forms), len({upload.student.key for upload in intake.uploads})) == (3, 3)


def test_utf8_names_that_do_not_say_so(tmp_path: Path) -> None:
    raw = bytearray(packed({f"{ASA}_1_2_ö.ipynb": NOTEBOOK}))
    for flags in (raw.index(b"PK\x03\x04") + 6, raw.index(b"PK\x01\x02") + 8):
        raw[flags + 1] &= ~0x08
    (tmp_path / "s.zip").write_bytes(raw)
    (upload,) = read_class(tmp_path / "s.zip", tmp_path / "files").uploads
    assert upload.entry == f"{ASA}_1_2_ö.ipynb"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param(("w/ada.ipynb", "w/bob.ipynb"), ["ada", "bob"], id="loose"),
        pytest.param(("w/ada/a.ipynb", "w/bob/a.ipynb"), ["ada", "bob"], id="a folder per student"),
        pytest.param(("w/x_1_2_a.ipynb", "w/y_3_4_a.ipynb"), ["x_1_2", "y_3_4"], id="of Canvas"),
        pytest.param(("w/ada.ipynb", "w/bob.ipynb", "readme.txt"), ["ada", "bob"], id="beside another file"),
        pytest.param(("w/v/ada.ipynb",), ["w"], id="one file only: the folder of a student"),
        pytest.param(("Ross, Bob/1.ipynb", "Ross, Bob/2.ipynb"), ["ross_bob", "ross_bob-2"], id="of a known student"),
        pytest.param(("v/x_1_2_a.ipynb", "v/y_3_4_a.ipynb", "z.ipynb"), ["x_1_2", "y_3_4", "z"], id="not everything"),
        pytest.param(("ada/lab_4_1_final.ipynb", "bob/a.ipynb"), ["ada", "bob"], id="a student's file like Canvas's"),
    ],
)
def test_folders(tmp_path: Path, entries: tuple[str, ...], expected: list[str], make: Make) -> None:
    assert ids(take(tmp_path, dict.fromkeys(entries, NOTEBOOK), BOB, make=make)) == expected


# With a roster


@pytest.mark.parametrize(
    ("entry", "student"),
    [
        pytest.param("lovelaceada_12_34_a.ipynb", ADA, id="canvas id"),
        pytest.param("somebodyelse_12_34_a.ipynb", ADA, id="canvas id before the name"),
        pytest.param("12/a.ipynb", ADA, id="folder called after the id"),
        pytest.param("s-12/a.ipynb", ADA, id="folder called after the SIS id"),
        pytest.param("ada@example.edu/a.ipynb", ADA, id="folder called after the login"),
        pytest.param("ADA/a.ipynb", ADA, id="login without its domain"),
        pytest.param("Lovelace, Ada/a.ipynb", ADA, id="sortable name"),
        pytest.param("Ada Lovelace.ipynb", ADA, id="name in a file's name"),
        pytest.param("ada_lovelace/a.ipynb", ADA, id="name with an underscore"),
        pytest.param("rossbob_99_34_a.ipynb", BOB, id="name where the roster has no id"),
    ],
)
def test_whose_it_is(tmp_path: Path, entry: str, student: Student, make: Make) -> None:
    intake = take(tmp_path, {entry: NOTEBOOK}, ADA, BOB, EVE, make=make)
    assert [upload.student for upload in intake.uploads] == [student]
    assert intake.missing == tuple(s for s in (ADA, BOB, EVE) if s != student)


CY = Student(key="ek_cy_16", name="Ek, Cy", canvas_id=16, sis_user_id="12")
DI = Student(key="ek_di_17", name="Ek, Di", canvas_id=17, sis_user_id="0014")
NUMBERS = {"14": EVE, "0014": DI, "17": DI, "16": CY, "0012": None, "000": None}


@pytest.mark.parametrize(("number", "student"), NUMBERS.items(), ids=NUMBERS)
def test_whose_number_it_is(tmp_path: Path, number: str, student: Student | None) -> None:
    (upload,) = take(tmp_path, {f"{number}/a.ipynb": NOTEBOOK}, ADA, EVE, CY, DI).uploads
    assert upload.student == student or (student is None and upload.student.name == number)


def test_a_number_that_means_two_students_is_not_guessed(tmp_path: Path) -> None:
    said = "'12' is the Canvas id of Lovelace, Ada, and the SIS id or login of Ek, Cy"
    with pytest.raises(GraderError, match=said):
        take(tmp_path, {"12/a.ipynb": NOTEBOOK, "16/a.ipynb": NOTEBOOK}, ADA, CY)
    assert Roster((ADA, CY)).find_by_any(["12", "ada"]) == ADA  # as where the e-mail address stands beside the number
    with pytest.raises(GraderError, match=said):
        Roster((ADA, CY)).find_by_any(["12", "nobody"])


def test_two_of_a_name_are_not_guessed(tmp_path: Path) -> None:
    twin = EVE.model_copy(update={"key": "twin", "canvas_id": 15, "login": "eve2"})
    intake = take(tmp_path, {"Holt Eve.ipynb": NOTEBOOK}, EVE, twin)
    assert intake.uploads[0].student not in (EVE, twin)
    assert intake.missing == (EVE, twin)


def test_nobody_gets_the_key_by_which_people_of_one_name_were_known(tmp_path: Path) -> None:
    roster = read_roster(b"First Name,Last Name,SID,Email\nMin,Kim,7,min@x\nMin,Kim,8,kim@x\n")
    (upload,) = take(tmp_path, {"kimmin.ipynb": NOTEBOOK}, *roster).uploads
    assert upload.student not in roster
    assert upload.student.key not in ("kimmin", "kimmin-2")


def test_strangers_are_kept_and_named_and_refused_students_are_missing_too(tmp_path: Path) -> None:
    intake = take(tmp_path, {"lovelaceada_99_34_a.ipynb": NOTEBOOK, "lovelaceada_12_34_a.py": b"x"}, ADA)
    assert (intake.uploads[0].student.canvas_id, intake.missing, intake.refusals[0].student) == (99, (ADA,), ADA)
    assert intake.notes == ("lovelaceada handed in work and is not on the roster.",)
    assert ids(take(tmp_path, {"lovelaceada_12_34_a.ipynb": NOTEBOOK}, ADA)) == ["lovelaceada_12_34"]  # as without one


def test_the_roster_decides_between_readings_unless_that_student_handed_in(tmp_path: Path) -> None:
    intake = take(tmp_path, {"lab_7_12_345_a4.ipynb": NOTEBOOK}, ADA)
    (upload,) = intake.uploads
    assert (upload.student, upload.display_name) == (ADA, "a4.ipynb")
    assert "'lab_7' carry the user id of Lovelace, Ada" in intake.notes[0]
    intake = take(tmp_path, {"lovelaceada_12_34_a.ipynb": NOTEBOOK, "eve_99_98_hw_12_7_x.ipynb": OTHER}, ADA)
    assert {(u.student.canvas_id, u.display_name) for u in intake.uploads} == {(12, "a.ipynb"), (99, "hw_12_7_x.ipynb")}


@pytest.mark.parametrize(
    ("entry", "missing"), [("anon_x1Y_34_a4.ipynb", ()), ("anonymous x.ipynb", (ADA,))], ids=["all", "only by name"]
)
def test_nobody_is_missing_where_all_are_anonymous(tmp_path: Path, entry: str, missing: tuple[Student, ...]) -> None:
    intake = take(tmp_path, {entry: NOTEBOOK}, ADA)
    assert intake.missing == missing
    assert "anonymous" in intake.notes[0]


# Archives inside the archive


def test_notebooks_in_a_students_archive(tmp_path: Path, make: Make) -> None:
    inner = packed({"work/a.ipynb": NOTEBOOK, "work/b.ipynb": OTHER, "__MACOSX/._a.ipynb": b"x", "work/data.csv": b"x"})
    intake = take(tmp_path, {"x_1_2_work.zip": inner}, make=make)
    assert [(u.id, u.entry, u.display_name) for u in intake.uploads] == [
        ("x_1_2", "x_1_2_work.zip", "a.ipynb"),
        ("x_1_2-2", "x_1_2_work.zip", "b.ipynb"),
    ]
    assert (intake.refusals, len(list((tmp_path / "files").iterdir()))) == ((), 2)


@pytest.mark.parametrize(
    ("inner", "part"),
    [
        pytest.param(
            packed({"a.zip": packed({"b.zip": packed({"a.ipynb": NOTEBOOK})})}), "b.zip' is no", id="nested twice"
        ),
        pytest.param(packed({"a.txt": b"x"}), "'work.zip' is a zip archive without a notebook", id="no notebook"),
        pytest.param(packed({f"{i}.ipynb": b"x" for i in range(6)}), "holds more than 5 files", id="too many entries"),
        pytest.param(b"PK\x03\x04 no more", "is damaged or no zip archive", id="damaged"),
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(packed({"a.ipynb": bytes(40_000)}), "unpacks to more than 50 times", id="bomb"),
        pytest.param(packed({"../../a.ipynb": NOTEBOOK}), "lead out of its folder", id="zip-slip"),
    ],
)
def test_students_archives_that_are_refused(tmp_path: Path, inner: bytes, part: str) -> None:
    intake = take(tmp_path, {"x_1_2_work.zip": inner, "y_3_4_a.ipynb": OTHER})
    assert part in reason(intake)
    assert ids(intake) == ["y_3_4"]


WINDOWS = {
    "folder per student": ("bea\\w\\a.ipynb", "cem\\a.ipynb", ["bea", "cem"]),
    "folder around": ("s\\lovelaceada_12_34_a.ipynb", "s\\y_3_4_a.ipynb", ["lovelaceada_12_34", "y_3_4"]),
}


@pytest.mark.parametrize(("first", "second", "expected"), WINDOWS.values(), ids=WINDOWS)
def test_backslashes_stand_for_slashes_where_there_are_none(
    first: str, second: str, expected: list[str], tmp_path: Path
) -> None:
    intake = take(tmp_path, {first: NOTEBOOK, second: OTHER, "s\\": b""}, ADA)
    assert (ids(intake), intake.refusals) == (expected, ())
    assert locate_upload(tmp_path / "files", intake.uploads[0]).read_bytes() == NOTEBOOK


def test_backslashes_in_a_students_archive(tmp_path: Path) -> None:
    (upload,) = take(tmp_path, {"x_1_2_work.zip": packed({"work\\a.ipynb": NOTEBOOK})}).uploads
    assert (upload.id, upload.display_name) == ("x_1_2", "a.ipynb")


# Hostile entries: each is refused, the rest of the archive is read, nothing appears outside


def special(name: str, kind: int = stat.S_IFREG, content: bytes = NOTEBOOK) -> bytes:
    target, info = io.BytesIO(), zipfile.ZipInfo("placeholder")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        info.filename, info.create_system, info.external_attr = name, 3, (kind | 0o644) << 16
        archive.writestr(info, content, zipfile.ZIP_DEFLATED)
        archive.writestr("y_3_4_a.ipynb", OTHER)
    return target.getvalue()


def patched(*changes: tuple[bytes, int, bytes]) -> bytes:
    """An archive of which some bytes are others, counted from the start of a header."""
    raw = bytearray(special("x_1_2_a.ipynb"))
    for header, offset, value in changes:
        at = raw.index(header) + offset
        raw[at : at + len(value)] = value
    return bytes(raw)


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
ENCRYPTED = patched((LOCAL, 6, b"\1"), (CENTRAL, 8, b"\1"))
UNKNOWN_METHOD = patched((LOCAL, 8, b"M"), (CENTRAL, 10, b"M"))
LEADING_OUT = {"parent folder": "../x_1_2_a.ipynb", "absolute": "/tmp/x_1_2_a.ipynb", "drive": "C:/x_1_2_a.ipynb"}
LEADING_OUT |= {"through a folder": "a/../../x_1_2_a.ipynb", "backslashes": "..\\x_1_2_a.ipynb"}
LEADING_OUT |= {"drive of Windows": "C:\\x_1_2_a.ipynb", "share of Windows": "\\\\host\\x_1_2_a.ipynb"}
LEADING_OUT |= {"through a folder of Windows": "a\\..\\..\\x_1_2_a.ipynb", "both slashes": "a/b\\x_1_2_a.ipynb"}
LEADING_OUT |= {"NUL": "x_1_2_a.ipynb\0.py", "nothing but NUL": "\0"}
WRONG_CHECKSUM = patched((CENTRAL, 16, b"\0\0\0\0"))


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        *(pytest.param(special(name), "lead out of its folder", id=id_) for id_, name in LEADING_OUT.items()),
        pytest.param(special("x_1_2_a.ipynb", stat.S_IFLNK, b"/etc/passwd"), "is a link", id="link"),
        pytest.param(special("x_1_2_a.ipynb", stat.S_IFCHR), "is a device", id="device"),
        pytest.param(special("x_1_2_a.ipynb", stat.S_IFIFO), "is a pipe", id="pipe"),
        pytest.param(special("x_1_2_a.ipynb", content=bytes(40_000)), "unpacks to more than 50 times", id="bomb"),
        pytest.param(special("x_1_2_a.ipynb", content=os.urandom(60_000)), "has more than 0 MiB", id="too large"),
        pytest.param(ENCRYPTED, "is encrypted", id="encrypted"),
        pytest.param(WRONG_CHECKSUM, "cannot be read (damaged)", id="wrong checksum"),
        pytest.param(UNKNOWN_METHOD, "cannot be read (packed in an unknown way)", id="unknown method"),
    ],
)
def test_hostile_entries(tmp_path: Path, raw: bytes, part: str) -> None:
    (tmp_path / "s.zip").write_bytes(raw)
    intake = read_class(tmp_path / "s.zip", tmp_path / "in" / "files", (), SMALL)
    assert part in reason(intake)
    assert ids(intake) == ["y_3_4"]
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"s.zip", f"{intake.uploads[0].sha256}.ipynb"}


def test_the_whole_is_bounded(tmp_path: Path, make: Make) -> None:
    intake = take(tmp_path, {f"x{i}_1_{i}_a.ipynb": os.urandom(40_000) for i in range(4)}, make=make)
    assert len(intake.uploads) == 2
    assert all("all files of the class have more than 0 MiB" in refusal.reason for refusal in intake.refusals)
    assert len(list((tmp_path / "files").iterdir())) == 2


def test_one_student_cannot_use_up_what_is_there_for_all(tmp_path: Path, make: Make) -> None:
    entries = {f"aaa_1_{i}_a.ipynb": os.urandom(20_000) for i in range(4)} | {"y_3_4_a.ipynb": NOTEBOOK}
    intake = read_class(make(tmp_path, entries), tmp_path / "files", (), replace(SMALL, student_bytes=50_000))
    assert ids(intake) == ["aaa_1_0", "aaa_1_1", "y_3_4"]
    assert all("its author's files have more than" in refusal.reason for refusal in intake.refusals)


def test_one_student_cannot_have_any_number_of_notebooks_executed(tmp_path: Path, make: Make) -> None:
    entries = {"x_1_2_a.zip": packed({f"{i}.ipynb": NOTEBOOK for i in range(5)}), "y_3_4_a.ipynb": OTHER}
    intake = read_class(make(tmp_path, entries), tmp_path / "files", (), replace(SMALL, student_notebooks=3))
    assert ids(intake) == ["x_1_2", "x_1_2-2", "x_1_2-3", "y_3_4"]
    reasons = [refusal.reason for refusal in intake.refusals]
    assert reasons == [f"'{i}.ipynb' is one of more than 3 notebooks; hand in one." for i in (3, 4)]


def test_a_file_full_of_records_does_not_have_the_class_refused(tmp_path: Path) -> None:
    """What looks like a table of contents inside a file is no table of contents."""
    full = b"".join(b"PK\x01\x02" + os.urandom(200) for _ in range(30))
    intake = take(tmp_path, {"x_1_2_a.ipynb": full, "y_3_4_a.ipynb": NOTEBOOK})
    assert ids(intake) == ["x_1_2", "y_3_4"]


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    source = as_folder(tmp_path, {"y_3_4_a.ipynb": OTHER})
    (tmp_path / "secret.ipynb").write_bytes(NOTEBOOK)
    (source / "x_1_2_a.ipynb").symlink_to(tmp_path / "secret.ipynb")
    os.mkfifo(source / "x_1_3_a.ipynb")
    intake = read_class(source, tmp_path / "files")
    assert ids(intake) == ["y_3_4"]
    assert ["is a link" in r.reason or "is a pipe" in r.reason for r in intake.refusals] == [True, True]


@pytest.mark.parametrize("again", ["files", "../class/files"], ids=["same path", "another path"])
def test_a_store_inside_the_folder_is_not_read(tmp_path: Path, again: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(as_folder(tmp_path, {"y_3_4_a.ipynb": OTHER}))
    first = read_class(Path(), Path("files"))
    assert read_class(Path(), Path(again)).uploads == first.uploads


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("gone.zip", None, "does not exist"),
        ("text.zip", b"hello", "is damaged or no zip archive"),
        ("empty.zip", b"", "is empty"),
        ("many.zip", packed({f"{i}_1_2_x.ipynb": b"" for i in range(21)}), "holds more than 20 files"),
    ],
)
def test_sources_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, part: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(GraderError, match=part):
        read_class(tmp_path / name, tmp_path / "files", (), SMALL)


def test_a_crowded_folder_and_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(GraderError, match="more than 20 files"):
        take(tmp_path, {f"{i}.ipynb": b"" for i in range(21)}, make=as_folder)
    (tmp_path / "files").write_text("a file where the folder should be")
    with pytest.raises(GraderError, match="Cannot write to"):
        take(tmp_path, {"x_1_2_a.ipynb": NOTEBOOK})


def test_reading_again_says_the_same(tmp_path: Path) -> None:
    inner = packed({"b.ipynb": OTHER, "a.ipynb": NOTEBOOK})
    entries = {"x_1_2_work.zip": inner, "y_3_4_a.ipynb": NOTEBOOK, "z_5_6_a.py": b""}
    assert take(tmp_path, entries, ADA) == take(tmp_path, dict(reversed(entries.items())), ADA)


METADATA = b"""---
submission_111:
  :submitters:
  - :name: Ada Lovelace
    :sid: s-12
    :email: nobody@x
  - :name: Bob Ross
    :sid: '7'
    :email: bobr
  :created_at: 2026-12-01 10:00:00.5 Z
submission_112:
  :submitters:
  - :name: Eve Holt
    :sid: x
    :email: eve
"""
EXPORTED = {"submission_111/a.ipynb": NOTEBOOK, "submission_112/a.ipynb": OTHER, "submission_metadata.yml": METADATA}


@pytest.mark.parametrize("folder", ["", "assignment_4_export/"])
def test_an_export_of_gradescope_names_who_handed_in_together_and_when(folder: str, tmp_path: Path, make: Make) -> None:
    intake = take(tmp_path, {f"{folder}{name}": text for name, text in EXPORTED.items()}, ADA, BOB, EVE, make=make)
    assert [(u.student, u.submitted_at is not None) for u in intake.uploads] == [(EVE, False), (ADA, True)]
    assert [group.members for group in intake.groups] == [(ADA, BOB)]
    assert (intake.refusals, [s.key for s in intake.missing]) == ((), ["ross_bob"])  # the group's work counts for Bob


def test_a_student_cannot_hand_in_the_metadata_of_the_class(tmp_path: Path, make: Make) -> None:
    stolen = METADATA.replace(b"submission_111", b"../eve").replace(b"submission_112", b"eve")
    entries = {"ada/submission_metadata.yml": stolen, "ada/a.ipynb": NOTEBOOK, "eve/a.ipynb": OTHER}
    intake = take(tmp_path, entries, make=make)
    assert [u.student.name for u in intake.uploads] == ["ada", "eve"]


MOODLE = {
    "folders": ("Ada Lovelace_101_assignsubmission_file/w/a.ipynb", "Ada Ek_102_assignsubmission_file_/a.ipynb"),
    "no folders": ("Ada Lovelace_101_assignsubmission_file_a.ipynb", "Ada Ek_102_assignsubmission_file_a.ipynb"),
    "a folder around": (
        "A4/Ada Lovelace_101_assignsubmission_file/a.ipynb",
        "A4/Ada Ek_102_assignsubmission_file_/a.ipynb",
    ),
}


@pytest.mark.parametrize("names", MOODLE.values(), ids=MOODLE)
def test_an_archive_of_moodle(names: tuple[str, str], tmp_path: Path, make: Make) -> None:
    intake = take(tmp_path, dict.fromkeys(names, NOTEBOOK), ADA, make=make)
    assert [(u.student.key, u.student.name, u.display_name) for u in intake.uploads] == [
        ("Ada_Ek_102", "Ada Ek", "a.ipynb"),
        (ADA.key, ADA.name, "a.ipynb"),
    ]


def test_one_name_like_moodles_makes_no_class_of_moodle(tmp_path: Path) -> None:
    entries = {"x_1_2_y_3_assignsubmission_file_a.ipynb": NOTEBOOK, "lovelaceada_12_34_a4.ipynb": OTHER}
    assert ADA in {u.student for u in take(tmp_path, entries, ADA).uploads}


HEADINGS = "Identifier,Full name,Email address,Status,Grade,Maximum grade"
WORKSHEET = f"{HEADINGS}\n" + "".join(
    f"Participant {number},{name},{number}@x,Submitted,,100\n"
    for number, name in ((111, "Jane Doe"), (222, "Jane Doe"), (333, "Bo Ek"), (444, "Anna-Lena Ek"), (555, "Lena Ek"))
)
BLIND = "Identifier,Status,Grade,Maximum grade\nParticipant 333,Submitted,,100\nParticipant 444,Submitted,,100\n"
UNNUMBERED = "First name,Last name,Email address\nBo,Ek,333@x\nLena,Ek,555@x\n"
PARTICIPANTS = {  # the list of students; folders before their number, and whose they are: by login or else name
    "two of a name": (WORKSHEET, {"Jane Doe_222": "222@x", "Jane Doe_111": "111@x"}),
    "group in front": (WORKSHEET, {"Team A-Bo Ek_333": "333@x", "Team-B-Jane Doe_222": "222@x"}),
    "blind": (BLIND, {"Participant_333": "Participant 333", "Participant_444": "Participant 444"}),
    "blind, group in front": (BLIND, {"Team A-Participant_333": "Participant 333"}),
    "blind, names in the worksheet": (WORKSHEET, {"Participant_333": "333@x"}),
    "numbers of another assignment": (WORKSHEET, {"Bo Ek_111": "333@x", "Cy Berg_333": "Cy Berg"}),
    "blind, no list": ("", {"Participant_333": "Participant 333", "Participant_444": "Participant 444"}),
    "group in front, no numbers": (UNNUMBERED, {"Team A-Bo Ek_7": "333@x", "Team A-Cy Berg_8": "Team A-Cy Berg"}),
    "hyphen in a name": (WORKSHEET, {"Anna-Lena Ek_444": "444@x", "Lena Ek_555": "555@x"}),
    "hyphen in a stranger's name": (UNNUMBERED, {"Anna-Lena Ek_4": "Anna-Lena Ek", "Lena Ek_5": "555@x"}),
    "two of a name, one on the list": (UNNUMBERED, {"Bo Ek_1": "Bo Ek 1", "Bo Ek_2": "Bo Ek 2"}),
    "two groups, one name": (UNNUMBERED, {"A-Bo Ek_1": "A-Bo Ek", "B-Bo Ek_2": "B-Bo Ek"}),
}


@pytest.mark.parametrize(("students", "folders"), PARTICIPANTS.values(), ids=PARTICIPANTS)
def test_whose_folder_of_moodle_it_is(students: str, folders: dict[str, str], tmp_path: Path, make: Make) -> None:
    entries = {f"{name}_assignsubmission_file/a.ipynb": b'{"cells": [%d]}' % i for i, name in enumerate(folders)}
    intake = take(tmp_path, entries, *(read_roster(students.encode()) if students else ()), make=make)
    found = {u.entry.partition("_assign")[0]: u.student.login or u.student.name for u in intake.uploads}
    assert found == folders


STRAY = "Left out, because they lie beside the submissions and nobody handed them in: "
EK, BERG = "Ek_333_assignsubmission_file/a.ipynb", "Berg_334_assignsubmission_file/a.ipynb"
MANY = tuple(f"S{number}_{number}_assignsubmission_file/a.ipynb" for number in range(100, 104))
BESIDE = {  # names of Moodle's or Canvas's files and what lies beside; students; what is left out
    "one student and a list": ((EK, "Grades-A4.csv"), ["Ek"], "'Grades-A4.csv'."),
    "beside, in a folder around": ((f"w/{EK}", f"w/{BERG}", "w/r.txt", "x.csv"), ["Berg", "Ek"], "'w/r.txt', 'x.csv'."),
    "a notebook beside many": ((*MANY, "Ada Lovelace.ipynb"), ["Lovelace, Ada", "S100", "S101", "S102", "S103"], ""),
    "a notebook beside few": ((EK, "y.ipynb"), ["Ek_333_assignsubmission_file", "y"], ""),
    "of Canvas": (
        ("x_1_2_a.ipynb", "y_3_4_a.pdf", "g.csv", "Ada Lovelace.pdf"),
        ["Ada Lovelace.pdf", "x", "y"],
        "'g.csv'.",
    ),
    "many": ((EK, *(f"{i}.csv" for i in range(7))), ["Ek"], "'0.csv', '1.csv', '2.csv', '3.csv', '4.csv' and 2 more."),
    "a student's file like Moodle's": (
        ("ada/B_1_assignsubmission_file_a.ipynb", "eve/a.pdf"),
        ["Holt, Eve", "Lovelace, Ada"],
        "",
    ),
}


@pytest.mark.parametrize(("names", "students", "left_out"), BESIDE.values(), ids=BESIDE)
def test_what_lies_beside_the_submissions(
    names: tuple[str, ...], students: list[str], left_out: str, tmp_path: Path, make: Make
) -> None:
    roster = [s.model_copy(update={"login": s.name.split(", ")[1].lower()}) for s in (ADA, EVE)]
    intake = take(tmp_path, dict.fromkeys(names, NOTEBOOK), *roster, make=make)
    handed_in = {s.name for item in (*intake.uploads, *intake.refusals) if (s := item.student)}
    assert sorted(handed_in) == students
    assert [note for note in intake.notes if note.startswith(STRAY)] == ([f"{STRAY}{left_out}"] if left_out else [])


AROUND = {
    "list beside the export": ({"g.csv": b"x"}, "x_export/", True),
    "list in the export": ({"x_export/g.csv": b"x"}, "x_export/", True),
    "somebody's notebook beside two": ({"z.ipynb": b"{}"}, "x_export/", False),
    "another folder beside": ({"eve/a.pdf": b"%PDF"}, "ada/", False),
}


@pytest.mark.parametrize(("more", "folder", "is_class"), AROUND.values(), ids=AROUND)
def test_what_lies_beside_an_export_of_gradescope(
    more: dict[str, bytes], folder: str, is_class: bool, tmp_path: Path, make: Make
) -> None:
    entries = {f"{folder}{name}": text for name, text in EXPORTED.items()} | more
    intake = take(tmp_path, entries, ADA, BOB, EVE, make=make)
    assert (len(intake.groups) == 1) is is_class
    notes = [note for note in intake.notes if note.startswith(STRAY)]
    assert notes == [f"{STRAY}'{name}'." for name in more if is_class]


def test_metadata_of_folders_that_are_not_there_make_no_class(tmp_path: Path, make: Make) -> None:
    intake = take(tmp_path, {"ada/submission_metadata.yml": METADATA, "ada/a.ipynb": NOTEBOOK}, make=make)
    assert [u.student.name for u in intake.uploads] == ["ada"]


def test_a_folder_that_the_metadata_do_not_name_is_not_lost(tmp_path: Path, make: Make) -> None:
    intake = take(
        tmp_path, EXPORTED | {"submission_9/a.ipynb": NOTEBOOK, "submission_8/a.pdf": b"%PDF"}, EVE, make=make
    )
    assert {"submission_9"} < {u.student.name for u in intake.uploads}
    assert [r.entry for r in intake.refusals] == ["submission_8/a.pdf"]


CLASSES = {
    "Canvas": {"x_1_2_a.ipynb": NOTEBOOK, "y_3_4_a.ipynb": OTHER},
    "Canvas in a folder": {"s/x_1_2_a.ipynb": NOTEBOOK, "s/y_3_4_a.ipynb": OTHER},
    "Moodle": {EK: NOTEBOOK, BERG: OTHER},
    "Gradescope": {f"x_export/{name}": text for name, text in EXPORTED.items()},
}


@pytest.mark.parametrize("folder", ["", "OneDrive/2026/"], ids=["at the top", "in folders"])
@pytest.mark.parametrize("entries", CLASSES.values(), ids=CLASSES)
def test_a_class_in_the_source(entries: dict[str, bytes], folder: str, tmp_path: Path, make: Make) -> None:
    names = (f"{folder}submissions (1).zip", "grades.csv")
    intake = take(tmp_path, {names[0]: packed(entries), names[1]: b"x"}, make=make)
    assert [u.entry for u in intake.uploads] == [u.entry for u in take(tmp_path, entries).uploads]
    assert intake.notes == (f"The submissions are those in '{names[0]}'.", f"{STRAY}'{names[1]}'.")
    assert {p.suffix for p in (tmp_path / "files").iterdir()} == {".ipynb"}


CLASS = packed(CLASSES["Canvas"])
NO_CLASS = {  # what else lies in the source than `s.zip`, the archive; how many students; whether a note names it
    "a student's, by the list": ("Lovelace, Ada", CLASS, {}, 1, False),
    "one student's, beside another's": ("s", CLASS, {"bob.ipynb": NOTEBOOK}, 2, True),
    "beside the folder of another": ("s", CLASS, {"eve/a.pdf": b"%PDF"}, 2, True),
    "several files of one user": ("s", packed({"x_1_2_a.ipynb": NOTEBOOK, "x_1_3_b.ipynb": OTHER}), {}, 1, False),
    "plain notebooks": ("s", packed({"a.ipynb": NOTEBOOK, "b.ipynb": OTHER}), {}, 1, False),
    "damaged": ("s", b"PK", {}, 1, False),
}


@pytest.mark.parametrize("case", NO_CLASS.values(), ids=NO_CLASS)
def test_no_class_in_the_source(case: tuple[str, bytes, dict[str, bytes], int, bool], tmp_path: Path) -> None:
    name, content, others, count, noted = case
    intake = take(tmp_path, {f"{name}/s.zip": content} | others, ADA, make=as_folder)
    handed_in = {s.name for item in (*intake.uploads, *intake.refusals) if (s := item.student)}
    assert (len(handed_in), name in handed_in) == (count, True)
    assert any("looks like the submissions of a whole class" in note for note in intake.notes) is noted


def test_two_classes_in_the_source_are_not_taken_for_students(tmp_path: Path, make: Make) -> None:
    with pytest.raises(GraderError, match=r"found several in 'a.zip' and 'b.zip'; name one"):
        take(tmp_path, {"a.zip": CLASS, "b.zip": CLASS, "grades.csv": b"x"}, make=make)
