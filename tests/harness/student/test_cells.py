"""The cells that ran, as they were written: IPython rewrites those with magics before it runs them."""

import json
from pathlib import Path

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from grader.student import cells, commands, notebook_file
from grader.student.placing import FREEZES, SETS
from tests.harness.student.test_live import COUNT, RIGHT, run

MAGICS = ["%%time", "%%capture", "%%capture out\n# quiet"]
PRESENT = "from grader.student import cells, notebook_file\nseen = cells.read_source()"


@pytest.mark.parametrize("magic", MAGICS)
def test_a_cell_with_a_magic_is_read_as_it_was_written(shell: InteractiveShell, magic: str) -> None:
    cell = f"{magic}\n{PRESENT}"
    run(shell, "x = 1", cell)
    assert shell.user_ns["seen"] == cell
    assert cells.list_sources()[-1] == cell


@pytest.mark.parametrize("magic", MAGICS)
def test_its_lines_are_found(shell: InteractiveShell, magic: str) -> None:
    shell.user_ns["model"] = torch.nn.Linear(2, 2)
    run(shell, f"{magic}\nfor p in model.parameters():\n    p.requires_grad = False")
    line = magic.count("\n") + 3
    assert cells.find_line("model", SETS, FREEZES) == f"In [1], line {line}: p.requires_grad = False"


@pytest.mark.parametrize("magic", MAGICS)
def test_what_is_wrong_in_it_has_its_line(shell: InteractiveShell, magic: str) -> None:
    run(shell, f"{magic}\n{RIGHT.replace('alpha / rank', 'alpha')}")
    row = next(row for row in commands._check("3.3").parts[0].rows if row.mark.value == "failed")
    assert row.place.startswith(f"In [1], line {magic.count(chr(10)) + 11}: return self.W(x) + self.scale")


@pytest.mark.parametrize("magic", MAGICS)
def test_it_is_found_in_the_file(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, magic: str
) -> None:
    cell = f"{magic}\n{PRESENT}\nstep = notebook_file.find_step(seen)"
    heading = {"cell_type": "markdown", "source": "## Step 2: the head"}
    saved = {"cells": [heading, {"cell_type": "code", "source": cell, "execution_count": 1, "outputs": []}]}
    for name, content in (("mine.ipynb", saved), ("other.ipynb", {"cells": []})):
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "mine.ipynb"))
    run(shell, cell)
    assert shell.user_ns["step"] == "step2"
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert notebook_file.find_file(cells.list_sources()).name == "mine.ipynb"


def test_the_variable_that_held_the_cells_may_hold_something_else(shell: InteractiveShell) -> None:
    run(shell, COUNT, "In, Out = 768, 2")
    assert commands._check("1.3").parts[0].rows[-1].mark.value == "passed"
    assert cells.count() == 2
