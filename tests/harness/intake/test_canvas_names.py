"""Names in Canvas's archive: every case that Canvas writes, and what is none of them."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grader.intake.canvas_names import MAX_READINGS, CanvasName, EntryKind, format_owner, list_readings

FILE, TEXT, LINK = EntryKind
UUID = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"


def user(owner: str, uid: int, aid: int | None, name: str, late: bool = False, kind: EntryKind = FILE) -> CanvasName:
    return CanvasName(owner, uid, None, late, kind, aid, name)


def anonymous(identity: str, aid: int | None, name: str, late: bool = False, kind: EntryKind = FILE) -> CanvasName:
    return CanvasName("anon", None, identity, late, kind, aid, name)


CASES = {
    "plain": ("lovelaceada_12_345_a4.ipynb", user("lovelaceada", 12, 345, "a4.ipynb")),
    "late": ("lovelaceada_LATE_12_345_a4.ipynb", user("lovelaceada", 12, 345, "a4.ipynb", late=True)),
    "resubmission": ("lovelaceada_12_345_a4-2.ipynb", user("lovelaceada", 12, 345, "a4-2.ipynb")),
    "resubmission with uuid": (f"lovelaceada_12_345_a4-{UUID}.ipynb", user("lovelaceada", 12, 345, f"a4-{UUID}.ipynb")),
    "spaces and brackets": ("x_1_2_my work (1).ipynb", user("x", 1, 2, "my work (1).ipynb")),
    "numbers in the file's name": ("x_1_2_4_5_6.ipynb", user("x", 1, 2, "4_5_6.ipynb")),
    "the word LATE in the file's name": ("x_1_2_LATE_3_4_y.ipynb", user("x", 1, 2, "LATE_3_4_y.ipynb")),
    "letters of any script": ("ångströmåsa_1_2_övning.ipynb", user("ångströmåsa", 1, 2, "övning.ipynb")),
    "a name without Latin letters": ("王小明_1_2_作业.ipynb", user("王小明", 1, 2, "作业.ipynb")),
    "underscores in the name": ("al_khwarizmi_1_2_x.ipynb", user("al_khwarizmi", 1, 2, "x.ipynb")),
    "somebody called LATE": ("LATE_1_2_x.ipynb", user("LATE", 1, 2, "x.ipynb")),
    "somebody called anon": ("anon_1_2_x.ipynb", user("anon", 1, 2, "x.ipynb")),
    "text": ("lovelaceada_12_text.html", user("lovelaceada", 12, None, "text.html", kind=TEXT)),
    "late link": ("lovelaceada_LATE_12_link.html", user("lovelaceada", 12, None, "link.html", True, LINK)),
    "an uploaded text.html": ("lovelaceada_12_345_text.html", user("lovelaceada", 12, 345, "text.html")),
    "anonymous": ("anon_x1Y2z_345_a4.ipynb", anonymous("x1Y2z", 345, "a4.ipynb")),
    "anonymous and late": ("LATE_anon_x1Y2z_345_a4.ipynb", anonymous("x1Y2z", 345, "a4.ipynb", late=True)),
    "anonymous text": ("LATE_anon_x1Y2z_text.html", anonymous("x1Y2z", None, "text.html", True, TEXT)),
    "decomposed letters": (unicodedata.normalize("NFD", "å_1_2_ö.ipynb"), user("å", 1, 2, "ö.ipynb")),
    "group": ("teamblue_77_345_a4.ipynb", user("teamblue", 77, 345, "a4.ipynb")),
}


@pytest.mark.parametrize(("name", "expected"), CASES.values(), ids=CASES)
def test_what_a_name_says(name: str, expected: CanvasName) -> None:
    assert list_readings(name)[0] == expected


NOT_CANVAS = "a4.ipynb 12_345_a4.ipynb _12_345_a4.ipynb ada_12_a4.ipynb ada_12_345_ text.html ada-12-345-x.ipynb"


@pytest.mark.parametrize("name", NOT_CANVAS.split())
def test_other_names_have_no_reading(name: str) -> None:
    assert list_readings(name) == ()


def test_a_group_with_a_number_has_both_readings() -> None:
    found = list_readings("lab_7_88_345_a4.ipynb")
    assert [(r.owner, r.user_id, r.attachment_id, r.display_name) for r in found] == [
        ("lab", 7, 88, "345_a4.ipynb"),
        ("lab_7", 88, 345, "a4.ipynb"),
    ]


def test_a_name_of_nothing_but_numbers_is_bounded() -> None:
    assert len(list_readings("x" + "_1" * 30_000 + "_y.ipynb")) == MAX_READINGS


OWNERS = {"Lovelace, Ada": "lovelaceada", "Ångström, Åsa-Li": "ångströmåsali", "王, 小明": "王小明"}


@pytest.mark.parametrize(("name", "expected"), [*OWNERS.items(), ("O'Neil, J. R.", "oneiljr")])
def test_how_canvas_writes_a_name(name: str, expected: str) -> None:
    assert format_owner(name) == expected


@example("A", False, 1, 1, "\n")  # a file's name may begin with anything
@given(
    st.text(st.characters(categories=["L"]), min_size=1, max_size=20),
    st.booleans(),
    st.integers(1, 10**12),
    st.integers(1, 10**12),
    st.text(st.characters(exclude_characters="/\\\0", codec="utf-8"), min_size=1, max_size=30),
)
def test_a_name_is_read_back(owner: str, late: bool, uid: int, aid: int, file: str) -> None:
    plain = format_owner(owner) or "x"
    found = list_readings(f"{plain}{'_LATE' * late}_{uid}_{aid}_{file}")
    parts = (unicodedata.normalize("NFC", plain), late, uid, aid, unicodedata.normalize("NFC", file))
    assert parts in [(r.owner, r.late, r.user_id, r.attachment_id, r.display_name) for r in found]
