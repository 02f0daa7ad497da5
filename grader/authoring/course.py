"""What a teacher sets for a course, in student_template/course.toml, and the places in texts where it goes.

A place is a name in double braces: `{{deadline}}`. What is not set yet becomes words that hold without it.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nbformat import NotebookNode

from grader.errors import GraderError

COURSE: Final = Path("student_template", "course.toml")  # below the repository's root
PLACE: Final = re.compile(r"\{\{(\w+)\}\}")
SETTINGS: Final = {"hand_in": ("canvas", "deadline"), "kit": ("address",)}
# They go into Markdown links and Python strings: nothing that would end one.
ADDRESS: Final = re.compile(r"https?://[^\s\"'\\()<>{}]+")
WORDS: Final = re.compile(r"[^\n{}]+")


def read_course(root: Path) -> Mapping[str, str]:
    """Return what stands in each place. Raises GraderError for a file that is missing, or says what is not known."""
    path = root / COURSE
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GraderError(f"The course's settings in {path} cannot be read ({error}); restore the file.") from error
    if {name: (*table,) for name, table in tables.items() if isinstance(table, dict)} != SETTINGS:
        known = ", ".join(f"[{table}] {name}" for table, names in SETTINGS.items() for name in names)
        raise GraderError(f"The course's settings in {path} must be exactly {known}, in this order.")
    canvas, deadline = (_take(path, tables, "hand_in", name) for name in SETTINGS["hand_in"])
    return {
        "canvas": f"[Canvas]({canvas})" if canvas else "Canvas",
        "deadline": deadline or "see Canvas",
        "kit": _take(path, tables, "kit", "address"),
    }


def fill_places(text: str, course: Mapping[str, str]) -> str:
    """Put the course's settings into their places. Raises GraderError for a place that no setting belongs to."""
    if unknown := set(PLACE.findall(text)) - set(course):
        raise GraderError(f"The place {{{{{min(unknown)}}}}} is unknown; use one of {', '.join(sorted(course))}.")
    return PLACE.sub(lambda found: course[found[1]], text)


def fill_notebook(notebook: NotebookNode, course: Mapping[str, str]) -> NotebookNode:
    """Fill the places in all cells. The notebook itself is changed, and returned."""
    for cell in notebook.cells:
        cell.source = fill_places(cell.source, course)
    return notebook


def _take(path: Path, tables: Mapping[str, Mapping[str, str]], table: str, name: str) -> str:
    value, form = tables[table][name], WORDS if name == "deadline" else ADDRESS
    if not isinstance(value, str) or (value and not form.fullmatch(value)):
        kind = "one line of words" if form is WORDS else "an address that begins with https:// and has no quotes"
        raise GraderError(f"The setting {name} in {path} must be {kind}, or empty.")
    return value
