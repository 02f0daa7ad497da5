"""A machine that is not fit is nobody's zero: the notebook that is known to be right is graded first."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from grader import canary, pipeline
from grader.errors import GraderError
from grader.execution.job import Setup
from grader.execution.setup import UNSANDBOXED
from grader.model import Profile


@pytest.fixture(scope="module")
def used() -> Iterator[Setup]:
    """A setup that nothing has been tried in."""
    with ExitStack() as stack:
        yield stack.enter_context(pipeline.open_setup(Profile.STRUCTURE, 0, UNSANDBOXED, trial=False))


@pytest.fixture
def remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is remembered in this test."""
    folder = tmp_path / "fit"
    monkeypatch.setattr(canary, "_list_folders", lambda: (folder,))
    return folder


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Setups in which the notebook was tried; nothing is executed."""
    seen: list[str] = []
    monkeypatch.setattr(
        canary, "_require_points", lambda used, make_case, listener: seen.append(used.checkpoint.sha256)
    )
    return seen


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        pytest.param(canary.CELLS, (), id="as it is"),
        pytest.param(
            ("import torch\nraise OSError('libgomp.so.1: cannot open shared object file')", *canary.CELLS),
            ("its cell 1: expected no error, found OSError", "libgomp"),
            id="an import that fails",
        ),
        pytest.param(
            (*canary.CELLS[:2], canary.CELLS[2].replace("trainer.train()", ""), canary.CELLS[3]),
            ("Step 1 trains all parameters", "expected passed"),
            id="a training that leaves nothing",
        ),
        pytest.param(canary.CELLS[:3], ("LoRALayer can be created",), id="a class that is not seen"),
        pytest.param(
            (*canary.CELLS, "import ctypes; ctypes.string_at(0)"), ("its run: expected ok",), id="a kernel that dies"
        ),
    ],
)
def test_real_gradings_name_what_differs(
    used: Setup, remembered: Path, monkeypatch: pytest.MonkeyPatch, cells: tuple[str, ...], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(canary, "CELLS", cells)
    if not words:
        return canary.require_fit(used, pipeline.make_case)
    with pytest.raises(GraderError) as error:
        canary.require_fit(used, pipeline.make_case)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "No student's notebook was graded" in str(error.value)
    assert not list(remembered.glob("*.json"))


def test_it_is_tried_once(used: Setup, remembered: Path, tried: list[str]) -> None:
    for _ in range(3):
        canary.require_fit(used, pipeline.make_case)
    assert len(tried) == 1


@pytest.mark.parametrize(
    "age",
    [
        pytest.param(lambda note: note.write_text("{"), id="half a note"),
        pytest.param(lambda note: note.write_text(json.dumps({"at": time.time() - 2 * canary.FIT_S})), id="yesterday"),
        pytest.param(lambda note: note.write_text(json.dumps({"at": time.time() + 3600})), id="a clock set back"),
    ],
)
def test_what_was_remembered_grows_old(
    used: Setup, remembered: Path, tried: list[str], age: Callable[[Path], object]
) -> None:
    canary.require_fit(used, pipeline.make_case)
    age(next(remembered.glob("*.json")))
    canary.require_fit(used, pipeline.make_case)
    assert len(tried) == 2


def test_another_machine_or_environment_is_tried_again(
    used: Setup, remembered: Path, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    canary.require_fit(used, pipeline.make_case)
    for change in ("PATH", "LD_LIBRARY_PATH"):
        monkeypatch.setenv(change, f"/elsewhere:{os.environ.get(change, '')}")
        canary.require_fit(used, pipeline.make_case)
    monkeypatch.setattr(canary.platform, "node", lambda: "another")
    canary.require_fit(used, pipeline.make_case)
    canary.require_fit(replace(used, checkpoint=replace(used.checkpoint, sha256="other")), pipeline.make_case)
    assert len(tried) == 5


def test_where_nothing_can_be_written_it_is_tried_each_time(
    used: Setup, tmp_path: Path, tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(canary, "_list_folders", lambda: (tmp_path / "file" / "fit",))
    for _ in range(2):
        canary.require_fit(used, pipeline.make_case)
    assert len(tried) == 2


def test_it_solves_nothing_for_students() -> None:
    """The kit holds it."""
    text = "\n".join(canary.CELLS)
    for word in ("requires_grad", "numel", "named_modules", "q_lin", "nn.Linear", "nn.Parameter", "alpha /"):
        assert word not in text
