"""Reading of one notebook file: the result is a `Submission`, or one sentence that tells its author what to do.

Everything in the file is suspect, so nothing is passed on but what is rebuilt here: the sources of the cells, in order,
and apart from them the text of the saved outputs. Tags, attachments, metadata and cell ids are left behind. In what
notebooks leave out or add, this is as liberal as Jupyter: lists or strings as source, missing ids and metadata, formats
2 to 4, unknown fields.

Memory: a file of at most `MAX_FILE_BYTES` and `MAX_TOKENS`. Parsing takes up to ten times the file's size for a moment
(text with emoji is four bytes per character, twice); what is kept holds `MAX_SAVED_CHARS` of each output.
"""

import hashlib
import mmap
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nbformat
from nbformat import NotebookNode

from grader.errors import SubmissionError
from grader.intake.cells import join_text, list_cells, read_source
from grader.intake.compression import unpack
from grader.intake.file_kinds import HAND_IN, LIKELY_NOTEBOOK, explain_content, explain_name
from grader.intake.parsing import STRING, parse
from grader.intake.unpacking import MAX_FILE_BYTES, RejectionError
from grader.text import cut_middle, sanitise

MAX_SAVED_CHARS: Final = 1_000_000
# Of what is executed and shown. Honest notebooks have a hundred cells and 200 kB of code; pictures that an editor puts
# into the text of a cell take megabytes, and are cut.
MAX_CELLS: Final = 1_000
MAX_CODE_CHARS: Final = 1_000_000  # of all cells together
MAX_PROSE_CHARS: Final = 100_000  # of a cell that holds no code
MAX_OUTPUTS: Final = 1_000  # of a cell, as saved
LARGE_BYTES: Final = 16 * 2**20  # of a file, or of all sources in it: pictures may lie there, but no text is so long
TOO_MUCH: Final = "holds more than a notebook does; clear its outputs and save it again"
MAX_NAME_CHARS: Final = 60  # of at most four bytes each, so that a folder of this name fits any file system

# A cell's source as bytes of UTF-8: a string or a list of strings. What an output shows has its quotes escaped.
STRING_BYTES: Final = STRING.encode()
SOURCE: Final = re.compile(
    rb'"source"\s*+:\s*+(?:' + STRING_BYTES + rb"|\[(?:[\s,]*+" + STRING_BYTES + rb")*+)", re.DOTALL
)

TEXT_TYPES: Final = {"text/plain": "text", "text/html": "html"}  # with the keys of format 3
KERNELS_OF_OTHER_LANGUAGES: Final = {"ir": "R", "julia": "Julia"}  # where only a kernel's name is given
PYTHON: Final = re.compile(r"python|pyspark|^py\d*$", re.IGNORECASE)  # also IPython, xpython, micropython
# No other language imports these: the kernel was chosen by mistake, or a program gave it a name of its own.
PYTHON_ONLY: Final = re.compile(r"^[ \t]*+(?:import|from)[ \t]++(?:torch|transformers|datasets)\b", re.MULTILINE)
METADATA: Final = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@dataclass(frozen=True)
class Submission:
    """One immutable upload.

    `name` is safe as the name of a folder. `notebook` (nbformat 4) is to be executed: cells rebuilt from their sources,
    with no outputs. `original` is the same with the text of the saved outputs, for reading claims only. The index of a
    cell is the same in both and in the file. `repairs` tell staff what had to be done to read the file.
    """

    name: str
    path: Path
    sha256: str
    notebook: NotebookNode
    original: NotebookNode
    repairs: tuple[str, ...] = ()


