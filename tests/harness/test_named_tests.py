"""Every test and every Python file that a hand-written page names is there, and CONTRIBUTING.md knows the slow tests.

Blocks of code are left out: an example may define a test that is not there yet.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from grader.paths import ROOT
from tests.harness.conftest import SLOW
from tests.harness.test_printed_commands import BLOCK, INLINE, PAGES

GENERATED: Final = "not edited by hand"  # in the first lines of such a page
HAND_WRITTEN: Final = [path for path in PAGES if GENERATED not in path.read_text(encoding="utf-8")[:500]]
FILES: Final = [path for folder in ("grader", "tests") for path in (ROOT / folder).rglob("*.py")]
PLACES: Final = [f"/{path.relative_to(ROOT).as_posix()}" for path in FILES]
DEFINITION: Final = re.compile(r"^(?:    )?(?:async )?def (test_\w+)", re.MULTILINE)
TESTS: Final = frozenset(
    name
    for path in FILES
    if path.name.startswith("test_")
    for name in DEFINITION.findall(path.read_text(encoding="utf-8"))
)
NAMED: Final = re.compile(r"(?<![\w./])(?:[\w./-]+\.py\b|test_\w+)")
HARNESS: Final = ROOT / "tests" / "harness"
ROW: Final = re.compile(r"^\| (`[^|]+`) \|[^|]+\|[^|]+\|([^|]*)\|$", re.MULTILINE)
# The table of tests in CONTRIBUTING.md: names of folders and files, and what only `make test-all` runs of them.
TABLE: Final = {
    name: left.strip()
    for names, left in ROW.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    for name in INLINE.findall(names)
}


def list_missing(text: str) -> Iterator[str]:
    """Names of tests and of Python files in inline code that are not there. A file may lack the folders before it."""
    for code in INLINE.findall(BLOCK.sub("", text)):
        for name in NAMED.findall(code):
            found = any(place.endswith(f"/{name}") for place in PLACES) if name.endswith(".py") else name in TESTS
            if not found:
                yield name


@pytest.mark.parametrize("page", HAND_WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_names_is_there(page: Path) -> None:
    assert not [*list_missing(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        pytest.param("`test_what_a_page_names_is_there`", [], id="a test"),
        pytest.param("`test_of_nothing`", ["test_of_nothing"], id="a test that is gone"),
        pytest.param("`batch/outputs.py: hand_out`", [], id="the end of a path, and what is in it"),
        pytest.param("`tests/harness/test_gone.py`", ["tests/harness/test_gone.py"], id="a file that is gone"),
        pytest.param("```python\n`test_of_nothing`\n```\n", [], id="a block"),
    ],
)
def test_what_is_gone_is_seen(text: str, missing: list[str]) -> None:
    assert [*list_missing(text)] == missing


def test_the_table_of_tests_is_whole() -> None:
    assert {path.relative_to(HARNESS).parts[0] for path in HARNESS.rglob("test_*.py")} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_tests_says_what_is_left_out(name: str) -> None:
    beginning = name if name.endswith(".py") else f"{name}/"
    assert any(entry.startswith(beginning) for entry in SLOW) is bool(TABLE[name])
