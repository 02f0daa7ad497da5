"""What `make` says before it installs anything, and what of a person's settings it leaves out."""

import os
import subprocess
from pathlib import Path

import pytest

from grader.paths import ROOT
from tests.harness import needs

pytestmark = needs.programs("make")
FAKE_UNAME = '#!/bin/sh\n[ "$1" = -m ] && echo {machine} || echo {system}\n'


def make(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run make without running recipes."""
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False)


@pytest.fixture
def elsewhere(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """An environment in which `uname` answers as on another machine."""
    system, machine = request.param
    program = tmp_path / "uname"
    program.write_text(FAKE_UNAME.format(system=system, machine=machine), encoding="ascii")
    program.chmod(0o755)
    return {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}


MAC, INTEL_MAC, LINUX = ("Darwin", "arm64"), ("Darwin", "x86_64"), ("Linux", "x86_64")


@pytest.mark.parametrize(
    ("elsewhere", "target", "words"),
    [
        pytest.param(MAC, ["grade", "SUBMISSION=x.ipynb"], "graded on Linux", id="grade on a Mac"),
        pytest.param(MAC, ["batch", "SUBMISSIONS=x.zip"], "graded on Linux", id="batch on a Mac"),
        pytest.param(INTEL_MAC, ["check", "NOTEBOOK=README.md"], "no build for Macs with Intel", id="check, Intel"),
        pytest.param(INTEL_MAC, ["setup"], "no build for Macs with Intel", id="setup, Intel"),
    ],
    indirect=["elsewhere"],
)
def test_what_cannot_work_is_said_before_the_set_up(elsewhere: dict[str, str], target: list[str], words: str) -> None:
    done = make(*target, **elsewhere)
    assert done.returncode == 2
    assert words in done.stderr
    assert "pip" not in done.stdout


@pytest.mark.parametrize(
    ("elsewhere", "target"),
    [
        pytest.param(MAC, ["check", "NOTEBOOK=README.md"], id="check on a Mac"),
        pytest.param(INTEL_MAC, ["help"], id="help, Intel"),
        pytest.param(INTEL_MAC, ["clean"], id="clean, Intel"),
        pytest.param(LINUX, ["grade", "SUBMISSION=x.ipynb"], id="grade on Linux"),
    ],
    indirect=["elsewhere"],
)
def test_what_works_is_not_refused(elsewhere: dict[str, str], target: list[str]) -> None:
    done = make(*target, **elsewhere)
    assert done.returncode == 0, done.stderr


def test_windows_is_told_too() -> None:
    done = make("grade", "SUBMISSION=x.ipynb", OS="Windows_NT")
    assert done.returncode == 2
    assert "this is Windows" in done.stderr


def test_settings_of_another_python_do_not_arrive(tmp_path: Path) -> None:
    """Recipes see none of them; a recipe of our own makefile says so."""
    probe = tmp_path / "probe.mk"
    probe.write_text(f"include {ROOT}/Makefile\nprobe:\n\t@env\n", encoding="utf-8")
    strange = {"PYTHONPATH": "/a", "PYTHONHOME": "/b", "PYTHONSAFEPATH": "1", "PIP_USER": "1", "PIP_TARGET": "/c"}
    done = subprocess.run(
        ["make", "-f", str(probe), "probe"], env={**os.environ, **strange}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not set(strange) & {line.partition("=")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("ready", [pytest.param(True, id="an environment"), pytest.param(False, id="none")])
@pytest.mark.parametrize("works", [pytest.param(True, id="that works"), pytest.param(False, id="whose Python is gone")])
def test_the_environment_is_made_when_there_is_none_that_works(tmp_path: Path, ready: bool, works: bool) -> None:
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (tmp_path / "requirements.lock").touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to("/bin/true" if works else "/nowhere/python3")
    if ready:
        (tmp_path / ".venv" / "ready").touch()
    done = subprocess.run(["make", "--dry-run", "doctor"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("requirements.lock" in done.stdout) is not (ready and works)


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        pytest.param(0, 0, id="all passed"),
        pytest.param(1, 0, id="what is wrong with the notebook is no error of make"),
        pytest.param(2, 2, id="the grader's fault is one"),
    ],
)
@pytest.mark.parametrize("name", ["x.ipynb", "Ann's $x [1].ipynb"])
def test_the_end_of_a_check(tmp_path: Path, code: int, ends: int, name: str) -> None:
    for file, text in (("Makefile", (ROOT / "Makefile").read_text("utf-8")), ("requirements.lock", ""), (name, "")):
        (tmp_path / file).write_text(text, encoding="utf-8")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\n[ "$1" = -I ] && exit\nprintf "%s\\n" "$4"\nexit {code}\n', encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / ".venv" / "ready").touch()
    command = ["make", "--no-print-directory", "check", f"NOTEBOOK={name}"]  # make test is a make around this one
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (ends, f"{name}\n")
    assert ("Error" in done.stderr) is (ends > 0)


def test_a_missing_notebook_is_named_before_anything_is_installed() -> None:
    done = make("check", "NOTEBOOK=no such file.ipynb")
    assert done.returncode == 2
    assert "There is no file no such file.ipynb" in done.stderr
    assert done.stdout == ""
