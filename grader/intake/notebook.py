"""Reading of one notebook file: the result is a `Submission`, or one sentence that tells its author what to do.

Everything in the file is suspect, so nothing is passed on but what is rebuilt here: the sources of the cells, in order,
and apart from them the text of the saved outputs. Tags, attachments, metadata and cell ids are left behind. In what
notebooks leave out or add, this is as liberal as Jupyter: lists or strings as source, missing ids and metadata, formats
2 to 4, unknown fields.

Memory: a file of at most `MAX_FILE_BYTES` and `MAX_TOKENS`. Parsing takes up to ten times the file's size for a moment
(text with emoji is four bytes per character, twice); what is kept holds `MAX_SAVED_CHARS` of each output.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, NoReturn

import nbformat
from nbformat import NotebookNode

from grader.errors import SubmissionError
from grader.text import cut_middle, sanitise

MAX_FILE_BYTES: Final = 300 * 2**20
MAX_TOKENS: Final = 8_000_000  # strings, brackets and commas: bounds the number of objects that parsing creates
MAX_SAVED_CHARS: Final = 1_000_000
MAX_NAME_CHARS: Final = 60  # of at most four bytes each, so that a folder of this name fits any file system

HAND_IN: Final = "hand in the notebook itself, the .ipynb file that Jupyter saves and Colab downloads"
SAVE_AGAIN: Final = "open it in Jupyter, save it and hand in the saved .ipynb file"

# Possessive (++, *+), so that no input makes it slow or deep.
JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[{,]', re.DOTALL)
OTHER_FORMATS: Final = {
    ".py": "is a Python script",
    **dict.fromkeys((".html", ".htm"), "is a web page"),
    ".pdf": "is a PDF",
    ".docx": "is a Word document",
    **{f".{kind}": f"is a {kind} archive" for kind in ("rar", "7z", "gz", "tar")},
}
WEB_PAGE: Final = (b"<!doctype", b"<html", b"<?xml", b"<head")  # how one begins
TEXT_TYPES: Final = {"text/plain": "text", "text/html": "html"}  # with the keys of format 3
KERNELS_OF_OTHER_LANGUAGES: Final = {"ir": "R", "julia": "Julia"}  # where only a kernel's name is given
METADATA: Final = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class _RefusalError(Exception):
    """A file that is no submission; the message is a sentence without its subject, the file."""


@dataclass(frozen=True)
class Submission:
    """One immutable upload.

    `name` is safe as the name of a folder. `notebook` (nbformat 4) is to be executed: cells rebuilt from their sources,
    with no outputs. `original` is the same with the text of the saved outputs, for reading claims only. The index of a
    cell is the same in both and in the file.
    """

    name: str
    path: Path
    sha256: str
    notebook: NotebookNode
    original: NotebookNode


def read_submission(path: Path) -> Submission:
    """Read a notebook file. Raises SubmissionError, with one sentence for its author, and nothing else."""
    stem, dot, ending = path.name.rpartition(".")  # pathlib treats leading dots differently in each version
    try:
        raw = _read(path)
        data = _parse(raw, f".{ending.lower()}" if dot else "")
        cells = tuple(_list_cells(data))
        _require_python_code(cells, data.get("metadata"))
        notebook = _rebuild(cells, keep_outputs=False)
        original = _rebuild(cells, keep_outputs=True)
    except _RefusalError as refusal:
        raise SubmissionError(f"'{sanitise(path.name or str(path))}' {refusal}.") from None
    name = re.sub(r"[^\w .+()-]", "_", unicodedata.normalize("NFC", stem or ending))[:MAX_NAME_CHARS].strip(" .")
    return Submission(name or "submission", path, hashlib.sha256(raw).hexdigest(), notebook, original)


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise _RefusalError(f"is a folder; {HAND_IN}")
        size = path.stat().st_size
        if not path.is_file():
            raise _RefusalError(f"is not a file; {HAND_IN}")
        if size > MAX_FILE_BYTES:
            sizes = f"has {size / 2**20:,.0f} MiB and the limit is {MAX_FILE_BYTES // 2**20} MiB"
            raise _RefusalError(f"{sizes}; clear its outputs and save it again")
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        raise _RefusalError("does not exist; check the path") from None
    except PermissionError:
        raise _RefusalError("may not be read; check its permissions and whether a program has it open") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _RefusalError(f"cannot be read ({sanitise(reason)}); check the path") from None


def _parse(raw: bytes, suffix: str) -> dict[str, Any]:
    """Parse the file as a JSON object. UTF-8 with or without a byte order mark, UTF-16 and UTF-32 are accepted."""
    if not raw or raw.isspace():
        raise _RefusalError(f"is an empty file; {SAVE_AGAIN}")
    try:
        text = raw.decode(json.detect_encoding(raw))
        _require_few_tokens(text)
        data = json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise _RefusalError(_find_other_format(raw, suffix) or f"is not UTF-8 text; {SAVE_AGAIN}") from None
    except json.JSONDecodeError as error:
        problem = f"is damaged or no notebook, as line {error.lineno:,} is not JSON; {SAVE_AGAIN}"
        raise _RefusalError(_find_other_format(raw, suffix) or problem) from None
    except RecursionError:
        raise _RefusalError(f"is nested too deeply to be a notebook; {SAVE_AGAIN}") from None
    except ValueError:  # what is left: Python refuses to convert more than 4,300 digits
        raise _RefusalError(f"holds a number with thousands of digits; {SAVE_AGAIN}") from None
    if not isinstance(data, dict):
        raise _RefusalError(f"is JSON but not a notebook; {HAND_IN}")
    return data


def _refuse_constant(constant: str) -> NoReturn:
    raise _RefusalError(f"holds the value {constant}, which JSON does not allow; clear its outputs and save it again")


def _require_few_tokens(text: str) -> None:
    if len(text) > MAX_TOKENS and any(True for _ in islice(JSON_TOKEN.finditer(text), MAX_TOKENS, None)):
        raise _RefusalError("holds too many values for a notebook; clear its outputs and save it again")


def _find_other_format(raw: bytes, suffix: str) -> str | None:
    start = raw[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"pk\x03\x04"):
        return f"is a zip archive; unpack it and {HAND_IN}"
    if start.startswith(b"%pdf"):
        suffix = ".pdf"
    elif start.startswith(WEB_PAGE):
        suffix = ".html"
    return f"{OTHER_FORMATS[suffix]}; {HAND_IN}" if suffix in OTHER_FORMATS else None


def _list_cells(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the cells as they stand in the file, of format 4 or, in worksheets, of formats 2 and 3."""
    version = data.get("nbformat", 4)
    if isinstance(version, int) and version > nbformat.current_nbformat:
        raise _RefusalError(f"has notebook format {version}, newer than format 4; save it as format 4")
    worksheets = data.get("worksheets")
    for sheet in worksheets if isinstance(worksheets, list) else [data]:
        cells = sheet.get("cells") if isinstance(sheet, dict) else None
        if not isinstance(cells, list):
            raise _RefusalError(f"is JSON but not a notebook, as it has no list of cells; {HAND_IN}")
        for cell in cells:
            if not isinstance(cell, dict):
                raise _RefusalError(f"is damaged, as not every cell is an object; {SAVE_AGAIN}")
            yield cell


