"""From the kernel's folder to the evidence folder: plain files within bounds, and the host's own record beside them.

Only what the witness announced while it ran is taken: a file that the notebook wrote or changed itself has a digest
that nobody announced. To forge evidence, writing files is then not enough: the witness has to be taken over.
"""

import copy
import shutil
from pathlib import Path

import nbformat

from grader.assets.cache import hash_file
from grader.execution.broker import EXECUTED, Report, write_executed
from grader.execution.gpu_pool import is_out_of_memory
from grader.execution.record import RunConditions, RunRecord
from grader.intake.notebook import Submission
from grader.model import CellRecord, FailedCell, RunStatus, RunSummary, SubmissionRef

MAX_FILES = 64
MAX_MESSAGE = 500
ANSWERS = ("*.json", "*.safetensors")
RUN, SUBMITTED = "run.json", "submitted.ipynb"
ANNOUNCED = "{} announcements that the grader had not asked for"
FOREIGN = "not what the grader's own code wrote"
NO_GPU_MEMORY = "the memory of the GPU was used up"
EXCESS = "the notebook's process wrote more files of evidence than a run writes"
RAW = "raw"  # the folder that the kernel writes to, until it is sorted


def complete(report: Report, submission: Submission, folder: Path) -> Report:
    """Put the kernel's answers beside the submitted notebook, drop its other files, and return the report on both."""
    raw = folder / RAW
    found = sorted(path for pattern in ANSWERS for path in raw.glob(pattern) if path.is_file())
    foreign = [path for path in found if path.name == RUN or (path.name, hash_file(path)) not in report.written]
    report = report.model_copy(update={"refused": (*report.refused, *(f"{p.name}: {FOREIGN}" for p in foreign[:50]))})
    if report.foreign_events:
        report = report.model_copy(update={"refused": (*report.refused, ANNOUNCED.format(report.foreign_events))})
    answers = [path for path in found if path not in foreign]
    if len(answers) > MAX_FILES:
        report = report.model_copy(update={"status": RunStatus.PROTOCOL_VIOLATION, "reason": EXCESS})
        answers = []
    for path in answers:
        path.replace(folder / path.name)
    shutil.rmtree(raw)
    nbformat.write(submission.original, folder / SUBMITTED)
    if not (folder / EXECUTED).is_file():  # the broker was lost: the cells alone
        write_executed(copy.deepcopy(submission.notebook), folder)
    return report


def build_record(
    submission: Submission, conditions: RunConditions, report: Report, wall_s: float, peak_mib: float
) -> RunRecord:
    """Return the host's account of a run that has ended. `peak_mib`: of the grader and the kernel together."""
    summary = RunSummary(
        status=report.status,
        wall_s=round(wall_s, 2),
        peak_memory_mib=round(max(peak_mib, report.peak_memory_mib)),
        failed_cells=tuple(_describe_failure(cell) for cell in report.cells if cell.status in ("error", "timeout")),
    )
    return RunRecord(
        submission=SubmissionRef(name=submission.name, sha256=submission.sha256),
        conditions=conditions,
        summary=summary,
        reason=report.reason or (NO_GPU_MEMORY if is_out_of_memory(summary.failed_cells) else ""),
        cells=(*report.cells, *_list_unrun_cells(submission, report)),
        training_cells=report.training_cells,
        probes=report.probes,
        timings={name: round(seconds, 3) for name, seconds in report.timings.items()},
        refused=report.refused,
        repairs=submission.repairs,
        work_measured=True,
        trainings=report.trainings,
        suspicions=report.suspicions,
        faults=report.faults,
    )


def _describe_failure(cell: CellRecord) -> FailedCell:
    if cell.status == "timeout":
        return FailedCell(index=cell.index, error="TimeLimit", message=f"stopped after {cell.duration_s:.0f} s")
    name, _, message = cell.error.partition(": ")
    return FailedCell(index=cell.index, error=name[:100] or "Error", message=message[:MAX_MESSAGE])


def _list_unrun_cells(submission: Submission, report: Report) -> list[CellRecord]:
    ran = {cell.index for cell in report.cells}
    return [
        CellRecord(index=index, source=cell.source, duration_s=0, status="not_run")
        for index, cell in enumerate(submission.notebook.cells)
        if cell.cell_type == "code" and cell.source.strip() and index not in ran
    ]
