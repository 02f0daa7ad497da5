"""What a kernel shows, as people may open it: texts and pictures, whatever was sent."""

import copy
import json
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell

from grader.execution.outputs import MAX_LINES, MAX_TEXT, disarm, simplify_bundle, simplify_content
from grader.judging.claims import read_claims

DEEP: Any = {}
for _ in range(480):
    DEEP = {"a": DEEP}
TABLE = "<table><tr><th>Epoch</th><th>Accuracy</th></tr>\n <tr>\n  <td>1</td>\n  <td>0.87</td></tr></table>"


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        pytest.param({"text/plain": "x"}, {"text/plain": "x"}, id="text"),
        pytest.param({"text/plain": ["x", "y", 5]}, {"text/plain": "xy"}, id="text in parts"),
        pytest.param({"text/plain": {"x": 1}}, {"text/plain": ""}, id="text that is none"),
        pytest.param({"image/png": "QUJD\n", "text/plain": "x"}, {"image/png": "QUJD\n", "text/plain": "x"}, id="png"),
        pytest.param({"image/png": '"onload="x'}, {"text/plain": "[not kept: image/png]"}, id="no base64"),
        pytest.param({"text/plain": "a 1", "text/html": "<b>1</b>"}, {"text/plain": "a 1"}, id="a frame of pandas"),
        pytest.param(
            {"text/plain": "<IPython.core.display.HTML object>", "text/html": "<b>1</b><script>alert(1)</script> 2"},
            {"text/plain": "1 2"},
            id="a page",
        ),
        pytest.param(
            {"text/html": "<style>td {}</style>" + TABLE}, {"text/plain": "Epoch | Accuracy |\n1 | 0.87 |"}, id="table"
        ),
        pytest.param(
            {"application/javascript": "x"}, {"text/plain": "[not kept: application/javascript]"}, id="script"
        ),
        pytest.param(
            {"image/svg+xml": "<svg/>", "text/plain": "x"}, {"text/plain": "x\n[not kept: image/svg+xml]"}, id="svg"
        ),
        pytest.param(
            {"application/json": DEEP, "text/plain": "x"}, {"text/plain": "x\n[not kept: application/json]"}, id="deep"
        ),
    ],
)
def test_displays(data: dict[str, Any], kept: dict[str, str]) -> None:
    content = simplify_content("display_data", {"data": data, "metadata": {"deep": DEEP}, "transient": {}})
    assert content == {"data": simplify_bundle(data), "metadata": {}, "transient": {}}
    assert {kind: text for kind, text in content["data"].items() if text or kind in kept} == kept


def test_lengths_are_bounded() -> None:
    long = "x" * (2 * MAX_TEXT)
    assert len(simplify_content("stream", {"name": "stdout", "text": long})["text"]) == MAX_TEXT
    assert len(simplify_bundle({"text/plain": long})["text/plain"]) == MAX_TEXT
    error = simplify_content("error", {"ename": long, "evalue": long, "traceback": [long] * 2_000})
    assert (len(error["ename"]), len(error["traceback"])) == (MAX_TEXT, MAX_LINES + 1)
    assert sum(map(len, error["traceback"])) <= 2 * MAX_TEXT
    many = {f"a/{number}{'x' * 100}": "" for number in range(10_000)}
    assert len(simplify_bundle(many)["text/plain"]) < 500


def test_a_table_is_read_as_before() -> None:
    """Claims are read from what is kept."""
    before, after = (new_notebook(cells=[new_code_cell("x", outputs=[new_output("display_data", data)])])
                     for data in ({"text/html": TABLE}, simplify_bundle({"text/html": TABLE})))  # fmt: skip
    assert read_claims(before) == read_claims(after) != ()


MARKDOWN = [
    "<script>alert(1)</script>", "a <img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "[x](JavaScript\\:a)",
    "![x](data:image/svg+xml,<svg/>)", "![x](https://example.org/seen.png)", "[x](java&#115;cript:a)", "<https://x.y>",
    "$\\href{javascript:alert(1)}{x}$", "~~~~\n<b>\n~~~~\n<script>",
]  # fmt: skip


@pytest.mark.parametrize("source", MARKDOWN)
@pytest.mark.parametrize("make", [new_markdown_cell, new_raw_cell])
def test_cells_of_text_are_disarmed(source: str, make: Any) -> None:
    notebook = new_notebook(cells=[make(source)])
    disarm(notebook)
    cell = notebook.cells[0]
    first, *lines, last = cell.source.split("\n")
    assert (cell.cell_type, "\n".join(lines), first) == ("markdown", source, last)
    assert set(first) == {"~"}
    assert first not in source
    nbformat.validate(notebook)


@pytest.mark.parametrize("source", ["# Step 1\n*Why* is 2 < 3, and 3 > 2?", "- data: 2,000 reviews", "`x` & `y`"])
def test_other_text_stays(source: str) -> None:
    notebook = new_notebook(cells=[new_markdown_cell(source), new_code_cell("a < b")])
    before = copy.deepcopy(notebook)
    disarm(notebook)
    unchanged = json.dumps(notebook) == json.dumps(before)
    assert unchanged or source.startswith("- data:")  # taken for an address, which harms nobody
