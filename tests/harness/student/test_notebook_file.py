"""The notebook's file: how it is found, what is not saved in it, what would be handed in."""

import contextlib
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from grader.errors import SubmissionError
from grader.model import Result
from grader.reporting.in_notebook import Mark
from grader.student import file_check, notebook_file
from grader.student.notebook_file import FileCell, Ran

SAVED_S = 1_000.0
CELLS = [
    {"cell_type": "markdown", "source": ["## Step 2: the head\n", "text"]},
    {"cell_type": "code", "id": "a", "source": "x = 1", "execution_count": 3, "outputs": []},
    {"cell_type": "markdown", "source": "### 3.3 The LoRA layer"},
    {
        "cell_type": "code",
        "id": "b",
        "source": ["def f():\n", "    raise NotImplementedError('Step 3')"],
        "outputs": [],
    },
    {"cell_type": "code", "id": "c", "source": "f()", "execution_count": 4, "outputs": [{"output_type": "error"}]},
    {"cell_type": "code", "id": "d", "source": "", "outputs": []},
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notebook in an own folder, beside files that are none."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.ipynb").write_text("{", encoding="utf-8")
    (tmp_path / "other.ipynb").write_text(json.dumps({"cells": [CELLS[1]]}), encoding="utf-8")
    path = tmp_path / "mine.ipynb"
    path.write_text(json.dumps({"cells": CELLS}), encoding="utf-8")
    os.utime(path, (SAVED_S, SAVED_S))
    return path


