"""The table of slow tests in conftest.py names tests that exist: after a renaming, `make test` would run them."""

import ast
from collections.abc import Iterable, Iterator

import pytest

from grader.paths import ROOT
from tests.harness.conftest import SLOW

FOLDER = ROOT / "tests" / "harness"
FILES = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("test_*.py")}


def list_ids(body: Iterable[ast.stmt], place: str) -> Iterator[str]:
    """The ids of tests, as pytest has them: FILE::FUNCTION, or FILE::CLASS::METHOD."""
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            yield from list_ids(node.body, f"{place}::{node.name}")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
            yield f"{place}::{node.name}"


def find_matches(entry: str) -> list[str]:
    files = {name: path for name, path in FILES.items() if name.startswith(entry.partition("::")[0])}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
    return [found for name, tree in trees.items() for found in list_ids(tree.body, name) if found.startswith(entry)]


@pytest.mark.parametrize("entry", SLOW)
def test_every_entry_matches_a_test(entry: str) -> None:
    assert find_matches(entry)


@pytest.mark.parametrize("entry", ["test_slow_table.py::test_nothing", "test_slow_tables.py"])
def test_an_entry_that_matches_nothing_is_seen(entry: str) -> None:
    assert not find_matches(entry)
