"""What hides who a student is: every spelling of a name that the class and the files know, and no other word."""

import unicodedata

import pytest
from markupsafe import Markup

from grader.intake.uploads import Intake, Student, Upload
from grader.review.blinding import NOTHING, blind

ASA = Student(key="ek_asa_12345", name="Åsa Maria Ek", canvas_id=12345, login="asaek01", sis_user_id="7")
FILE = Upload(id=ASA.key, student=ASA, entry="ekasa_1_2_final.ipynb", display_name="a.ipynb", sha256="")
CLASS = blind([ASA], Intake(source="", uploads=(FILE,)))

HIDDEN = [
    pytest.param("by Åsa Maria Ek", "by a student", id="as in the class"),
    pytest.param("Ek, Åsa Maria", "a student", id="the family name first"),
    pytest.param("asaek_hw", "a student_hw", id="without accents and spaces"),
    pytest.param("Åsa%20Ek", "a student", id="in an address"),
    pytest.param(unicodedata.normalize("NFD", "Åsa Ek"), "a student", id="accents as marks of their own"),
    pytest.param("/x/ek_asa_12345/y", "/x/a student/y", id="key"),
    pytest.param("asaek01@kth.se", "a student@kth.se", id="login"),
    pytest.param("counts: 'a.ipynb'.", "counts: a file.", id="file"),
    pytest.param("ekasa_1_2_final.ipynb", "a file", id="file as it was downloaded"),
    pytest.param(Markup("<p title='Åsa Ek'>Åsa Ek</p>"), Markup("<p title='Åsa Ek'>a student</p>"), id="markup"),
]
KEPT = ["data.ipynb", "Ekström Åsa", "7 of 8 points", "'step1.count'", "Seek"]


@pytest.mark.parametrize(("text", "expected"), HIDDEN)
def test_what_is_hidden(text: str, expected: str) -> None:
    assert CLASS.hide(text) == expected
    assert isinstance(CLASS.hide(text), Markup) is isinstance(text, Markup)
    assert NOTHING.hide(text) == text


@pytest.mark.parametrize("text", KEPT)
def test_what_stays(text: str) -> None:
    assert CLASS.hide(text) == text


def test_a_note_quotes_no_file_at_all() -> None:
    assert CLASS.hide_in_note("'x.zip' holds 'Å/b.pdf', not 'Step 1'.") == "a file holds a file, not 'Step 1'."
