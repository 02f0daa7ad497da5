"""Checks the saved notebook from top to bottom, as grading does: in a process of its own, so that this kernel stays."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.version import Version

from grader.errors import GraderError, SubmissionError
from grader.intake.notebook import read_submission
from grader.model import CheckResult, FailedCell, Result
from grader.paths import ROOT
from grader.reporting import words
from grader.reporting.in_notebook import Mark, Part, Report, Row, count_marks
from grader.reporting.outline import group_by_step
from grader.student.notebook_file import FileCell, Ran, describe_contents, describe_unsaved, find_unsaved, read_cells
from grader.student.origins import list_absent
from grader.student.report import MARKS, MOVE, NOT_HANDED_IN
from grader.text import sanitise

CLIENT_MIN: Final = Version("8")  # the first whose channels are asynchronous
END_S: Final = 10  # that the process gets to remove its files when it is stopped
# The kernel's own: a process that takes them for its own would show its plots here, or wait for this kernel.
KERNELS_OWN: Final = ("JPY_", "MPLBACKEND", "PYDEVD_", "COLAB_", "CLICOLOR", "FORCE_COLOR")
Show = Callable[[str], None]


def check_saved(path: Path, ran: Sequence[Ran], show: Show) -> Report:
    """Run the file, and build the report on it. Raises SubmissionError and GraderError.

    Args:
        path: the notebook.
        ran: the cells that ran in this kernel.
        show: is told how far the run is.
    """
    require_client(metadata.version("jupyter_client"))
    read_submission(path)  # what cannot be run is said at once
    cells = read_cells(path)
    unsaved = describe_unsaved(find_unsaved(cells, path.stat().st_mtime, ran))
    contents = (*describe_contents(path, cells, time.time()), *_describe_absent(path, cells))
    result = run_in_process(path, show)
    return build_report(result, contents, unsaved)


def require_client(version: str) -> None:
    """Raise SubmissionError where Jupyter's client is older than what runs notebooks here, as it is on Colab.

    A newer one would be at odds with what a hosted notebook itself runs on, so it is not installed there.
    """
    if Version(version) < CLIENT_MIN:
        raise SubmissionError(
            f"check_file() needs jupyter_client {CLIENT_MIN} or newer; this machine has {version}. check() works here. "
            "To run the whole file as grading does, download it and type `make check NOTEBOOK=file` in the kit on a "
            "computer of your own."
        )


def _describe_absent(path: Path, cells: Sequence[FileCell]) -> tuple[str, ...]:
    """Name the files that the notebook uses and that grading does not have."""
    files = ", ".join(f"`{name}`" for name in list_absent(path.absolute().parent, [cell.source for cell in cells]))
    return (f"The notebook uses {files}. {NOT_HANDED_IN} {MOVE}",) if files else ()


def run_in_process(path: Path, show: Show) -> Result:
    """Run `grader check` on a file and return its result. Raises GraderError, and SubmissionError with its sentence."""
    with tempfile.TemporaryDirectory(prefix="a4-file-") as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-P", "-m", "grader", "check", str(path.absolute()), "--result", str(out)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(KERNELS_OWN)}
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**kept, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        lines = _follow(process, show)
        if out.is_file():
            return Result.model_validate_json(out.read_bytes())
    said = sanitise(lines[-1] if lines else "it said nothing", 500)
    raise SubmissionError(said) if process.returncode == 1 else GraderError(said)


def _follow(process: "subprocess.Popen[str]", show: Show) -> list[str]:
    """Show each line that says how far the process is, until its end. It ends with this call, whatever happens."""
    lines: list[str] = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.strip():
                lines.append(line.strip())
                show(line.strip())
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
    return lines


def build_report(result: Result, notes: Sequence[str], unsaved: str = "") -> Report:
    """Build the report on a run; `notes` are about the file. What is `unsaved` may explain all that follows it."""
    first = (Part("Not all of your work is in the file", (), unsaved),) if unsaved else ()
    steps = (Part(step.title, tuple(map(_build_row, step.checks))) for step in group_by_step(result.checks))
    parts = (*first, *steps)
    failed = tuple(_describe_cell(cell) for cell in result.run.failed_cells)
    return Report(parts, count_marks([row for part in parts for row in part.rows]), (*failed, *notes))


def _build_row(check: CheckResult) -> Row:
    place = f"{words.describe_place(check.place)}: {check.place.source}" if check.place else ""
    mark = MARKS[check.verdict]
    if mark is Mark.PASSED and check.rationale:
        mark = Mark.NOTE
    hint = check.hint if mark is not Mark.PASSED else ""
    return Row(mark, check.title, check.rationale, place, hint)


def _describe_cell(cell: FailedCell) -> str:
    return f"Cell {cell.index + 1} ends with `{sanitise(cell.error)}`: {sanitise(cell.message, 200)}"
