"""Files that staff write: their text, and CSV tables with commas or semicolons and cells of several lines."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from grader.errors import GraderError
from grader.text import sanitise

Place = tuple[int | str, ...]  # keys from the outside in; numbers count from 0

SEMICOLON = ";"  # what spreadsheets write in countries with a decimal comma
TAB: Final = "\t"  # what they write as "Text"
COMMA: Final = ","
WORKBOOK: Final = b"PK\x03\x04"  # how the file of a spreadsheet program begins
DAY: Final = "2026-12-04"
TIME: Final = f"{DAY}T23:59:00+01:00"


@contextmanager
def open_text(path: Path, title: str) -> Iterator[str]:
    """Give the text of a file, and name the file where it cannot be read or used: ValueError and csv.Error.

    Args:
        title: what the file is, after "the": "policy".
    """
    try:
        yield _decode(path)
    except OSError as error:
        raise GraderError(f"Cannot read the {title} {path} ({error.strerror}); check the path.") from error
    except (ValueError, csv.Error) as error:
        raise GraderError(f"Cannot use the {title} {path}: {error}; correct the file.") from error


def _decode(path: Path) -> str:
    """Read a file as text, with any of the ends of lines. Raises OSError, and ValueError if it is no text in UTF-8."""
    content = path.read_bytes()
    kind = "UTF-8" if path.suffix.lower() == ".toml" else "CSV UTF-8 (in Excel: Save As, CSV UTF-8)"
    if content.startswith(WORKBOOK):
        raise ValueError(f"it is a workbook; save it as {kind}")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not written in UTF-8; save it as {kind}") from error


def list_problems(error: ValidationError, name_place: Callable[[Place], str]) -> Iterator[str]:
    """Yield each finding of pydantic as `place: what is wrong`; a finding on the whole has no place."""
    for found in error.errors():
        place = f"{name_place(found['loc'])}: " if found["loc"] else ""
        yield f"{place}{_explain(found)}"


def _explain(found: ErrorDetails) -> str:
    """Say what is wrong, and how it is written right, for those who know nothing of Python."""
    given = f"{sanitise(str(found['input']))!r}"
    match found["type"].split("_"):
        case ["literal", "error"] | ["enum"]:
            expected = re.sub(r"<\w+\.\w+: ('[^']*')>", r"\1", found["ctx"]["expected"])
            return f"expected {expected}, found {given}"
        case ["date", *_]:
            return f"{given} is no date; write it as {DAY}"
        case ["datetime", *_] | ["timezone", *_]:
            return f"{given} is no time with a zone; write it as {TIME}"
        case ["string", "type"]:
            return f"{given} is no text; put it in quotes"
    text = found["msg"].removeprefix("Value error, ")
    return f"{text[:1].lower()}{text[1:]}"


class Sheet(NamedTuple):
    """A table with a header. Each row has the line in which it ends, and its cells that are not empty, by column."""

    columns: tuple[str, ...]
    delimiter: str
    rows: Iterator[tuple[str, dict[str, str]]]


def read_sheet(text: str) -> Sheet:
    """Read the table in a file's text. Reading its rows raises ValueError or csv.Error, with the place."""
    first = text.partition("\n")[0]
    delimiter = next((sign for sign in (SEMICOLON, TAB) if sign in first), COMMA)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return Sheet(tuple(reader.fieldnames or ()), delimiter, _read_rows(reader))


def _read_rows(reader: "csv.DictReader[str]") -> Iterator[tuple[str, dict[str, str]]]:
    for row in reader:
        place = f"line {reader.line_num}"
        if None in row:
            raise ValueError(f"{place} has more cells than the header")
        cells = {name: value.strip() for name, value in row.items() if value and value.strip()}
        if cells:
            yield place, cells