def read_submission(path: Path) -> Submission:
    """Read a notebook file. Raises SubmissionError, with one sentence for its author, and nothing else."""
    try:
        raw = _read(path)
        data, repairs = _parse(raw, _get_suffix(path.name))
        cells = tuple(list_cells(data))
        _require_few_cells(cells)
        foreign = _require_python_code(cells, data.get("metadata"))
        notebook = _rebuild(cells, keep_outputs=False)
        original = _rebuild(cells, keep_outputs=True)
    except RejectionError as refusal:
        raise SubmissionError(f"'{sanitise(path.name or str(path))}' {refusal}.") from None
    except (MemoryError, RecursionError):
        raise SubmissionError(f"'{sanitise(path.name or str(path))}' {TOO_MUCH}.") from None
    digest = hashlib.sha256(raw).hexdigest()
    return Submission(_make_safe_name(path.name), path, digest, notebook, original, (*repairs, *foreign))


def _make_safe_name(file_name: str) -> str:
    stem, _, ending = file_name.rpartition(".")  # pathlib treats leading dots differently in each version
    if LIKELY_NOTEBOOK.search(file_name):
        stem = LIKELY_NOTEBOOK.sub("", file_name)
    name = re.sub(r"[^\w .+()-]", "_", unicodedata.normalize("NFC", stem or ending))[:MAX_NAME_CHARS].strip(" .")
    return name or "submission"


def _get_suffix(file_name: str) -> str:
    _, dot, ending = file_name.rpartition(".")
    return f".{ending.lower()}" if dot else ""


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise RejectionError(f"is a folder; {HAND_IN}")
        size = path.stat().st_size
        if not path.is_file():
            raise RejectionError(f"is not a file; {HAND_IN}")
        if size > MAX_FILE_BYTES:
            sizes = f"has {size / 2**20:,.0f} MiB and the limit is {MAX_FILE_BYTES // 2**20} MiB"
            raise RejectionError(f"{sizes}; clear its outputs and save it again")
        with path.open("rb") as file:
            if size > LARGE_BYTES:
                _require_little_source(file.fileno())
            return file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        raise RejectionError("does not exist; check the path") from None
    except PermissionError:
        raise RejectionError("may not be read; check its permissions and whether a program has it open") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RejectionError(f"cannot be read ({sanitise(reason)}); check the path") from None


def _require_little_source(file: int) -> None:
    """Refuse cells that only a program writes, before they are in memory several times. Raises RejectionError."""
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as content:
        size = sum(found.end() - found.start() for found in SOURCE.finditer(content))
    if size > LARGE_BYTES:
        sizes = f"holds {size / 2**20:,.0f} MiB in the text of its cells and the limit is {LARGE_BYTES // 2**20} MiB"
        raise RejectionError(f"{sizes}; read data and pictures from files instead")


