"""Every check of a class in one table."""

import csv
import io
import json

import pyarrow.parquet as pq
import pytest

from grader.gradebook import tables
from grader.gradebook.formulas import sanitise_cell
from grader.grades.grade import Grade, Standing
from grader.model import Verdict, Visibility

from .classes import check, grade, result, student, upload

FORMULA = check(Verdict.FAILED, "two", Visibility.HIDDEN, rationale="=HYPERLINK(0)")
JUDGED = result(check(Verdict.PASSED, "one"), FORMULA, check(Verdict.NOT_JUDGED, "three"))
ADA = grade(student(12), 4.0, 8.0).model_copy(update={"upload": upload("x_12_2_a.ipynb"), "result": JUDGED})
BOB = grade(student(13, "+1, Bøb"), None, standing=Standing.MISSING)
CLASS = [ADA, BOB]


def test_a_row_for_each_student_and_check() -> None:
    shown = ("name", "standing", "check", "verdict", "check_points")
    found = [tuple(row[column] for column in shown) for row in tables.build_rows(CLASS)]
    assert found == [
        ("Lovelace, Ada", "graded", "step1.one", "passed", 4.0),
        ("Lovelace, Ada", "graded", "step1.two", "failed", 0.0),
        ("Lovelace, Ada", "graded", "step1.three", "not_judged", None),
        ("+1, Bøb", "missing", None, None, None),
    ]


def test_csv_and_json_have_every_row_and_only_csv_is_sanitised() -> None:
    assert json.loads(tables.encode_json(CLASS)) == list(tables.build_rows(CLASS))
    raw = tables.encode_csv(CLASS)
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    assert raw.startswith(b"\xef\xbb\xbf")
    assert list(rows[0]) == list(tables.COLUMNS)
    assert [row["name"] for row in rows] == ["Lovelace, Ada"] * 3 + ["'+1, Bøb"]
    assert (rows[1]["rationale"], rows[3]["points"]) == ("'=HYPERLINK(0)", "")


@pytest.mark.parametrize("grades", [CLASS, [BOB], []], ids=["class", "nobody with a result", "nobody"])
def test_parquet_has_the_same_types_for_every_class(grades: list[Grade]) -> None:
    table = pq.read_table(io.BytesIO(tables.encode_parquet(grades)))
    assert table.to_pylist() == list(tables.build_rows(grades))
    types = {field.name: str(field.type) for field in table.schema}
    expected = {"canvas_id": "int64", "check_points": "double", "late": "bool", "check": "string"}
    assert {name: types[name] for name in expected} == expected


CALCULATED = ["=1", "+1+1", "-1+1", "@x", "\tx", "\rx", " =1", "\u00a0=1", "\uff1d1", "-x"]
HARMLESS = ["", "x=1", "-1.5", "-1e-05", "Ann-Li", "a@b", "'=1"]


@pytest.mark.parametrize("text", CALCULATED + HARMLESS)
def test_text_that_would_be_calculated_gets_an_apostrophe(text: str) -> None:
    assert sanitise_cell(text) == ("'" * (text in CALCULATED)) + text