def test_a_step_is_that_of_the_heading_above(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [cell.step for cell in notebook_file.read_cells(file)] == ["step2", "step3", "step3"]
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    assert [notebook_file.find_step(source) for source in ("f()", "x = 1\n", "y", "")] == ["step3", "step2", None, None]
    edited = [notebook_file.find_step("edited", cell) for cell in ("a", "c", "vscode-cell:1", None)]
    assert edited == ["step2", "step3", None, None]
    assert notebook_file.find_step("x = 1", "vscode-cell:1") == "step2"


@pytest.mark.parametrize(
    ("text", "step"),
    [
        pytest.param("## My experiments", None, id="a heading without a number"),
        pytest.param("# Comparing\n\ntext", None, id="the largest one"),
        pytest.param("### Training", "step3", id="a heading within the step"),
        pytest.param("text\n\n## Part 2\n### Freeze", "step2", id="another step"),
        pytest.param("## 10 reviews", None, id="a number that is no step's"),
        pytest.param("#### 2 epochs, batch size 8", "step3", id="an amount"),
        pytest.param("## 2 results so far", None, id="an amount in a large one"),
        pytest.param("### 1st attempt", "step3", id="an ordinal"),
        pytest.param("### 2-fold validation", "step3", id="a compound"),
        *(
            pytest.param(text, "step2", id=text)
            for text in (
                "## 2",
                "## 2. Head",
                "## 2: Head",
                "## 2) Head",
                "### 2.1 Freeze",
                "## 2 - Head",
                "## 2 — Head",
            )
        ),
        *(
            pytest.param(text, "step2", id=text)
            for text in ("## **Step 2: head**", "## **2.** Head", "## STEP-2", "# part 2")
        ),
        pytest.param("```python\n# a comment\n```", "step3", id="a comment in an example"),
        pytest.param("#hashtag", "step3", id="no heading"),
    ],
)
def test_a_step_ends_with_a_heading_that_is_no_part_of_it(tmp_path: Path, text: str, step: str | None) -> None:
    above = [{"cell_type": "markdown", "source": source} for source in ("## Step 3: LoRA", "### 3.4 Train", text)]
    path = tmp_path / "mine.ipynb"
    path.write_text(json.dumps({"cells": [*above, CELLS[1]]}), encoding="utf-8")
    assert [cell.step for cell in notebook_file.read_cells(path)] == [step]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"cells": [{"cell_ty', id="half written"),
        pytest.param(b'<<<<<<< HEAD\n{"cells": []}\n=======', id="with conflict markers"),
        pytest.param(b"[1]", id="no notebook"),
        pytest.param(b'{"cells": 5}', id="no cells"),
        pytest.param(b'{"cells": ["x = 1"]}', id="cells of another shape"),
        pytest.param(b"[" * 100_000, id="nested too deeply"),
        pytest.param(b"\xff\xfe", id="another encoding"),
    ],
)
def test_a_file_that_cannot_be_read_is_no_hint(file: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    file.write_bytes(content)
    assert notebook_file.find_step("x = 1", "a") is None


def test_a_file_that_is_too_large_is_no_hint(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    monkeypatch.setattr(notebook_file, "MAX_BYTES", 10)
    assert notebook_file.find_step("x = 1", "a") is None


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        pytest.param(["x = 1", "f()"], "mine.ipynb", id="the one with most of the cells"),
        pytest.param(["x = 1"], None, id="two are alike"),
        pytest.param(["y = 1", "check()"], None, id="none holds them"),
    ],
)
def test_the_file_is_found_by_its_cells(file: Path, sources: list[str], found: str | None) -> None:
    if found is None:
        with pytest.raises(SubmissionError, match=r"check_file\('assignment.ipynb'\)"):
            notebook_file.find_file(sources)
    else:
        assert notebook_file.find_file(sources).name == found


@pytest.mark.parametrize(
    ("copies", "age_s", "sources", "found"),
    [
        pytest.param(["anna"], 1, ["x = 1", "y = 2"], "anna.ipynb", id="saved under another name, and worked on"),
        pytest.param(["anna"], 1, ["x = 1"], "mine.ipynb", id="a copy that holds no more of it"),
        pytest.param(["anna"], -1, ["x = 1", "y = 2"], "mine.ipynb", id="a file that was saved before"),
        pytest.param(["anna", "ben"], 1, ["x = 1", "y = 2"], None, id="two of them"),
    ],
)
def test_a_notebook_that_was_saved_under_another_name_is_found(
    file: Path, monkeypatch: pytest.MonkeyPatch, copies: list[str], age_s: int, sources: list[str], found: str | None
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", str(file))
    (file.parent / "other.ipynb").unlink()
    for name in copies:
        path = file.with_stem(name)
        path.write_text(json.dumps({"cells": [*CELLS, CELLS[1] | {"source": "y = 2"}]}), encoding="utf-8")
        os.utime(path, (SAVED_S + age_s, SAVED_S + age_s))
    if found is None:
        with pytest.raises(SubmissionError, match=r"`anna.ipynb` and `ben.ipynb` .* check_file\('anna.ipynb'\)"):
            notebook_file.find_file(sources)
        return
    chosen = notebook_file.find_file(sources)
    assert (chosen.name, bool(notebook_file.describe_choice(chosen))) == (found, found != "mine.ipynb")


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        pytest.param(["y = 1"], r"Colab keeps it elsewhere\. Download it .* upload it", id="not there"),
        pytest.param(["x = 1"], r"2 of them look like it", id="two copies of it"),
    ],
)
def test_on_colab_the_file_has_to_be_brought(
    file: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], said: str
) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    with pytest.raises(SubmissionError, match=said):
        notebook_file.find_file(sources)
    assert notebook_file.find_file(["x = 1", "f()"]) == file


@pytest.mark.parametrize(
    ("ran", "unsaved"),
    [
        pytest.param(Ran("a", "x = 2", SAVED_S + 1), True, id="changed and run"),
        pytest.param(Ran("a", "x = 2", SAVED_S - 1), False, id="changed again before it was saved"),
        pytest.param(Ran("a", "x = 1 \n", SAVED_S + 1), False, id="run as it is"),
        pytest.param(Ran(None, "f()", SAVED_S + 1), False, id="without an id, in the file"),
        pytest.param(Ran(None, "g()", SAVED_S + 1), True, id="without an id, not in the file"),
        pytest.param(Ran("new", "g()", SAVED_S + 1), True, id="a new cell"),
        pytest.param(Ran("new", "f()", SAVED_S + 1), False, id="an editor whose ids are not those of the file"),
        pytest.param(Ran("new", "# now\ncheck_file()", SAVED_S + 1), False, id="a check"),
    ],
)
def test_what_ran_and_is_not_saved(file: Path, ran: Ran, unsaved: bool) -> None:
    cells = notebook_file.read_cells(file)
    found = notebook_file.find_unsaved(cells, SAVED_S, [ran])
    assert (bool(found), "Save the notebook" in notebook_file.describe_unsaved(found)) == (unsaved, unsaved)


