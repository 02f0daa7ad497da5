"""A shell as notebooks have it."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from grader.student.watch import WATCH


@pytest.fixture(scope="package", autouse=True)
def keep_modules_out_of_garbage_collection() -> Iterator[None]:
    """IPython collects garbage whenever a shell is reset: what is loaded by now is not searched again each time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell in an empty folder, with nothing trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(WATCH, "trainings", [])
    monkeypatch.setattr(WATCH, "unseen", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not there"))
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    yield shell
    shell.reset()
    InteractiveShell.clear_instance()
