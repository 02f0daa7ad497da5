"""Reference solution → student template.

The reference is the single source. A separate line marks where a solution begins and where it ends:

    code cells                               markdown cells
    # BEGIN SOLUTION                         <!-- BEGIN SOLUTION -->
    # STUB: raise NotImplementedError("…")   <!-- STUB: *Your answer.* -->
    # END SOLUTION                           <!-- END SOLUTION -->

The template keeps everything outside the regions, and of each region its stubs with their indentation. A cell with the
tag `solution` is left out. A malformed region could give the solution away, so everything doubtful is an error.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nbformat
from nbformat import NotebookNode

from grader.errors import GraderError

SOLUTION_TAG: Final = "solution"

# A line that looks like a marker, in any spelling and in any kind of cell.
MARKER_LIKE: Final = re.compile(r"\s*(#+|<!--)\s*(BEGIN|END)[ _-]*SOLUTION", re.IGNORECASE)


@dataclass(frozen=True)
class Markers:
    """The markers of solutions in one kind of cell. The groups of `stub` are the indentation and the text."""

    begin: str
    end: str
    stub: re.Pattern[str]


MARKERS: Final = {
    "code": Markers("# BEGIN SOLUTION", "# END SOLUTION", re.compile(r"(\s*)# STUB: (.*)")),
    "markdown": Markers("<!-- BEGIN SOLUTION -->", "<!-- END SOLUTION -->", re.compile(r"(\s*)<!-- STUB: (.*) -->\s*")),
}


def derive_template(reference: NotebookNode) -> NotebookNode:
    """Derive the notebook that students start from: same cells and ids, without outputs, tags and solutions.

    Raises GraderError, which names the cell (counted from 0), for a malformed region or an unknown tag.
    """
    cells = [
        _derive_cell(cell, f"Cell {index} ({cell.get('id', 'no id')})")
        for index, cell in enumerate(reference.cells)
        if not _is_solution(cell, index)
    ]
    metadata = {key: reference.metadata[key] for key in ("kernelspec", "language_info") if key in reference.metadata}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata, nbformat_minor=reference.nbformat_minor)


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook of format 4. Raises GraderError when there is none at `path`."""
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
    except FileNotFoundError as error:
        raise GraderError(f"There is no notebook {path}; restore it from version control.") from error
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        raise GraderError(f"{path} is not a valid notebook; restore it from version control.") from error
    return notebook


def format_notebook(notebook: NotebookNode) -> str:
    """Return the canonical file content: one line of JSON for each line of source, so that differences are readable."""
    return nbformat.writes(notebook) + "\n"


def _is_solution(cell: NotebookNode, index: int) -> bool:
    tags = set(cell.metadata.get("tags", []))
    if unknown := tags - {SOLUTION_TAG}:
        raise GraderError(f"Cell {index} has the unknown tag {min(unknown)!r}; remove it or use {SOLUTION_TAG!r}.")
    return bool(tags)


def _derive_cell(cell: NotebookNode, where: str) -> NotebookNode:
    source = _tidy(_template_lines(cell.source, MARKERS.get(cell.cell_type, MARKERS["markdown"]), where))
    if cell.cell_type == "code":
        _require_python(source, where)
        return nbformat.v4.new_code_cell(source, id=cell.id)
    return NotebookNode(cell_type=cell.cell_type, id=cell.id, metadata=NotebookNode(), source=source)


def _template_lines(source: str, markers: Markers, where: str) -> Iterator[str]:
    """Yield the lines outside solution regions, and the stubs inside them."""
    inside = False
    for line in source.splitlines():
        stub = markers.stub.fullmatch(line)
        if line.strip() in (markers.begin, markers.end):
            if (line.strip() == markers.begin) == inside:
                raise GraderError(f"{where} {INSIDE if inside else OUTSIDE}.")
            inside = not inside
        elif MARKER_LIKE.match(line):
            raise GraderError(f"{where} has the line {line.strip()!r}; write {markers.begin!r} or {markers.end!r}.")
        elif stub:
            if not inside:
                raise GraderError(f"{where} has a STUB outside a solution; move it below {markers.begin!r}.")
            yield stub[1] + stub[2]
        elif not inside:
            yield line
    if inside:
        raise GraderError(f"{where} begins a solution that does not end; add a line {markers.end!r}.")


INSIDE: Final = "begins a solution inside a solution; end the first one before"
OUTSIDE: Final = "ends a solution that did not begin; remove the line or mark the beginning"


def _tidy(lines: Iterator[str]) -> str:
    """Close the gaps that regions without a stub leave behind."""
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)).strip("\n")


def _require_python(source: str, where: str) -> None:
    try:
        ast.parse(source)
    except SyntaxError as error:
        raise GraderError(
            f"{where} is not valid Python without its solution ({error.msg}, line {error.lineno}); add a STUB to it."
        ) from error
