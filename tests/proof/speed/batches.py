"""Throughput of a class: the batch command itself, with one worker and with two, and judging alone, as it does it."""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import nbformat
import psutil
import torch

from grader.batch.digests import digest_execution
from grader.batch.messages import BatchConfig, Recipient, Task
from grader.batch.worker_tools import WorkerTools
from grader.execution.memory import MemorySampler
from grader.execution.progress import SilentListener
from grader.intake.notebook import read_submission
from grader.model import Profile
from grader.paths import REFERENCE, ROOT
from grader.reporting.files import write_reports
from tests.proof.speed.outcome import compute_medians, measure_time

ENDING_S: Final = 60


class WorkerCount(NamedTuple):
    """So many workers, each with so many cores to compute on."""

    workers: int
    cores: int

    def __str__(self) -> str:
        """As a row's name."""
        return f"{self.workers} with {self.cores}"


ONE, BOTH, TWO = WorkerCount(1, 1), WorkerCount(1, 2), WorkerCount(2, 1)


def measure(size: int, rounds: int) -> dict[str, Any]:
    """Seconds and memory by the number of workers and cores of each. What is compared is run in turns."""
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        handed_in = write_class(Path(name) / "handed-in", size)
        pairs = [[run(handed_in, Path(name), staff, f"{staff}, {i}") for staff in (ONE, TWO)] for i in range(rounds)]
        both = run(handed_in, Path(name), BOTH, str(BOTH))
    ones, twos = zip(*pairs, strict=True)
    return {
        "size": size,
        "gains": [round(one["wall_s"] / two["wall_s"], 3) for one, two in pairs],
        "staff": {str(staff): _summarise(seen, size) for staff, seen in ((ONE, ones), (TWO, twos), (BOTH, [both]))},
    }


def _summarise(seen: Sequence[dict[str, float]], size: int) -> dict[str, float]:
    """Of several batches alike: median seconds, and the most memory that any of them took."""
    wall_s = statistics.median(one["wall_s"] for one in seen)
    return {
        "runs": len(seen),
        "wall_s": round(wall_s, 2),
        "per_submission_s": round(wall_s / size, 2),
        "peak_memory_mib": round(max(one["peak_memory_mib"] for one in seen)),
    }


def write_class(folder: Path, size: int, original: Path = REFERENCE) -> Path:
    """A notebook so many times, each with a comment of its own: equal notebooks would be executed once."""
    folder.mkdir(parents=True)
    for i in range(size):
        notebook = read_submission(original).notebook
        notebook.cells[-1].source += f"\n# copy {i}"
        nbformat.write(notebook, folder / f"student{i:03d}_{i}_{i}_solution.ipynb")
    return folder


def run(handed_in: Path, out: Path, staff: WorkerCount, name: str) -> dict[str, float]:
    """One batch from an empty store to its dashboard. Raises RuntimeError when it fails."""
    options = ["--profile", "structure", "--jobs", str(staff.workers), "--threads", str(staff.cores), "--name", name]
    wall_s, peak_mib = measure_time(lambda: carry_out([str(handed_in), *options, "--out", str(out)]))
    return {"wall_s": wall_s, "peak_memory_mib": peak_mib}


def carry_out(arguments: Sequence[str]) -> float:
    """Run the batch command; the most memory, in MiB, that it and its children took. Raises RuntimeError."""
    command = [sys.executable, "-m", "grader", "batch", *arguments, "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        with SparseMemorySampler(psutil.Process(process.pid)) as memory:
            code = process.wait()
    finally:  # it ends when we do, whatever ends us
        if process.poll() is None:
            process.terminate()
            process.wait(ENDING_S)
    if code:
        raise RuntimeError(f"The batch ended with exit code {code}: {' '.join(arguments)}.")
    return memory.peak_mib


class SparseMemorySampler(MemorySampler):
    """Counts shared pages of a dozen processes, which takes the time of a core that the batch needs: seldom."""

    every_s = 5.0


def measure_judging(rounds: int) -> dict[str, Any]:
    """Seconds of judging stored evidence and of reports, as a batch does both: suite, oracle and weights are known."""
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        folder = Path(name)
        limits: dict[str, Any] = {"cell_s": 600, "run_s": 600, "threads": torch.get_num_threads()}
        code = digest_execution(ROOT)
        order = BatchConfig(folder=folder, profile=Profile.STRUCTURE, seed=0, **limits, code=code, parts={})
        who = Recipient(id="solution", file="solution.ipynb")
        task = Task(notebook=REFERENCE, evidence="e", result="r", recipients=(who,))
        with WorkerTools(order) as bench:
            bench.execute(task, folder, SilentListener())
            seen = [_judge_once(bench, folder) for _ in range(rounds + 1)][1:]
    return {**compute_medians(seen), "rounds": rounds, "slowest_s": round(max(one["both_s"] for one in seen), 3)}


def _judge_once(bench: WorkerTools, folder: Path) -> dict[str, float]:
    judging_s, found = measure_time(lambda: bench.judge(folder))
    reports_s, _ = measure_time(lambda: write_reports(found.result, found.details, folder))
    return {"judging_s": judging_s, "reports_s": reports_s, "both_s": judging_s + reports_s}
