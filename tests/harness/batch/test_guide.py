"""The files that the guide shows are ones that the grader reads. Its commands: see `test_printed_commands`."""

import re
from pathlib import Path

from grader.grades.overrides import load_overrides
from grader.grades.policy import load_policy
from grader.intake.uploads import Student
from tests.harness.batch.fakes import ROOT

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
