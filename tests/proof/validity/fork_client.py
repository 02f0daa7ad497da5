"""Evidence for cases, without a kernel for each: the host's side of `branches`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from grader import challenges
from grader.errors import GraderError
from grader.execution.collection import RUN, SUBMITTED
from grader.execution.job import GRADING, Job, Setup, names_gpu, prepare
from grader.execution.record import ProbeOutcome, RunRecord
from grader.execution.run import build_conditions
from grader.intake.notebook import Submission
from grader.model import CellRecord, FailedCell, RunStatus, RunSummary, SubmissionRef
from grader.protocol.plan import EVIDENCE, Plan
from grader.sandbox.folders import open_temporary_folder
from tests.proof.validity.corpus import Base, CorpusCase

SCRIPT: Final = Path(__file__).with_name("fork_server.py")
JOBS: Final = 2
BRANCH_LIMIT_S: Final = 300  # for a branch that hangs; an ordinary one takes seconds
FEW: Final[dict[str, Any]] = {"batch_size": 2, "max_tokens": 8, "train_rows": 4, "eval_rows": 2}
ERROR_TAIL: Final = 2_000  # characters
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # threads do not survive a fork


@dataclass(frozen=True)
class ExecutedCase:
    """One case that has been executed."""

    case: CorpusCase
    folder: Path  # its evidence, gone when the next one is asked for


def execute_cases(base: Base, cases: Sequence[CorpusCase], setup: Setup) -> Iterator[ExecutedCase]:
    """Execute all cases, in the order in which they end. Raises GraderError when the grader is at fault."""
    if not hasattr(os, "fork"):
        raise GraderError("Validation branches processes, which Windows cannot do; run it on Linux or macOS.")
    by_id = {case.id: case for case in cases}
    with open_temporary_folder("a4-fork-") as name:
        folder = name.resolve()
        drawn = challenges.draw(setup.seed)
        (folder / "evidence").mkdir()
        job = prepare(folder / "job", folder / "scratch", _submission(base), replace(setup, threads=1), drawn)
        _shorten(job)
        task = _task(folder, job, base, cases)
        with _start_server(task, job) as lines:
            for line in lines:
                case = by_id[line.removeprefix("grown ").strip()]
                yield ExecutedCase(case, _add_record(folder / case.id, case, setup))
                shutil.rmtree(folder / case.id, ignore_errors=True)  # before all these weights reach the disk


def _shorten(job: Job) -> None:
    """Train and evaluate on less than profile `structure` does: the same two steps, on fewer tokens."""
    path = job.folder / GRADING / "plan.json"
    plan = Plan.load(str(path))
    if plan.budget is not None:
        replace(plan, budget=replace(plan.budget, **FEW)).save(path)


def _submission(base: Base) -> Submission:
    cells = [new_code_cell(source) for source in base.cells.values()]
    notebook = new_notebook(cells=cells)
    return Submission("reference", Path("solution.ipynb"), "0" * 64, notebook, notebook)


def _task(folder: Path, job: Job, base: Base, cases: Sequence[CorpusCase]) -> Path:
    described = [
        {
            "id": s.id,
            "cells": s.cells,
            "departs": s.departs,
            "folder": str(folder / s.id),
            "gpu_named": names_gpu(s.cells),
        }
        for s in cases
    ]
    task = {
        "cells": tuple(base.cells.values()),
        "bootstrap": job.bootstrap,
        "probes": job.probes,
        "evidence": str(folder / "evidence"),
        "jobs": JOBS,
        "limit_s": BRANCH_LIMIT_S,
        "cases": described,
    }
    path = folder / "task.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    return path


@contextmanager
def _start_server(task: Path, job: Job) -> Iterator[Iterator[str]]:
    """The lines that a running nursery says."""
    command = [sys.executable, "-P", str(SCRIPT), str(task)]
    home = {"HOME": str(task.parent), "PATH": os.environ.get("PATH", ""), EVIDENCE: str(task.parent / "evidence")}
    environ = {**home, **job.environ, **ONE_THREAD}
    errors = task.with_name("stderr.txt")
    with (
        errors.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(
            command, cwd=job.folder, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield iter(process.stdout)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said = errors.read_text(encoding="utf-8", errors="replace")[-ERROR_TAIL:]
        raise GraderError(f"The process that runs the corpus ended with {process.returncode}: {said}")


def _add_record(folder: Path, case: CorpusCase, setup: Setup) -> Path:
    """Put the host's own record beside the evidence, as after an ordinary execution."""
    evidence = folder / "evidence"
    evidence.mkdir(parents=True, exist_ok=True)
    ended = folder / "ended.json"
    account = json.loads(ended.read_text(encoding="utf-8")) if ended.is_file() else None
    record = _record(case, setup, account)
    (evidence / RUN).write_text(record.model_dump_json(), encoding="utf-8")
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in case.cells]), evidence / SUBMITTED)
    return evidence


def _record(case: CorpusCase, setup: Setup, account: dict[str, Any] | None) -> RunRecord:
    cells = account["cells"] if account else []
    failed = tuple(
        FailedCell(index=i, error=cell["error"], message=cell["message"])
        for i, cell in enumerate(cells)
        if cell["error"]
    )
    early = {i: cell["first_error"] for i, cell in enumerate(cells) if "first_error" in cell}
    status = RunStatus.KERNEL_DIED if account is None else RunStatus.STUDENT_ERROR if failed else RunStatus.OK
    answered = account["answered"] if account else {}
    return RunRecord(
        submission=SubmissionRef(name=case.id, sha256="0" * 64),
        conditions=build_conditions(setup),
        summary=RunSummary(status=status, wall_s=0, peak_memory_mib=0, failed_cells=failed),
        reason="" if account else "the process died or took too long",
        cells=tuple(
            CellRecord(index=i, source=source, duration_s=0, status="ok", first_error=early.get(i, ""))
            for i, source in enumerate(case.cells)
        ),
        training_cells={},
        probes={f: ProbeOutcome.ANSWERED if ok else ProbeOutcome.FAILED for f, ok in answered.items()},
        timings={},
    )
