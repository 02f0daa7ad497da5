"""Judging alone, again and again; and, where there is a GPU, trainings as submitted side by side on it."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import torch

from bench.batches import write_notebook
from bench.outcome import Part, median_of
from grader.batch.bench import Bench
from grader.batch.digests import code_digest
from grader.batch.order import Order, Recipient, Task
from grader.execution.progress import Silent
from grader.model import Profile
from grader.project import REFERENCE, ROOT
from grader.reporting.files import write_reports

SIDE_BY_SIDE: Final = (1, 2, 4, 8)
SLOW_CELL_S: Final = 7200


def judged(rounds: int) -> dict[str, Any]:
    """Seconds of judging and of reports, as a batch does both: suite and oracle are loaded, weights are noted."""
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        folder = Path(name)
        order = Order(
            folder=folder,
            profile=Profile.STRUCTURE,
            seed=0,
            cell_s=600,
            run_s=600,
            threads=torch.get_num_threads(),
            code=code_digest(ROOT),
            parts={},
        )
        who = Recipient(id="solution", name="solution", file="solution.ipynb")
        with Bench(order) as bench:
            bench.execute(Task(notebook=REFERENCE, evidence="e", result="r", recipients=(who,)), folder, Silent())
            seen = [_once(bench, folder) for _ in range(rounds + 1)][1:]
    return {**median_of(seen), "rounds": rounds, "slowest_s": round(max(one["both_s"] for one in seen), 3)}


def _once(bench: Bench, folder: Path) -> dict[str, float]:
    began = time.perf_counter()
    found = bench.judge(folder)
    between = time.perf_counter()
    write_reports(found.result, found.details, folder)
    ended = time.perf_counter()
    return {"judging_s": between - began, "reports_s": ended - between, "both_s": ended - began}


def on_gpu() -> Part:
    """As submitted, 1 to 8 at a time on the first GPU: seconds of the batch, and per submission."""
    if not torch.cuda.is_available():
        return Part("gpu", skipped="No GPU is at hand.")
    found: dict[str, Any] = {"device": torch.cuda.get_device_name()}
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        for kernels in SIDE_BY_SIDE:
            found[str(kernels)] = _together(Path(name) / str(kernels), kernels)
    return Part("gpu", found)


def _together(folder: Path, kernels: int) -> dict[str, Any]:
    handed_in = folder / "handed-in"
    handed_in.mkdir(parents=True)
    for i in range(kernels):
        write_notebook(handed_in / f"student{i:03d}_{i}_{i}_solution.ipynb", i)
    command = [sys.executable, "-m", "grader", "batch", str(handed_in), "--profile", "full", "--quiet"]
    command += ["--gpus", "1", "--kernels-per-gpu", str(kernels), "--jobs", str(kernels), "--out", str(folder)]
    began = time.perf_counter()
    code = subprocess.run([*command, "--cell-limit", str(SLOW_CELL_S)], cwd=ROOT, check=False).returncode
    wall_s = time.perf_counter() - began
    return {"wall_s": round(wall_s, 1), "per_submission_s": round(wall_s / kernels, 1), "exit_code": code}
