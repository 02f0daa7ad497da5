"""A class from beginning to end: made up, graded, killed in the middle, gone on with, handed out."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from grader.batch import history
from grader.errors import GraderError
from tests.proof.demo import classroom

NAME: Final = "demo-class"
KILL_AFTER: Final = 4  # graded submissions
POLICY: Final = '# Written by `make demo-class`.\n[late]\nunit = "percent"\nflat = 10\n'


def demonstrate(size: int, out: Path, jobs: int | None, console: Console) -> int:
    """Do it all, in `out`/demo-class. Returns the exit code. Raises GraderError."""
    folder = out / NAME
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier demonstration
    submissions, gradebook = classroom.write(size, folder / "handed-in")
    policy = folder / "handed-in" / "policy.toml"
    policy.write_text(POLICY, encoding="utf-8")
    command = [
        *(sys.executable, "-m", "grader", "batch", str(submissions), "--profile", "structure", "--name", NAME),
        *("--out", str(out), "--gradebook", str(gradebook), "--cell-limit", "120", "--policy", str(policy)),
        *(("--jobs", str(jobs)) if jobs else ()),
    ]
    console.print(f"A class of {size} was made up: {submissions}", soft_wrap=True)
    if kill_midway(command, folder):
        console.print("The grading was killed (SIGKILL). Once more, with the same command:")
    code = subprocess.run(command, check=False).returncode
    for what, name in {
        "dashboard": "index.html",
        "gradebook to import": "gradebook.csv",
        "feedback for Canvas": "feedback.zip",
        "results for Gradescope": "gradescope",
        "all checks": "checks.csv",
        "a report for each upload": "submissions",
    }.items():
        if (folder / name).exists():
            console.print(f"  {what}: {folder / name}", soft_wrap=True)
    return code


def kill_midway(command: list[str], folder: Path) -> bool:
    """Start, wait until some are graded, kill. False when it had ended before."""
    before = count_graded(folder)
    environ = {**os.environ, "PYTHONWARNINGS": "ignore::UserWarning:multiprocessing.resource_tracker"}  # it is killed
    process = subprocess.Popen(command, start_new_session=True, env=environ)
    try:
        while process.poll() is None and count_graded(folder) < before + KILL_AFTER:
            time.sleep(0.2)
    finally:
        ended = process.poll() is not None
        if not ended:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode == 2 and not count_graded(folder):
        raise GraderError("The class could not be graded; see above.")
    return not ended


def count_graded(folder: Path) -> int:
    """The number of uploads that have a result."""
    return sum(1 for _ in (folder / "submissions").glob(f"*/{history.NAME}"))
