"""Throughput of a class: the batch command itself, with one worker and with two, and the memory of all of it."""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil

from grader.execution.memory import MemoryWatch
from grader.intake.notebook import read_submission
from grader.project import REFERENCE, ROOT


@dataclass(frozen=True)
class Staff:
    """So many workers, each with so many cores to compute on."""

    workers: int
    cores: int

    def __str__(self) -> str:
        """As a row's name."""
        return f"{self.workers} with {self.cores}"


ONE, BOTH, TWO = Staff(1, 1), Staff(1, 2), Staff(2, 1)


def measured(size: int) -> dict[str, Any]:
    """Seconds and memory by the number of workers and cores of each."""
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        handed_in = Path(name) / "handed-in"
        handed_in.mkdir()
        for i in range(size):
            write_notebook(handed_in / f"student{i:03d}_{i}_{i}_solution.ipynb", i)
        return {str(staff): run(handed_in, Path(name), staff, size) for staff in (ONE, TWO, BOTH)}


def write_notebook(path: Path, mark: int) -> None:
    """The reference with a comment of its own: equal notebooks would be executed once."""
    notebook = read_submission(REFERENCE).notebook
    notebook.cells[-1].source += f"\n# copy {mark}"
    nbformat.write(notebook, path)


def run(handed_in: Path, out: Path, staff: Staff, size: int) -> dict[str, float]:
    """One batch from an empty store to its dashboard."""
    command = [sys.executable, "-m", "grader", "batch", str(handed_in), "--profile", "structure", "--quiet"]
    command += ["--jobs", str(staff.workers), "--threads", str(staff.cores), "--out", str(out), "--name", str(staff)]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    with SparseWatch(psutil.Process(process.pid)) as memory:
        code = process.wait()
    wall_s = time.perf_counter() - began
    if code:
        raise RuntimeError(f"The batch with {staff.workers} workers ended with exit code {code}.")
    return {
        "wall_s": round(wall_s, 2),
        "per_submission_s": round(wall_s / size, 2),
        "peak_memory_mib": round(memory.peak_mib),
    }


class SparseWatch(MemoryWatch):
    """Counts shared pages of a dozen processes, which takes the time of a core that the batch needs: seldom."""

    every_s = 5.0
