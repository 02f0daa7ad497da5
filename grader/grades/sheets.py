"""CSV files as people write them with a spreadsheet: commas or semicolons, and cells of several lines."""

import csv
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

SEMICOLON = ";"  # what spreadsheets write in countries with a decimal comma


class SheetRow(NamedTuple):
    """One row under the header. `place` is where it ends in the file; `cells` are those that are not empty."""

    place: str
    cells: dict[str, str]


class Sheet(NamedTuple):
    """A table with a header."""

    columns: tuple[str, ...]
    delimiter: str
    rows: Iterator[SheetRow]


def read_sheet(text: str) -> Sheet:
    """The table in a file's text. Reading its rows raises ValueError or csv.Error, with the place."""
    delimiter = SEMICOLON if SEMICOLON in text.partition("\n")[0] else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return Sheet(tuple(reader.fieldnames or ()), delimiter, _rows(reader))


def _rows(reader: "csv.DictReader[Any]") -> Iterator[SheetRow]:
    for row in reader:
        place = f"line {reader.line_num}"
        if None in row:
            raise ValueError(f"{place} has more cells than the header")
        cells = {name: value.strip() for name, value in row.items() if value and value.strip()}
        if cells:
            yield SheetRow(place, cells)
