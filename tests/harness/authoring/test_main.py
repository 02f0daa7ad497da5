"""The commands behind `make template` and `make kit`."""

import sys
from pathlib import Path

import pytest

from grader.authoring import __main__ as commands


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["authoring", *arguments])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    return ended.value.code


def test_template_can_be_written_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run(monkeypatch, "template", str(tmp_path / "assignment.ipynb")) == 0
    assert (tmp_path / "assignment.ipynb").read_bytes() == commands.TEMPLATE.read_bytes()


@pytest.mark.parametrize("command", ["template", "kit"])
def test_a_fault_of_the_set_up_is_one_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    monkeypatch.setattr(commands, "ROOT", tmp_path)  # an empty repository
    monkeypatch.setattr(commands, "REFERENCE", tmp_path / "solution.ipynb")
    assert run(monkeypatch, command, str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("The")
