"""Overrides: read from TOML and CSV, and refused as a whole with everything that is wrong."""

import re
from pathlib import Path

import pytest

from grader.errors import GraderError
from grader.grades.overrides import Override, OverrideKind, Overrides, load_overrides
from grader.grades.policy import ManualItem

from .classes import RUBRIC, student

CLASS = (student("ada", canvas_id=17, login="ada@x"), student("bo", sis_user_id="S2"), student("cy", sis_user_id="17"))
MANUAL = (ManualItem(id="talk", title="Discussion", possible=10),)
SIGNED = {"author": "M", "reason": "seen"}


def entry(kind: str, student: str = "ada", **fields: object) -> str:
    """An entry in TOML, signed but for keys that are given as None."""
    given = {"student": student, **SIGNED, **fields}
    lines = [f"{key} = {value!r}" for key, value in given.items() if value is not None]
    return "\n".join([f"[[{kind}]]", *lines, ""])


def read(tmp_path: Path, text: str | None, name: str = "overrides.toml") -> Overrides:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, encoding="utf-8-sig" if name.endswith("csv") else "utf-8")
    return load_overrides(path, CLASS, RUBRIC, MANUAL)


def test_every_kind_in_toml(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        entry("check", check="step1.a", points=30).replace("author", "date = 2026-12-04\nauthor")
        + entry("check", "bo", check="step1.a", verdict="passed")
        + entry("manual", "ada@x", item="talk", points=8)
        + entry("total", "S2", points=110)
        + entry("excused", "cy"),
    )
    assert [(e.kind, e.student, e.target, e.points) for e in found.entries] == [
        (OverrideKind.CHECK, "ada", "step1.a", 30),
        (OverrideKind.CHECK, "bo", "step1.a", None),
        (OverrideKind.MANUAL, "ada", "talk", 8),
        (OverrideKind.TOTAL, "bo", "", 110),
        (OverrideKind.EXCUSED, "cy", "", None),
    ]
    assert (found.possible, found.entries[0].signed) == (110, "M, 2026-12-04")


