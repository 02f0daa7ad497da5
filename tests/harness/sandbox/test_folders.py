"""Folders of runs that were killed go with the next run; folders of anybody else stay."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from grader.paths import ROOT
from grader.sandbox.folders import HELD, open_temporary_folder, release

HOLDER = """
import sys, time
from pathlib import Path
from grader.sandbox.folders import open_temporary_folder

with open_temporary_folder("a4-", Path(sys.argv[1])) as folder:
    (folder / "job").mkdir()
    print(folder, flush=True)
    time.sleep(600)
"""


def sweep(place: Path) -> None:
    with open_temporary_folder("a4-", place):
        pass


def leave_folder(place: Path) -> Path:
    """Leave the folder of a run that is killed; while it lives, nobody removes it."""
    command = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        sweep(place)
        assert (folder / "job").is_dir()
        holder.kill()
    return folder


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    assert leave_folder(tmp_path).exists()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_anybodys_stays(tmp_path: Path) -> None:
    (tmp_path / "a4-by-hand").mkdir()
    (tmp_path / "a4-gpu-0-seat-1").touch()
    (tmp_path / "a4-link").symlink_to(leave_folder(tmp_path / "a4-by-hand"))
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a4-by-hand", "a4-gpu-0-seat-1", "a4-link"]
    assert (tmp_path / "a4-link" / "job").is_dir()


def test_what_another_machine_or_user_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = leave_folder(tmp_path)
    for module, name, value in ((socket, "gethostname", "another"), (os, "getuid", folder.stat().st_uid + 1)):
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(module, name, lambda value=value: value)
            sweep(tmp_path)
    assert folder.exists()


def test_what_is_let_go_and_renamed_is_kept(tmp_path: Path) -> None:
    with open_temporary_folder("a4-", tmp_path) as folder:
        (folder / "kept").touch()
        assert (folder / HELD).exists()
        release(folder)
        folder.rename(tmp_path / "evidence")
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / "evidence").iterdir()] == ["kept"]
