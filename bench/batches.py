"""Throughput of a class: the batch command itself, with one worker and with two, and the memory of all of it."""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

import nbformat
import psutil

from bench.stages import REFERENCE
from grader.intake.notebook import read_submission

ROOT: Final = Path(__file__).resolve().parents[1]
LOOK_S: Final = 1.0
MIB: Final = 2**20


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
    with MemoryOf(process.pid) as memory:
        code = process.wait()
    wall_s = time.perf_counter() - began
    if code:
        raise RuntimeError(f"The batch with {jobs} workers ended with exit code {code}.")
    return {
        "wall_s": round(wall_s, 2),
        "per_submission_s": round(wall_s / size, 2),
        "peak_memory_mib": round(memory.peak_mib),
    }


class MemoryOf:
    """The largest memory of a process and all below it; shared pages count once. Looks every second."""

    def __init__(self, pid: int) -> None:
        """Starts looking when entered."""
        self.process, self.peak_mib, self._stop = psutil.Process(pid), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryOf":
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_S):
            self.peak_mib = max(self.peak_mib, _used_bytes(self.process) / MIB)


def _used_bytes(process: psutil.Process) -> int:
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_share_bytes, family))


def _share_bytes(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.uss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
