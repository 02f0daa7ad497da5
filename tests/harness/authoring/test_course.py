"""What a teacher sets for a course stands in its places, and cannot break what it stands in."""

import ast
import re
from pathlib import Path

import pytest

from grader.authoring.course import COURSE, fill_notebook, fill_places, read_course
from grader.authoring.template import derive_template, read_notebook
from grader.errors import GraderError
from grader.paths import REFERENCE, ROOT

ADDRESS = "https://canvas.example.org/courses/1/assignments/2?module=3&x=%20#top"


def write(root: Path, text: str) -> Path:
    (root / COURSE).parent.mkdir(exist_ok=True)
    (root / COURSE).write_text(text, encoding="utf-8")
    return root


def settings(canvas: str = "", deadline: str = "", address: str = "") -> str:
    return f"hand_in = {{canvas = '{canvas}', deadline = '{deadline}'}}\nkit = {{address = '{address}'}}"


def test_what_is_set_stands_in_the_handout(tmp_path: Path) -> None:
    course = read_course(write(tmp_path, settings(ADDRESS, "Friday 27 November, 23:59", "http://x.org/kit.zip")))
    cells = {cell.id: cell for cell in fill_notebook(derive_template(read_notebook(REFERENCE)), course).cells}
    assert f"on [Canvas]({ADDRESS})," in cells["title"].source
    assert "**Deadline:** Friday 27 November, 23:59." in cells["title"].source
    assert 'KIT_ADDRESS = "http://x.org/kit.zip"' in cells["get-kit"].source


def test_what_is_not_set_leaves_sentences_that_hold() -> None:
    filled = fill_places("On {{canvas}}, deadline: {{deadline}}; {{kit}}", {**read_course(ROOT), "kit": ""})
    assert "{{" not in filled
    assert fill_places("{{canvas}} {{deadline}}", read_course(ROOT)) == "Canvas see Canvas", "the repository's is empty"


@pytest.mark.parametrize("text", ["{{name}}", "{{ }} {{date}} {{deadline}}"])
def test_a_place_that_nothing_belongs_to_is_an_error(text: str) -> None:
    with pytest.raises(GraderError, match="is unknown"):
        fill_places(text, read_course(ROOT))


REFUSED = {
    "a quote that ends the string": (settings(address='https://x.org/"; print("x'), "address"),
    "a line break": (settings().replace("deadline = ''", 'deadline = "a\\nb"'), "one line"),
    "no address": (settings(canvas="Canvas, week 3"), "canvas"),
    "a link that closes": (settings(canvas="https://x.org/a)b"), "canvas"),
    "a number": (settings().replace("deadline = ''", "deadline = 3"), "deadline"),
    "a setting too many": (settings() + "\nmore = {a = 1}", "exactly"),
    "a misspelt setting": (settings().replace("deadline", "dead_line"), "exactly"),
    "no TOML": ("hand in on Friday", "cannot be read"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED)
def test_settings_that_would_break_the_handout_are_refused(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(GraderError, match=re.escape(words)) as refusal:
        read_course(write(tmp_path, text))
    assert "course.toml" in str(refusal.value)


def test_a_repository_without_settings_says_so(tmp_path: Path) -> None:
    with pytest.raises(GraderError, match="restore the file"):
        read_course(tmp_path)


def test_the_cell_that_fetches_the_kit_is_python_with_any_address() -> None:
    filled = fill_notebook(derive_template(read_notebook(REFERENCE)), {**read_course(ROOT), "kit": ADDRESS})
    (cell,) = (cell for cell in filled.cells if cell.id == "get-kit")
    assert ADDRESS in [node.value for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Constant)]
