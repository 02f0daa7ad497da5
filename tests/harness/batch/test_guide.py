"""The files that the guide shows are ones that the grader reads, and the commands that it shows are there."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from grader.cli.app import app
from grader.grades import load_overrides, load_policy
from grader.intake.uploads import Student
from tests.harness.batch.fakes import ROOT

DOCS = ("ta-guide.md", "cluster.md", "examiner.md")
STUDENTS = [Student(key=f"s{i}", name=f"S {i}", canvas_id=i) for i in (50012, 50033)]


def block(name: str, folder: Path) -> Path:
    """A file of the guide, written out."""
    guide = (ROOT / "docs" / "ta-guide.md").read_text(encoding="utf-8")
    found = re.search(rf"```toml\n(# {re.escape(name)}\n.*?)```", guide, re.DOTALL)
    assert found
    path = folder / name
    path.write_text(found[1], encoding="utf-8")
    return path


def test_the_files_of_the_guide(tmp_path: Path) -> None:
    policy = load_policy(block("policy.toml", tmp_path))
    assert policy.late.per_day == 10
    overrides = load_overrides(block("overrides.toml", tmp_path), STUDENTS, {"step3.lora_forward": 8})
    assert overrides.entries[0].author == "Ada L."


@pytest.mark.parametrize("document", DOCS)
def test_options_that_are_named_exist(document: str) -> None:
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for command, arguments in re.findall(r"\./autograder ([a-z-]+)([^\n`#]*)", text):
        known = {option for parameter in commands[command].params for option in parameter.opts}
        known |= {option for parameter in commands[command].params for option in parameter.secondary_opts}
        assert set(re.findall(r"--[a-z-]+", arguments)) <= known, command
