"""Judging alone, again and again, of evidence that is stored, as a batch does it."""

import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from grader.batch.digests import digest_execution
from grader.batch.messages import BatchConfig, Recipient, Task
from grader.batch.worker_tools import WorkerTools
from grader.execution.progress import SilentListener
from grader.model import Profile
from grader.paths import REFERENCE, ROOT
from grader.reporting.files import write_reports
from tests.proof.speed.outcome import compute_medians


def measure(rounds: int) -> dict[str, Any]:
    """Seconds of judging and of reports, as a batch does both: suite and oracle are loaded, weights are noted."""
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        folder = Path(name)
        order = BatchConfig(
            folder=folder,
            profile=Profile.STRUCTURE,
            seed=0,
            cell_s=600,
            run_s=600,
            threads=torch.get_num_threads(),
            code=digest_execution(ROOT),
            parts={},
        )
        who = Recipient(id="solution", file="solution.ipynb")
        with WorkerTools(order) as bench:
            bench.execute(
                Task(notebook=REFERENCE, evidence="e", result="r", recipients=(who,)), folder, SilentListener()
            )
            seen = [_judge_once(bench, folder) for _ in range(rounds + 1)][1:]
    return {**compute_medians(seen), "rounds": rounds, "slowest_s": round(max(one["both_s"] for one in seen), 3)}


def _judge_once(bench: WorkerTools, folder: Path) -> dict[str, float]:
    began = time.perf_counter()
    found = bench.judge(folder)
    between = time.perf_counter()
    write_reports(found.result, found.details, folder)
    ended = time.perf_counter()
    return {"judging_s": between - began, "reports_s": ended - between, "both_s": ended - began}