def test_it_says_what_would_be_handed_in(file: Path) -> None:
    told = " ".join(notebook_file.describe_contents(file, notebook_file.read_cells(file), SAVED_S + 60))
    said = ("`mine.ipynb`", "3 code cells", "outputs are missing: 1", "an error as their output: 1", "belongs: 1")
    assert [words for words in said if words not in told] == []


def test_a_cell_that_only_checks_need_not_have_been_run(file: Path) -> None:
    check = {"cell_type": "code", "id": "e", "source": "# all of it\ncheck_file()", "execution_count": None}
    file.write_text(json.dumps({"cells": [CELLS[1], check]}), encoding="utf-8")
    told = notebook_file.describe_contents(file, notebook_file.read_cells(file), SAVED_S + 60)
    assert [words for words in told if "not been run" in words] == []


def test_a_refusal_comes_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="does not exist"):
        file_check.check_saved(tmp_path / "nothing.ipynb", (), lambda line: None)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        pytest.param("6.1.12", "this machine has 6.1.12", id="as on Colab"),
        pytest.param("7.4.9", "check() works here", id="the last one that is too old"),
        pytest.param("8.0.0", "", id="the first that works"),
        pytest.param("10.1.0", "", id="a later one"),
    ],
)
def test_a_client_that_cannot_run_notebooks_is_named(version: str, said: str) -> None:
    with pytest.raises(SubmissionError, match=re.escape(said)) if said else contextlib.nullcontext():
        file_check.require_client(version)


def test_a_run_that_says_nothing_is_explained(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_check, "ROOT", file.parent)  # no grader there
    with pytest.raises(SubmissionError, match="No module named grader"):
        file_check.run_in_process(file, lambda line: None)


def build_result(**changes: Any) -> Result:
    check = {"id": "step2.a", "title": "T", "verdict": "failed", "points": 0, "possible": 1, "visibility": "public"}
    values: dict[str, Any] = {
        "schema": 1,
        "submission": {"name": "n", "sha256": ""},
        "profile": "structure",
        "seed": 0,
        "calibration": None,
        "sandbox": "own machine",
        "run": {
            "status": "student_error",
            "wall_s": 1,
            "peak_memory_mib": 1,
            "failed_cells": [{"index": 4, "error": "NameError", "message": "name 'f'"}],
        },
        "score": {"points": 0, "possible": 1, "status": "graded"},
        "checks": [{**check, **changes}],
    }
    return Result.model_validate(values)


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({}, Mark.FAILED),
        ({"verdict": "passed", "points": 1}, Mark.PASSED),
        ({"verdict": "passed", "points": 1, "rationale": "costs nothing"}, Mark.NOTE),
        ({"verdict": "error", "points": None}, Mark.ERROR),
    ],
)
def test_a_run_becomes_a_report(changes: dict[str, Any], mark: Mark) -> None:
    told = file_check.build_report(build_result(**changes), ("about the file",), "You ran a cell.")
    assert (told.parts[0].rows, told.parts[0].note) == ((), "You ran a cell.")  # before all that it may explain
    assert [row.mark for part in told.parts for row in part.rows] == [mark]
    assert told.notes == ("Cell 5 ends with `NameError`: name 'f'", "about the file")


def test_file_cells_are_compared_without_ids(file: Path) -> None:
    cell = FileCell(None, "f()", "step3", ran=True, failed=False)
    assert notebook_file.find_unsaved([cell], SAVED_S, [Ran("x", "f()", SAVED_S + 1)]) == []
