"""Throughput of a class: the batch command itself, with one worker and with two, and the memory of all of it."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import nbformat
import psutil

from bench.stages import REFERENCE
from grader.execution.memory import MemoryWatch
from grader.intake.notebook import read_submission

ROOT: Final = Path(__file__).resolve().parents[1]


def measured(size: int) -> dict[str, Any]:
    """Seconds and memory by the number of workers."""
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        handed_in = Path(name) / "handed-in"
        handed_in.mkdir()
        for i in range(size):
            write_notebook(handed_in / f"student{i:03d}_{i}_{i}_solution.ipynb", i)
        return {str(jobs): run(handed_in, Path(name), jobs, size) for jobs in (1, 2)}


def write_notebook(path: Path, mark: int) -> None:
    """The reference with a comment of its own: equal notebooks would be executed once."""
    notebook = read_submission(REFERENCE).notebook
    notebook.cells[-1].source += f"\n# copy {mark}"
    nbformat.write(notebook, path)


def run(handed_in: Path, out: Path, jobs: int, size: int) -> dict[str, float]:
    """One batch from an empty store to its dashboard."""
    command = [sys.executable, "-m", "grader", "batch", str(handed_in), "--profile", "structure", "--quiet"]
    command += ["--jobs", str(jobs), "--out", str(out), "--name", f"jobs-{jobs}"]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    with MemoryWatch(psutil.Process(process.pid)) as memory:
        code = process.wait()
    wall_s = time.perf_counter() - began
    if code:
        raise RuntimeError(f"The batch with {jobs} workers ended with exit code {code}.")
    return {
        "wall_s": round(wall_s, 2),
        "per_submission_s": round(wall_s / size, 2),
        "peak_memory_mib": round(memory.peak_mib),
    }
