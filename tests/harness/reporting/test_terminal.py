"""The terminal: readable on 80 columns, without colour too, and never steered by a notebook.

The golden file changes only by `UPDATE_GOLDENS=1 python -m pytest tests/harness/reporting/test_terminal.py`.
"""

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from grader.machine.inventory import Finding, Status
from grader.model import Result
from grader.reporting.terminal import make_console, render_findings, render_result

from . import hostile
from .examples import full_marks, hostile_copies, middle, untouched_template

GOLDEN = Path(__file__).parent / "golden" / "middle.txt"


def _shown(renderable: RenderableType, *, colour: bool = False, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="replace", newline="\n")
    system = "standard" if colour else None
    Console(file=stream, width=80, force_terminal=colour, color_system=system, legacy_windows=False).print(renderable)
    stream.flush()
    return "\n".join(line.rstrip() for line in raw.getvalue().decode(encoding).split("\n"))


def test_golden() -> None:
    shown = _shown(render_result(middle(), [Path("results") / "x" / "feedback.html"])).replace("\\", "/")
    if os.environ.get("UPDATE_GOLDENS"):
        GOLDEN.write_text(shown, encoding="utf-8", newline="\n")
    assert shown == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("example", [full_marks, untouched_template, middle])
def test_fits_80_columns_and_is_plain_without_colour(example: Callable[[], Result]) -> None:
    shown = _shown(render_result(example()))
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert all(check.title.split()[0] in shown for check in example().checks)


def test_colour_adds_nothing_but_colour_and_ascii_has_marks_too() -> None:
    coloured = _shown(render_result(middle()), colour=True)
    assert "\x1b[1;31m✗ failed" in coloured
    plain = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in plain.split("\n")] == _shown(render_result(middle())).split("\n")
    ascii_only = _shown(render_result(middle()), encoding="ascii")
    assert all(mark in ascii_only for mark in ("x failed", "+ passed", "o blocked"))


@pytest.mark.parametrize("text", hostile.TEXTS.values(), ids=hostile.TEXTS)
def test_hostile_text_in_every_field_stays_text(text: str) -> None:
    result = Result.model_validate(hostile_copies(middle().model_dump(by_alias=True), text))
    shown = _shown(render_result(result, [Path("feedback.html")]))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", shown)
    assert hostile.MARK in shown
    assert not {"☺", "😄"} & set(shown)


def test_doctor_says_what_is_missing_and_what_to_do() -> None:
    findings = [
        Finding("Python", Status.OK, "3.11.2", "never shown"),
        Finding("Data", Status.MISSING, "no [b]train.csv[/b]", "Set A4_DATA."),
        Finding("Disk", Status.WARNING, "2 GiB free", ""),
    ]
    assert [line.strip() for line in _shown(render_findings(findings)).splitlines()] == [
        *("✓ ok         Python", "3.11.2"),
        *("✗ missing    Data", "no [b]train.csv[/b]", "Hint: Set A4_DATA."),
        *("! warning    Disk", "2 GiB free"),
    ]


def test_console_replaces_what_the_stream_cannot_encode() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")
    make_console(stream).print("ok ✓")
    stream.flush()
    assert raw.getvalue().decode("cp1252").strip() == "ok ?"
