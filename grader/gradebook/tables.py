"""Every check of every student in one table, for analysis: a row for each student and check. Pure.

Students without a result have one row with empty columns for the check, so that nobody is lost. In CSV, text that a
spreadsheet would calculate stands after an apostrophe; JSON and Parquet hold it as it is.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, get_args, get_type_hints

from grader.gradebook.formulas import sanitise_cell
from grader.grades.grade import Grade
from grader.model import CheckResult, FrozenModel


class CheckRow(FrozenModel):
    """One student and one check. What is not known is None."""

    student: str  # key
    name: str
    canvas_id: int | None
    section: str | None
    standing: str
    points: float | None  # of the student, after policy
    possible: float
    upload: str | None
    sha256: str | None
    late: bool | None
    profile: str | None
    seed: int | None
    check: str | None
    verdict: str | None
    check_points: float | None
    check_possible: float | None
    visibility: str | None
    rationale: str | None


COLUMNS: Final = tuple(CheckRow.model_fields)


def build_rows(grades: Iterable[Grade]) -> Iterator[CheckRow]:
    """The table, in the order of students and checks."""
    for grade in grades:
        checks: Iterable[CheckResult | None] = grade.result.checks if grade.result else (None,)
        for check in checks:
            yield _row(grade, check)


def _row(grade: Grade, check: CheckResult | None) -> CheckRow:
    student, upload, result = grade.student, grade.upload, grade.result
    return CheckRow(
        student=student.key,
        name=student.name,
        canvas_id=student.canvas_id,
        section=student.section,
        standing=grade.standing,
        points=grade.points,
        possible=grade.possible,
        upload=upload.id if upload else None,
        sha256=upload.sha256 if upload else None,
        late=upload.late if upload else None,
        profile=result.profile if result else None,
        seed=result.seed if result else None,
        check=check.id if check else None,
        verdict=check.verdict if check else None,
        check_points=check.points if check else None,
        check_possible=check.possible if check else None,
        visibility=check.visibility if check else None,
        rationale=check.rationale if check else None,
    )


def encode_csv(grades: Iterable[Grade]) -> bytes:
    """UTF-8 with a byte order mark, without which spreadsheets garble names."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(value) for value in row.model_dump().values()] for row in build_rows(grades))
    return text.getvalue().encode("utf-8-sig", "replace")


def _cell(value: object) -> object:
    return sanitise_cell(value) if isinstance(value, str) else value


def encode_json(grades: Iterable[Grade]) -> bytes:
    """A list of objects."""
    return json.dumps(
        [row.model_dump(mode="json") for row in build_rows(grades)], ensure_ascii=False, indent=1
    ).encode()


def encode_parquet(grades: Iterable[Grade]) -> bytes:
    """One row group, with the column types of `CheckRow` even where a column is empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[_unwrap_hint(hint)]) for name, hint in _hints().items()])
    target = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist([row.model_dump(mode="json") for row in build_rows(grades)], schema=schema), target
    )
    return target.getvalue().to_pybytes()


def _hints() -> dict[str, Any]:
    hints = get_type_hints(CheckRow)
    return {name: hints[name] for name in COLUMNS}


def _unwrap_hint(hint: Any) -> type:
    return next((kind for kind in get_args(hint) if kind is not type(None)), hint)
