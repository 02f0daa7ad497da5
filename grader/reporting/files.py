"""Writes the artefacts of one submission to its folder."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from grader.errors import ANOTHER_FOLDER, explain_refusal
from grader.model import Result, StaffDetails
from grader.reporting.feedback import render_feedback
from grader.reporting.staff import render_staff

UNSHOWN: Final = (
    "<!DOCTYPE html><title>Result</title><p>What this notebook wrote is too large for a page. "
    "Its verdicts are in result.json.</p>\n"
)


def write_reports(result: Result, details: StaffDetails, folder: Path) -> tuple[Path, ...]:
    """Write result.json, feedback.html and staff.html to `folder`, each whole or not at all. Raises GraderError."""
    contents = {
        "result.json": result.model_dump_json(indent=1),
        "feedback.html": _render_safely(lambda: render_feedback(result)),
        "staff.html": _render_safely(lambda: render_staff(result, details)),
    }
    try:
        return tuple(_write(folder / name, text) for name, text in contents.items())
    except OSError as error:
        raise explain_refusal(f"write the reports to {folder}", error, ANOTHER_FOLDER) from error


def _render_safely(render: Callable[[], str]) -> str:
    """Render a page, or where what a notebook wrote is too much for that, a page that says so: the result is there."""
    try:
        return render()
    except (MemoryError, RecursionError):
        return UNSHOWN


def _write(path: Path, text: str) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    return partial.replace(path)


def make_results_folder(folder: Path) -> Path:
    """Make the folder, and make sure that it is writable before minutes are spent. Raises GraderError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise explain_refusal(f"write to {folder}", error, ANOTHER_FOLDER) from error