def _parse(raw: bytes, suffix: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Unpack and parse the file, and tell in a sentence each what had to be done for it. Raises RejectionError."""
    content, ways = unpack(raw)
    if kind := explain_content(content):
        raise RejectionError(kind)
    try:
        data, notes = parse(content)
    except RejectionError as rejected:
        raise RejectionError(explain_name(suffix) or str(rejected)) from None
    return data, (*((f"The notebook was packed ({', '.join(ways)}).",) if ways else ()), *notes)


def _require_python_code(cells: tuple[dict[str, Any], ...], metadata: object) -> tuple[str, ...]:
    """Refuse what holds no Python, and note where only the kernel's name says so. Raises RejectionError."""
    if not cells:
        raise RejectionError("is an empty notebook; check that you saved your work and hand it in again")
    code = [read_source(cell) for cell in cells if cell.get("cell_type") == "code"]
    if not any(source.strip() for source in code):
        raise RejectionError("has no code cell; check that you saved your work and hand it in again")
    if (language := _find_other_language(metadata)) is None:
        return ()
    language = sanitise(language, 30)
    if any(PYTHON_ONLY.search(source) for source in code):
        return (f"The notebook names a kernel for {language}; its code is Python and was run as such.",)
    raise RejectionError(f"is written for {language}; the assignment needs a notebook with a Python kernel")


def _require_few_cells(cells: tuple[dict[str, Any], ...]) -> None:
    """Refuse what nobody writes by hand. Raises RejectionError."""
    if len(cells) > MAX_CELLS:
        raise RejectionError(f"has {len(cells):,} cells and the limit is {MAX_CELLS:,}; remove those that do no work")
    sizes = [len(read_source(cell)) if cell.get("cell_type") == "code" else 0 for cell in cells]
    if sum(sizes) > MAX_CODE_CHARS:
        longest = max(range(len(sizes)), key=sizes.__getitem__)
        found = f"has {sum(sizes):,} characters of code, most of them in cell {longest + 1}"
        raise RejectionError(f"{found}, and the limit is {MAX_CODE_CHARS:,}; read data from a file instead")


def _find_other_language(metadata: object) -> str | None:
    """Return the language that a notebook names if it is not Python."""
    kernel, language_info = _get_object(metadata, "kernelspec"), _get_object(metadata, "language_info")
    named = [name for name in (language_info.get("name"), kernel.get("language")) if isinstance(name, str) and name]
    if not named:
        kernel_name = kernel.get("name")
        family = re.split(r"[^a-z]", kernel_name.lower(), maxsplit=1)[0] if isinstance(kernel_name, str) else ""
        return KERNELS_OF_OTHER_LANGUAGES.get(family)  # julia-1.9 is of the family julia
    return None if any(PYTHON.search(name) for name in named) else named[0]


def _get_object(parent: object, key: str) -> dict[str, Any]:
    child = parent.get(key) if isinstance(parent, dict) else None
    return child if isinstance(child, dict) else {}


def _rebuild(cells: tuple[dict[str, Any], ...], keep_outputs: bool) -> NotebookNode:
    rebuilt = [_rebuild_cell(cell, index, keep_outputs) for index, cell in enumerate(cells)]
    return nbformat.from_dict({"nbformat": 4, "nbformat_minor": 5, "metadata": METADATA, "cells": rebuilt})


def _rebuild_cell(cell: dict[str, Any], index: int, keep_outputs: bool) -> dict[str, Any]:
    kind, common, source = cell.get("cell_type"), {"id": f"cell-{index}", "metadata": {}}, read_source(cell)
    if kind == "code":
        outputs = _read_saved_outputs(cell) if keep_outputs else []
        return {**common, "source": source, "cell_type": "code", "execution_count": None, "outputs": outputs}
    kept = cut_middle(source, MAX_PROSE_CHARS)
    return {**common, "source": kept, "cell_type": "markdown" if kind in ("markdown", "heading") else "raw"}


def _read_saved_outputs(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs that hold text, as format 4 has them and cut to `MAX_SAVED_CHARS` each."""
    outputs = cell.get("outputs")
    objects = [output for output in outputs if isinstance(output, dict)] if isinstance(outputs, list) else []
    return [saved for output in objects[:MAX_OUTPUTS] if (saved := _read_saved_output(output))]


def _read_saved_output(output: dict[str, Any]) -> dict[str, Any] | None:
    match output.get("output_type"):
        case "stream":
            return {"output_type": "stream", "name": "stdout", "text": join_text(output.get("text"), MAX_SAVED_CHARS)}
        case "display_data":
            return {"output_type": "display_data", "metadata": {}, "data": _texts(output)}
        case "execute_result" | "pyout":
            return {"output_type": "execute_result", "metadata": {}, "execution_count": None, "data": _texts(output)}
    return None


def _texts(output: dict[str, Any]) -> dict[str, str]:
    """Return the texts of a result by MIME type. Format 3 has them beside the other fields, under short names."""
    data = output.get("data")
    bundle = data if isinstance(data, dict) else {mime: output.get(key) for mime, key in TEXT_TYPES.items()}
    return {mime: join_text(bundle[mime], MAX_SAVED_CHARS) for mime in TEXT_TYPES if bundle.get(mime)}
