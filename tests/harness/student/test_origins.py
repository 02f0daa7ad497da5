"""What a notebook uses and does not hold: files beside it, and what it imports over its own definitions."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from grader.student import commands, file_check, origins
from grader.student.notebook_file import FileCell
from tests.harness.student.test_live import COUNT, EXTRACT, RIGHT, STUB, run

WRONG = COUNT.replace("requires_grad", "numel()")
IMPORT = "from helpers_of_mine import *"
ELSEWHERE = "import sys; sys.path.append('lib')\nfrom elsewhere_of_mine import *"
LAYER_STUB = "class LoRALayer:\n    def __init__(self, W, rank, alpha): raise NotImplementedError"
UNWRAPPED = "def wrap(f): return lambda *args: f(*args)"


@pytest.fixture
def files(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module beside the notebook, one beyond it, and a library with a decorator."""
    beside, beyond = Path("notebook"), Path("notebook/lib").resolve().parents[1] / "lib"
    for folder in (beside, beyond):
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder.resolve()))
    monkeypatch.chdir(beside)
    Path("helpers_of_mine.py").write_text(f"{COUNT}\n{RIGHT}", encoding="utf-8")
    (beyond / "elsewhere_of_mine.py").write_text(f"{WRONG}\n{RIGHT}\n{UNWRAPPED}", encoding="utf-8")
    yield beyond
    for name in ("helpers_of_mine", "elsewhere_of_mine"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("ran", "what", "mark", "said"),
    [
        pytest.param([IMPORT], "1.3", "note", "It comes from `helpers_of_mine.py`.", id="a file beside the notebook"),
        pytest.param([IMPORT], "3.3", "note", "It comes from `helpers_of_mine.py`.", id="a class"),
        pytest.param(
            ["import helpers_of_mine"], "1.3", "note", "comes from `helpers_of_mine.py`", id="imported as a module"
        ),
        pytest.param([f"# as in helpers_of_mine.py\n{IMPORT}"], "1.3", "note", "comes from", id="named in a comment"),
        pytest.param(
            [f"%%writefile helpers_of_mine.py\n{COUNT}", IMPORT], "1.3", "passed", "", id="a file that a cell writes"
        ),
        pytest.param([IMPORT, COUNT], "1.3", "passed", "", id="defined in a cell afterwards"),
        pytest.param([ELSEWHERE], "3.3", "failed", "imported from `", id="a file elsewhere"),
        pytest.param([LAYER_STUB, ELSEWHERE], "3.3", "failed", "elsewhere_of_mine.py`", id="in place of a stub"),
        pytest.param([COUNT, ELSEWHERE], "1.3", "failed", "elsewhere_of_mine.py`", id="over a right definition"),
        pytest.param([ELSEWHERE, COUNT], "1.3", "passed", "", id="a right definition over it"),
        pytest.param([ELSEWHERE, f"@wrap\n{COUNT}"], "1.3", "passed", "", id="decorated by a library"),
        pytest.param(["from dataclasses import replace"], "3.2", "not yet", "", id="another function of the name"),
        pytest.param(["from json import loads as extract_qv_layers"], "3.1", "failed", "json", id="a library's"),
    ],
)
def test_a_definition_that_is_not_in_the_notebook_is_named(
    shell: InteractiveShell, ran: list[str], what: str, mark: str, said: str
) -> None:
    run(shell, *ran)
    row = commands._check(what).parts[0].rows[-1]
    assert (row.mark.value, said in row.rationale) == (mark, True)
    assert "object of type" not in row.rationale


@pytest.mark.parametrize(
    "broken", ["x = (", "!ls", "%%html\n<b>", "%%time\nx = 1", "\0"], ids=["no Python", "!", "HTML", "timed", "zero"]
)
@pytest.mark.parametrize(
    ("defined", "mark"),
    [
        pytest.param([EXTRACT], "passed", id="right"),
        pytest.param([f"%%time\n{EXTRACT}"], "passed", id="right, in a timed cell"),
        pytest.param([STUB], "not yet", id="a stub"),
    ],
)
def test_a_cell_that_is_no_python_costs_only_itself(
    shell: InteractiveShell, defined: list[str], broken: str, mark: str
) -> None:
    run(shell, *defined)
    shell.run_cell(broken, store_history=True)
    run(shell, "extract_qv_layers = 5")
    assert commands._check("3.1").parts[0].rows[-1].mark.value == mark


@pytest.mark.parametrize(
    ("sources", "absent"),
    [
        pytest.param(["from mine import *"], ["mine.py"], id="from"),
        pytest.param(["%%time\nimport numpy as np, mine.part"], ["mine.py"], id="import, in a timed cell"),
        pytest.param(["def f():\n    import package"], ["package/"], id="a folder, in a function"),
        pytest.param(["%run -i mine.py"], ["mine.py"], id="%run"),
        pytest.param(["%run mine.py", "!pip install x", "import json, grader"], ["mine.py"], id="what is known"),
        pytest.param(["%%writefile mine.py\nx = 1", "import mine"], [], id="written by a cell"),
        pytest.param(["!wget https://example.org/mine.py", "import mine"], [], id="fetched by a cell"),
        pytest.param(["x = ("], [], id="no Python"),
        pytest.param(["import other, empty"], [], id="not beside the notebook"),
    ],
)
def test_files_that_are_not_handed_in_are_found(tmp_path: Path, sources: list[str], absent: list[str]) -> None:
    for name in ("mine.py", "grader.py", "json.py", "package/part.py", "empty/data.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    assert origins.list_absent(tmp_path, sources) == absent


def test_the_check_of_the_file_names_them(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("", encoding="utf-8")
    used, unused = (FileCell(None, source, None, ran=True, failed=False) for source in ("import mine", "x = 1"))
    (note,) = file_check._describe_absent(tmp_path / "mine.ipynb", (used, unused))
    assert note.startswith("The notebook uses `mine.py`. You hand in the notebook alone")
    assert file_check._describe_absent(tmp_path / "mine.ipynb", (unused,)) == ()
