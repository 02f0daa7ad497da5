"""From the kernel's folder to the evidence folder: plain files within bounds, and the host's own record beside them."""

import shutil
from pathlib import Path

import nbformat

from grader.errors import GraderError
from grader.execution.driver import Driver
from grader.execution.record import Conditions, RunRecord
from grader.intake.notebook import Submission
from grader.model import CellRecord, FailedCell, RunStatus, RunSummary, SubmissionRef

MAX_BYTES = 8 * 2**30  # 24 trainings of all parameters in float32 are 6.4 GB
MAX_FILES = 64
MAX_MESSAGE = 500
ANSWERS = ("*.json", "*.safetensors")
RUN, SUBMITTED, EXECUTED = "run.json", "submitted.ipynb", "executed.ipynb"


def collect(source: Path, target: Path) -> str:
    """Move what the kernel wrote, as far as it is plain files within the bounds.

    Returns one sentence when it is more, or not in the folder it belongs in, and an empty one otherwise. `source` is
    an absolute path without links in it.
    """
    if source.resolve() != source or not source.is_dir():  # a link would lead this process out of the sandbox
        return "the folder for evidence was replaced"
    found = sorted(path for pattern in ANSWERS for path in source.glob(pattern) if _is_plain(path))
    if len(found) > MAX_FILES or sum(path.stat().st_size for path in found) > MAX_BYTES:
        return "more evidence was written than an honest run writes"
    for path in found:
        shutil.move(path, target / path.name)
    return ""


def _is_plain(path: Path) -> bool:
    return path.name != RUN and not path.is_symlink() and path.is_file()


def save(record: RunRecord, submission: Submission, executed: nbformat.NotebookNode, target: Path) -> None:
    """Write the host's record, the notebook as submitted (with its claims) and as executed."""
    nbformat.write(submission.original, target / SUBMITTED)
    nbformat.write(executed, target / EXECUTED)
    (target / RUN).write_text(record.model_dump_json(indent=1), encoding="utf-8")


def no_room(target: Path, error: OSError) -> GraderError:
    """What to say when evidence cannot be stored."""
    return GraderError(f"Cannot store the evidence in {target} ({error.strerror or error}); free disk space and retry.")


def record(
    submission: Submission,
    conditions: Conditions,
    driver: Driver,
    status: RunStatus,
    reason: str,
    wall_s: float,
    peak_mib: float,
) -> RunRecord:
    """The host's account of a run that has ended."""
    summary = RunSummary(
        status=status,
        wall_s=round(wall_s, 2),
        peak_memory_mib=round(peak_mib),
        failed_cells=tuple(_failed_cells(driver)),
    )
    return RunRecord(
        submission=SubmissionRef(name=submission.name, sha256=submission.sha256),
        conditions=conditions,
        summary=summary,
        reason=reason,
        cells=(*driver.cells, *_not_run(driver)),
        training_cells=driver.training_cells,
        probes=driver.probes,
        timings={name: round(seconds, 3) for name, seconds in driver.timings.items()},
    )


def _failed_cells(driver: Driver) -> list[FailedCell]:
    return [_failed_cell(cell, driver) for cell in driver.cells if cell.status in ("error", "timeout")]


def _failed_cell(cell: CellRecord, driver: Driver) -> FailedCell:
    if cell.status == "timeout":
        return FailedCell(index=cell.index, error="TimeLimit", message=f"stopped after {cell.duration_s:.0f} s")
    errors = [o for o in driver.notebook.cells[cell.index].outputs if o.output_type == "error"]
    name, message = (errors[-1].ename, errors[-1].evalue) if errors else ("Error", "")
    return FailedCell(index=cell.index, error=str(name)[:100], message=str(message)[:MAX_MESSAGE])


def _not_run(driver: Driver) -> list[CellRecord]:
    ran = {cell.index for cell in driver.cells}
    left = [
        (i, c)
        for i, c in enumerate(driver.notebook.cells)
        if c.cell_type == "code" and c.source.strip() and i not in ran
    ]
    return [CellRecord(index=index, source=cell.source, duration_s=0, status="not_run") for index, cell in left]
