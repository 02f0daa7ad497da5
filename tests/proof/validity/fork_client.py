"""Evidence for cases, without a kernel for each: the host's side of `branches`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
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
NOTHING: Final[dict[str, Any]] = {"cells": [], "answered": {}}  # of a branch that did not come to its end


def execute_cases(base: Base, cases: Sequence[CorpusCase], setup: Setup) -> Iterator[tuple[CorpusCase, Path]]:
    """Execute all cases, and yield each when it ends with its evidence, which is gone when the next one is asked for.

    Raises GraderError when the grader is at fault.
    """
    if not hasattr(os, "fork"):
        raise GraderError("Validation branches processes, which Windows cannot do; run it on Linux or macOS.")
    by_id = {case.id: case for case in cases}
    with open_temporary_folder("a4-fork-") as name:
        folder = name.resolve()
        (folder / "evidence").mkdir()
        reference, drawn = build_submission("reference", base.cells.values()), challenges.draw(setup.seed)
        job = prepare(folder / "job", folder / "scratch", reference, replace(setup, threads=1), drawn)
        plan = Plan.load(str(job.folder / GRADING / "plan.json"))
        if plan.budget is not None:  # train and evaluate on less than profile `structure` does: on fewer tokens
            replace(plan, budget=replace(plan.budget, **FEW)).save(job.folder / GRADING / "plan.json")
        with _start_server(_write_task(folder, job, base, cases), job) as lines:
            for line in lines:
                case = by_id[line.removeprefix("grown ").strip()]
                yield case, _add_record(folder / case.id, case, setup)
                shutil.rmtree(folder / case.id, ignore_errors=True)  # before all these weights reach the disk


def build_submission(name: str, sources: Iterable[str]) -> Submission:
    """A submission with these cells, which was never a file."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    return Submission(name, Path(f"{name}.ipynb"), "0" * 64, notebook, notebook)


def _write_task(folder: Path, job: Job, base: Base, cases: Sequence[CorpusCase]) -> Path:
    task = {
        "cells": tuple(base.cells.values()),
        "bootstrap": job.bootstrap,
        "probes": job.probes,
        "folder": str(folder),
        "jobs": JOBS,
        "limit_s": BRANCH_LIMIT_S,
        "cases": [{"id": s.id, "cells": s.cells, "departs": s.departs, "gpu": names_gpu(s.cells)} for s in cases],
    }
    path = folder / "task.json"
    path.write_text(json.dumps(task), encoding="utf-8")
    return path


@contextmanager
def _start_server(task: Path, job: Job) -> Iterator[Iterator[str]]:
    """The lines that the running server says."""
    command = [sys.executable, "-P", str(SCRIPT), str(task)]
    home = {"HOME": str(task.parent), "PATH": os.environ.get("PATH", ""), EVIDENCE: str(task.parent / "evidence")}
    options: dict[str, Any] = {"cwd": job.folder, "env": {**home, **job.environ, **ONE_THREAD}, "text": True}
    errors = task.with_name("stderr.txt")
    with (
        errors.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, **options) as process,
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
    account = json.loads(ended.read_text(encoding="utf-8")) if ended.is_file() else NOTHING
    (evidence / RUN).write_text(_build_record(case, setup, account).model_dump_json(), encoding="utf-8")
    nbformat.write(build_submission(case.id, case.cells).notebook, evidence / SUBMITTED)
    return evidence


def _build_record(case: CorpusCase, setup: Setup, account: dict[str, Any]) -> RunRecord:
    cells, died = account["cells"], account is NOTHING
    wrong = {i: cell for i, cell in enumerate(cells) if cell["error"]}
    failed = tuple(FailedCell(index=i, error=cell["error"], message=cell["message"]) for i, cell in wrong.items())
    early = {i: cell["first_error"] for i, cell in enumerate(cells) if "first_error" in cell}
    status = RunStatus.KERNEL_DIED if died else RunStatus.STUDENT_ERROR if failed else RunStatus.OK
    return RunRecord(
        submission=SubmissionRef(name=case.id, sha256="0" * 64),
        conditions=build_conditions(setup),
        summary=RunSummary(status=status, wall_s=0, peak_memory_mib=0, failed_cells=failed),
        reason="the process died or took too long" if died else "",
        cells=tuple(
            CellRecord(
                index=i,
                source=source,
                duration_s=0,
                status="ok",
                traceback=cells[i]["traceback"] if i < len(cells) else "",
                first_error=early.get(i, ""),
            )
            for i, source in enumerate(case.cells)
        ),
        training_cells={training: i for i, cell in enumerate(cells) for training in cell["began"]},
        probes={f: ProbeOutcome.ANSWERED if ok else ProbeOutcome.FAILED for f, ok in account["answered"].items()},
        timings={},
        work_measured=True,
    )