def _require_python_code(cells: tuple[dict[str, Any], ...], metadata: object) -> None:
    if not cells:
        raise _RefusalError("is an empty notebook; check that you saved your work and hand it in again")
    if not any(cell.get("cell_type") == "code" and _source(cell).strip() for cell in cells):
        raise _RefusalError("has no code cell; check that you saved your work and hand it in again")
    if language := _find_other_language(metadata):
        language = sanitise(language, 30)
        raise _RefusalError(f"is written for {language}; the assignment needs a notebook with a Python kernel")


def _find_other_language(metadata: object) -> str | None:
    """Return the language that a notebook names if it is not Python."""
    kernel, language_info = _get_object(metadata, "kernelspec"), _get_object(metadata, "language_info")
    named = [name for name in (language_info.get("name"), kernel.get("language")) if isinstance(name, str) and name]
    if not named:
        kernel_name = kernel.get("name")
        family = re.split(r"[^a-z]", kernel_name.lower(), maxsplit=1)[0] if isinstance(kernel_name, str) else ""
        return KERNELS_OF_OTHER_LANGUAGES.get(family)  # julia-1.9 is of the family julia
    return None if any("python" in name.lower() for name in named) else named[0]


def _get_object(parent: object, key: str) -> dict[str, Any]:
    child = parent.get(key) if isinstance(parent, dict) else None
    return child if isinstance(child, dict) else {}


def _rebuild(cells: tuple[dict[str, Any], ...], keep_outputs: bool) -> NotebookNode:
    rebuilt = [_rebuild_cell(cell, index, keep_outputs) for index, cell in enumerate(cells)]
    return nbformat.from_dict({"nbformat": 4, "nbformat_minor": 5, "metadata": METADATA, "cells": rebuilt})


def _rebuild_cell(cell: dict[str, Any], index: int, keep_outputs: bool) -> dict[str, Any]:
    kind, common = cell.get("cell_type"), {"id": f"cell-{index}", "metadata": {}, "source": _source(cell)}
    if kind == "code":
        outputs = _read_saved_outputs(cell) if keep_outputs else []
        return {**common, "cell_type": "code", "execution_count": None, "outputs": outputs}
    return {**common, "cell_type": "markdown" if kind in ("markdown", "heading") else "raw"}


def _source(cell: dict[str, Any]) -> str:
    return _text(cell.get("source", cell.get("input")))


def _text(value: object, limit: int | None = None) -> str:
    """Return a string, or the joined strings of a list. Lone surrogates, which no kernel can be sent, become `?`."""
    parts = value if isinstance(value, list) else [value]
    text = "".join(part for part in parts if isinstance(part, str))
    return (text if limit is None else cut_middle(text, limit)).encode("utf-8", "replace").decode("utf-8")


def _read_saved_outputs(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs that hold text, as format 4 has them and cut to `MAX_SAVED_CHARS` each."""
    outputs = cell.get("outputs")
    objects = [output for output in outputs if isinstance(output, dict)] if isinstance(outputs, list) else []
    return [saved for output in objects if (saved := _read_saved_output(output))]


def _read_saved_output(output: dict[str, Any]) -> dict[str, Any] | None:
    match output.get("output_type"):
        case "stream":
            return {"output_type": "stream", "name": "stdout", "text": _text(output.get("text"), MAX_SAVED_CHARS)}
        case "display_data":
            return {"output_type": "display_data", "metadata": {}, "data": _texts(output)}
        case "execute_result" | "pyout":
            return {"output_type": "execute_result", "metadata": {}, "execution_count": None, "data": _texts(output)}
    return None


def _texts(output: dict[str, Any]) -> dict[str, str]:
    """Return the texts of a result by MIME type. Format 3 has them beside the other fields, under short names."""
    data = output.get("data")
    bundle = data if isinstance(data, dict) else {mime: output.get(key) for mime, key in TEXT_TYPES.items()}
    return {mime: _text(bundle[mime], MAX_SAVED_CHARS) for mime in TEXT_TYPES if bundle.get(mime)}
