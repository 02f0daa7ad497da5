"""Files that staff write: their text, and CSV tables with commas or semicolons and cells of several lines."""

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from grader.errors import GraderError

Place = tuple[int | str, ...]  # keys from the outside in; numbers count from 0

SEMICOLON = ";"  # what spreadsheets write in countries with a decimal comma


@contextmanager
def open_text(path: Path, title: str) -> Iterator[str]:
    """Give the text of a file, and name the file where it cannot be read or used: ValueError and csv.Error.

    Args:
        title: what the file is, after "the": "policy".
    """
    try:
        yield path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise GraderError(f"Cannot read the {title} {path} ({error.strerror}); check the path.") from error
    except (ValueError, csv.Error) as error:
        raise GraderError(f"Cannot use the {title} {path}: {error}; correct the file.") from error


def list_problems(error: ValidationError, name_place: Callable[[Place], str]) -> Iterator[str]:
    """Yield each finding of pydantic as `place: what is wrong`; a finding on the whole has no place."""
    for found in error.errors():
        text = found["msg"].removeprefix("Value error, ")
        place = f"{name_place(found['loc'])}: " if found["loc"] else ""
        yield f"{place}{text[:1].lower()}{text[1:]}"


class Sheet(NamedTuple):
    """A table with a header. Each row has the line in which it ends, and its cells that are not empty, by column."""

    columns: tuple[str, ...]
    delimiter: str
    rows: Iterator[tuple[str, dict[str, str]]]


def read_sheet(text: str) -> Sheet:
    """Read the table in a file's text. Reading its rows raises ValueError or csv.Error, with the place."""
    delimiter = SEMICOLON if SEMICOLON in text.partition("\n")[0] else ","
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
