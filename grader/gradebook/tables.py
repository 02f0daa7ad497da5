"""A table of every check of every student, for analysis: a row for each student and check. Pure.

Students without a result have one row with empty columns for the check, so that nobody is lost. In CSV, text that a
spreadsheet would calculate stands after an apostrophe; JSON and Parquet hold it as it is.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from grader.gradebook.formulas import sanitise_cell
from grader.grades.grade import Grade
from grader.model import CheckResult

Row = dict[str, Any]  # what is not known is None

# Each column with the type of its values, and how to read one.
COLUMNS: Final[dict[str, tuple[type, Callable[[Grade, CheckResult | None], Any]]]] = {
    "student": (str, lambda grade, check: grade.student.key),
    "name": (str, lambda grade, check: grade.student.name),
    "canvas_id": (int, lambda grade, check: grade.student.canvas_id),
    "section": (str, lambda grade, check: grade.student.section),
    "standing": (str, lambda grade, check: str(grade.standing)),
    "points": (float, lambda grade, check: grade.points),  # of the student, after policy
    "possible": (float, lambda grade, check: grade.possible),
    "upload": (str, lambda grade, check: grade.upload and grade.upload.id),
    "sha256": (str, lambda grade, check: grade.upload and grade.upload.sha256),
    "late": (bool, lambda grade, check: grade.upload and grade.upload.late),
    "profile": (str, lambda grade, check: grade.result and str(grade.result.profile)),
    "seed": (int, lambda grade, check: grade.result and grade.result.seed),
    "check": (str, lambda grade, check: check and check.id),
    "verdict": (str, lambda grade, check: check and str(check.verdict)),
    "check_points": (float, lambda grade, check: check and check.points),
    "check_possible": (float, lambda grade, check: check and check.possible),
    "visibility": (str, lambda grade, check: check and str(check.visibility)),
    "rationale": (str, lambda grade, check: check and check.rationale),
    "group": (str, lambda grade, check: grade.group or None),
    "outcome": (str, lambda grade, check: str(grade.outcome) or None),
}


def build_rows(grades: Iterable[Grade]) -> Iterator[Row]:
    """Yield the rows of the table, in the order of students and checks."""
    for grade in grades:
        checks: Iterable[CheckResult | None] = grade.result.checks if grade.result else (None,)
        for check in checks:
            yield {name: read(grade, check) for name, (_, read) in COLUMNS.items()}


def encode_csv(grades: Iterable[Grade]) -> bytes:
    """Write the table as UTF-8 with a byte order mark, without which spreadsheets garble names."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in build_rows(grades):
        writer.writerow(sanitise_cell(value) if isinstance(value, str) else value for value in row.values())
    return text.getvalue().encode("utf-8-sig", "replace")


def encode_json(grades: Iterable[Grade]) -> bytes:
    """Write the table as a list of objects."""
    return json.dumps(list(build_rows(grades)), ensure_ascii=False, indent=1).encode()


def encode_parquet(grades: Iterable[Grade]) -> bytes:
    """Write the table as Parquet, with the types of COLUMNS even where a column is empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, (kind, _) in COLUMNS.items()])
    target = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(build_rows(grades)), schema=schema), target)
    return target.getvalue().to_pybytes()
