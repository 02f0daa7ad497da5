"""`./autograder`: from any folder, by a link, and before anything is set up."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from grader.paths import ROOT
from tests.harness import needs

pytestmark = [
    needs.programs("make"),
    pytest.mark.skipif(os.name == "nt", reason="a script of sh: on Windows it runs in Git Bash"),
]
FAKE_PYTHON = '#!/bin/sh\nprintf "%s\\n" "path=$PYTHONPATH" "$PWD" "$@"\n'
MAKEFILE = "setup:\n\t@echo made; mkdir -p .venv/bin; cp python .venv/bin/python\n"


def run(program: Path, *arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environ}
    return subprocess.run([program, *arguments], cwd=cwd, env=variables, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the launcher, where `make setup` makes an environment whose Python says what it was called with."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    shutil.copy(ROOT / "autograder", folder)
    (folder / "Makefile").write_text(MAKEFILE, encoding="utf-8")
    (folder / "python").write_text(FAKE_PYTHON, encoding="utf-8")
    (folder / "python").chmod(0o755)
    return folder


@pytest.mark.parametrize("link", [False, True], ids=["itself", "by a link"])
def test_sets_up_and_passes_on_what_is_given(checkout: Path, tmp_path: Path, link: bool) -> None:
    program = checkout / "autograder"
    if link:
        program = tmp_path / "link"
        program.symlink_to(Path("a checkout") / "autograder")
    done = run(program, "check", "my notebook.ipynb", cwd=tmp_path, PYTHONPATH="/elsewhere")
    assert (done.returncode, done.stderr) == (0, "made\n")  # standard output is the grader's
    said = done.stdout.splitlines()
    assert (said[:2], said[-3:]) == (["path=", str(tmp_path)], [str(checkout), "check", "my notebook.ipynb"])


def test_a_set_up_that_fails_is_no_fault_of_the_notebook(checkout: Path) -> None:
    (checkout / "Makefile").write_text("setup:\n\t@echo no network >&2; false\n", encoding="utf-8")
    done = run(checkout / "autograder", "doctor", cwd=checkout)
    assert (done.returncode, "no network" in done.stderr) == (2, True)


def test_paths_are_those_of_the_folder_it_is_called_in(tmp_path: Path) -> None:
    done = run(ROOT / "autograder", "check", "nothing.ipynb", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "'nothing.ipynb' does not exist; check the path.\n")
