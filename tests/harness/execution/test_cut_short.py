"""A run that is cut short by ctrl-C or by a full disk: one sentence, no result, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from grader.paths import ROOT
from tests.harness import needs

PATIENCE_S = 300
UNSAFE = "--unsafe-no-sandbox"  # the namespace that the test makes leaves no room for those of a sandbox
MARK = "TEST_CUT_SHORT"  # in the environment of everything that the run starts


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Of a run whose processes can be told from others."""
    return {**os.environ, MARK: str(tmp_path), "TMPDIR": str(tmp_path / "tmp"), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook that takes its time."""
    (tmp_path / "tmp").mkdir()
    path = tmp_path / "work.ipynb"
    document = new_notebook(cells=[new_code_cell("x = 1"), new_code_cell("import time\ntime.sleep(600)")])
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def command(notebook: Path, results: Path) -> list[str]:
    return [sys.executable, "-m", "grader", "grade", str(notebook), "--profile", "structure", "--out", str(results)]


def started_here(tmp_path: Path) -> Iterator[psutil.Process]:
    """Yield the processes that carry the mark."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(tmp_path):
                yield process
        except psutil.Error:
            continue


@pytest.mark.parametrize(
    ("number", "to"),
    [(signal.SIGINT, os.killpg), (signal.SIGHUP, os.killpg), (signal.SIGTERM, os.kill)],
    ids=["ctrl-C", "a terminal that closes", "kill"],
)
def test_being_stopped_stops_everything(
    notebook: Path, environ: dict[str, str], tmp_path: Path, number: signal.Signals, to: Callable[[int, int], None]
) -> None:
    results, log = tmp_path / "results", tmp_path / "log.txt"
    listen = partial(signal.signal, number, signal.SIG_DFL)  # under `nohup`, tests ignore SIGHUP
    with log.open("wb") as file:
        options = {"cwd": ROOT, "env": environ, "stdout": file, "stderr": file, "start_new_session": True}
        run = subprocess.Popen(command(notebook, results), preexec_fn=listen, **options)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while "cell 2 of 2" not in log.read_text(encoding="utf-8"):
            assert run.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.1)
        to(run.pid, number)
        assert run.wait(PATIENCE_S) == 2
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    by = "" if number is signal.SIGINT else f" by {number.name}, which the system or another program sent"
    last = log.read_text(encoding="utf-8").splitlines()[-1]
    assert last == f"Stopped{by}. Nothing was recorded for this notebook."
    assert "Traceback" not in log.read_text(encoding="utf-8")
    psutil.wait_procs(list(started_here(tmp_path)), timeout=30)
    assert [" ".join(process.cmdline()) for process in started_here(tmp_path)] == []
    assert [path for path in results.rglob("*") if path.is_file() or path.name.startswith(".evidence-")] == []
    own = ("a4-", "k", "g", "pymp-")
    assert [path.name for path in (tmp_path / "tmp").iterdir() if path.name.startswith(own)] == []


@needs.programs("unshare")
def test_a_full_disk_is_not_the_students_fault(notebook: Path, environ: dict[str, str], tmp_path: Path) -> None:
    notebook.write_text(json.dumps(new_notebook(cells=[new_code_cell("x = 1")])), encoding="utf-8")
    results = tmp_path / "results"
    results.mkdir()
    mount = 'mount -t tmpfs -o size=1m tmpfs "$0" || exit 77; exec "$@"'
    inside = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, results]
    options = {"cwd": ROOT, "env": environ, "capture_output": True, "text": True, "timeout": PATIENCE_S}
    done = subprocess.run([*inside, *command(notebook, results), UNSAFE], check=False, **options)
    if done.returncode == 77:
        pytest.skip("needs the right to mount: run the tests as root, or allow user namespaces")
    text = done.stdout + done.stderr
    assert done.returncode == 2, text
    assert "free disk space and retry" in text.splitlines()[-1]
    assert "Traceback" not in text
