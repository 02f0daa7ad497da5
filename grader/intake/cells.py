"""The cells of a parsed notebook file of format 2, 3 or 4, as liberal as Jupyter in what they leave out."""

from collections.abc import Iterator
from typing import Any

import nbformat

from grader.intake.file_kinds import AGAIN, HAND_IN
from grader.intake.unpacking import RejectionError
from grader.text import cut_middle


def list_cells(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the cells as they stand in the file, of format 4 or, in worksheets, of formats 2 and 3.

    Raises RejectionError.
    """
    version = data.get("nbformat", 4)
    if isinstance(version, int) and version > nbformat.current_nbformat:
        raise RejectionError(f"has notebook format {version}, newer than format 4; save it as format 4")
    worksheets = data.get("worksheets")
    for sheet in worksheets if isinstance(worksheets, list) else [data]:
        cells = sheet.get("cells") if isinstance(sheet, dict) else None
        if not isinstance(cells, list):
            raise RejectionError(f"is JSON but not a notebook, as it has no list of cells; {HAND_IN}")
        for cell in cells:
            if not isinstance(cell, dict):
                raise RejectionError(f"is damaged, as not every cell is an object; {AGAIN}")
            yield cell


def list_code(data: dict[str, Any]) -> list[str]:
    """Return the sources of the code cells. Raises RejectionError."""
    return [read_source(cell) for cell in list_cells(data) if cell.get("cell_type") == "code"]


def read_source(cell: dict[str, Any]) -> str:
    """Return a cell's source."""
    return join_text(cell.get("source", cell.get("input")))


def join_text(value: object, limit: int | None = None) -> str:
    """Return a string, or the joined strings of a list. Lone surrogates, which no kernel can be sent, become `?`."""
    parts = value if isinstance(value, list) else [value]
    text = "".join(part for part in parts if isinstance(part, str))
    return (text if limit is None else cut_middle(text, limit)).encode("utf-8", "replace").decode("utf-8")