COMMAS = "kind,student,target,verdict,points,author,reason,date\ncheck,ada,step1.a,,2.5,M,seen,2026-12-04\n"
SEMICOLONS = "kind;student;target;points;author;reason;date\r\n\r\ncheck;ada@x;step1.a;2,5;M;seen;2026-12-04\r\n"
SEVERAL = "one\u2028still one\nanother"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(COMMAS, "seen", id="commas"),
        pytest.param(SEMICOLONS, "seen", id="semicolons, decimal comma, empty line"),
        pytest.param(COMMAS.replace("2.5", "2;5").replace(",", "\t").replace(";", ","), "seen", id="tabs"),
        pytest.param(COMMAS.replace("seen", f'"{SEVERAL}"'), SEVERAL, id="a cell of several lines stays one"),
    ],
)
def test_csv_says_the_same_as_toml(tmp_path: Path, text: str, reason: str) -> None:
    (said,) = read(tmp_path, entry("check", check="step1.a", points=2.5) + "date = 2026-12-04\n").entries
    assert read(tmp_path, text, "overrides.csv").entries == (said.model_copy(update={"reason": reason}),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(entry("excused", "dan"), "'dan' is no student of this class", id="nobody"),
        pytest.param(entry("excused", "eve_17"), "this class (did you mean ada?)", id="the number of somebody else"),
        pytest.param(entry("excused", "17"), "'17' is more than one student", id="two"),
        pytest.param(entry("check", check="step1.x", points=1), "'step1.x' is no check", id="check"),
        pytest.param(entry("manual", item="x", points=1), "'x' is no item", id="manual item"),
        pytest.param(entry("check", check="step2.b", points=41), "41 points are more", id="too many"),
        pytest.param(entry("total", points=111), "more than the 110", id="total too high"),
        pytest.param(entry("total", points=-1), "key points: ", id="negative"),
        pytest.param(entry("total", points=float("nan")), "key points: ", id="not a number"),
        pytest.param(entry("total", points=1, author=None), "key author: ", id="no author"),
        pytest.param(entry("total", points=1, reason=None), "key reason: ", id="no reason"),
        pytest.param(entry("check", points=1), "names it", id="which check"),
        pytest.param(
            entry("check", check="step1.a", verdict="Passed"),
            "expected 'passed' or 'failed', found 'Passed'",
            id="verdict",
        ),
        pytest.param(entry("check", check="step1.a"), "either points or", id="no change"),
        pytest.param(entry("excused", points=3), "no points", id="excused with points"),
        pytest.param(entry("total", points=1, check="x"), "key check: ", id="stray key"),
        pytest.param(entry("check", check="step1.a", points=1, possible=2), "is not a table", id="worth is no key"),
        pytest.param(entry("total", points=1) * 2, "two entries change", id="twice"),
        pytest.param("[[bonus]]\nstudent = 'ada'", "'bonus' is not one of", id="unknown kind"),
        pytest.param("[total]\nstudent = 'ada'", "'total' is not one of", id="no list"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(GraderError, match=rf"^[^\n]*overrides\.toml: [^\n]*{re.escape(says)}[^\n]*\Z"):
        read(tmp_path, text)


def test_all_problems_of_a_file_are_said_at_once(tmp_path: Path) -> None:
    text = "kind,student,target,points,author,reason\ncheck,dan,step1.x,1,M,r\ntotal,ada,,999,M,r\ntotal,bo,,1,,r\n"
    with pytest.raises(GraderError) as caught:
        read(tmp_path, text, "overrides.csv")
    for part in ("line 2: 'dan'", "line 2: 'step1.x'", "line 3: 999", "line 4: key author"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("student,mark\nada,3\n", "'mark'", id="unknown column"),
        pytest.param("kind,student\ntotal,ada,3,4\n", "line 2 has more cells", id="too many cells"),
        pytest.param('kind,student\n"total,ada\n', "correct the file", id="open quote"),
        pytest.param("", "columns", id="empty"),
        pytest.param(
            COMMAS.replace("2026-12-04", "04.12.2026"), "'04.12.2026' is no date; write .*2026-12-04", id="day"
        ),
        pytest.param(COMMAS.replace("2026-12-04", "12/4/2026"), "'12/4/2026' is no date", id="an American day"),
        pytest.param(None, "check the path", id="not there"),
    ],
)
def test_a_csv_file_that_is_none(tmp_path: Path, text: str | None, says: str) -> None:
    with pytest.raises(GraderError, match=says):
        read(tmp_path, text, "overrides.csv")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("o.csv", COMMAS.replace("M", "Zoë").encode("latin-1"), "save it as CSV UTF-8", id="Latin 1"),
        pytest.param("o.csv", COMMAS.encode("utf-16"), "not written in UTF-8; save it as CSV UTF-8", id="UTF-16"),
        pytest.param("o.csv", b"PK\x03\x04\xff", "a workbook; save it as CSV UTF-8", id="workbook"),
        pytest.param("o.toml", "# Zoë".encode("latin-1"), "save it as UTF-8; correct the file", id="TOML"),
    ],
)
def test_a_file_that_a_spreadsheet_saved_in_another_way(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GraderError, match=says):
        load_overrides(tmp_path / name, CLASS, RUBRIC, MANUAL)


def test_a_key_of_earlier_still_names_its_student(tmp_path: Path) -> None:
    (tmp_path / "o.toml").write_text(entry("excused", "eve_17"), encoding="utf-8")
    (found,) = load_overrides(tmp_path / "o.toml", CLASS, RUBRIC, MANUAL, ["eve_17"]).entries
    assert found.student == "ada"


def test_an_override_belongs_to_its_student() -> None:
    excused = Override(kind=OverrideKind.EXCUSED, student="ada", author="M", reason="r")
    assert Overrides(entries=(excused,)).of(student("ada")) == (excused,)
    assert Overrides(entries=(excused,)).of(student("bo")) == ()
