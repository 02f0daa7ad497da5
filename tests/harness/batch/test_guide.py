"""The files that the guide shows are ones that the grader reads, and the messages that it explains ones that it writes.

Its commands: see `test_printed_commands`.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from grader.grades.overrides import load_overrides
from grader.grades.policy import load_policy
from grader.intake.uploads import Student
from tests.harness.batch.fakes import ROOT

GAP = "…"
LEAST_CHARS = 6  # those of the shortest message, `graded`
STUDENTS = [Student(key=f"s{i}", name=f"S {i}", canvas_id=i) for i in (50012, 50033)]


def block(name: str, folder: Path) -> Path:
    """A file of the guide, written out."""
    guide = (ROOT / "docs" / "ta-guide.md").read_text(encoding="utf-8")
    (text,) = re.findall(rf"```toml\n(# {re.escape(name)}\n.*?)```", guide, re.DOTALL)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_the_files_of_the_guide(tmp_path: Path) -> None:
    assert load_policy(block("policy.toml", tmp_path)).late.per_day == 10
    overrides = load_overrides(block("overrides.toml", tmp_path), STUDENTS, {"step3.lora_forward": 8})
    assert overrides.entries[0].author == "Ada L."


def list_messages() -> list[str]:
    """What stands in code in the first column of the guide's tables about what one sees."""
    guide = (ROOT / "docs" / "ta-guide.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| (?:a line says|you see) \|.*\n\|[-|]+\n((?:\|.*\n?)+)", guide, re.MULTILINE)
    return [found for table in tables for found in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)]


@cache
def list_texts() -> frozenset[str]:
    """All strings of the grader's code; for what is filled in while it runs stands a gap."""
    modules = [ast.parse(path.read_bytes()) for path in (ROOT / "grader").rglob("*.py")]
    return frozenset(
        text for module in modules for node in ast.walk(module) for text in read_text(node, read_constants(module))
    )


def read_constants(module: ast.Module) -> dict[str, str]:
    """The texts that a module gives a name: a message may hold one, such as the name of a variable."""
    return {
        node.target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def read_text(node: ast.AST, constants: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(fill_in(part, constants) for part in node.values)


def fill_in(part: ast.expr, constants: dict[str, str]) -> str:
    match part:
        case ast.Constant(value=value):
            return str(value)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return constants.get(name, GAP)
    return GAP


@pytest.mark.parametrize("message", list_messages())
def test_the_messages_of_the_guide(message: str) -> None:
    assert any(matches(message, text) or ("…" in text and matches(text, message)) for text in list_texts())


def matches(pattern: str, text: str) -> bool:
    """Return True if a text holds a pattern with gaps; one of hardly more than gaps is in none."""
    parts = [re.escape(part.strip()) for part in pattern.split("…") if part.strip()]
    return len("".join(parts)) >= LEAST_CHARS and re.search(".*".join(parts), text, re.DOTALL) is not None


def test_both_tables_of_messages_are_read() -> None:
    assert {"refused", "Another batch runs in …"} <= set(list_messages())
