"""The view of a check inside a notebook: plain text of a width that fits, HTML that needs no style sheet."""

import re

import pytest

from grader.reporting.in_notebook import COLOURS, Mark, Part, Report, Row, count_marks, write_html, write_text

LONG = "word " * 60
PLACE = "In [12], line 3: a = '<b>' + \"x\"  # " + "y" * 90
ROW = Row(Mark.FAILED, "A & B", f"Expected `x < y`; found more. {LONG}", PLACE, "Use `self.A`.")
REPORT = Report(
    (Part("3.3 The LoRA layer", (ROW, Row(Mark.PASSED, "Right")), "Your last training"),), ROW, ("A note.",)
)


def test_text_fits_beside_a_list_of_files() -> None:
    text = write_text(REPORT)
    assert max(map(len, text.splitlines())) <= 76
    assert [
        words
        for words in ("✗ failed", "✓ passed", "In [12], line 3:", "Try: Use `self.A`.", "A note.")
        if words not in text
    ] == []


def test_html_brings_what_it_needs_and_nothing_else() -> None:
    html = write_html(REPORT)
    assert not re.search(r"<(?:style|script|table|img|link)|class=|url\(|width:\d+px", html)
    assert "<b>'" not in html
    assert "&lt;b&gt;" in html
    assert "A &amp; B" in html
    assert ">x &lt; y</code>" in html
    coloured = set(re.findall(r"(?:background|color):([^;\"]+)", html)) - {"none", "inherit", "#ffffff"}
    assert coloured <= set(COLOURS.values())


def measure_luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mark", Mark)
def test_marks_are_readable_on_any_background(mark: Mark) -> None:
    assert 1.05 / (measure_luminance(COLOURS[mark]) + 0.05) >= 4.5  # white on it, as WCAG asks for


@pytest.mark.parametrize(
    ("marks", "total", "said"),
    [
        ([Mark.PASSED], Mark.PASSED, "Passed."),
        ([Mark.PASSED, Mark.NOTE], Mark.PASSED, "Everything passed: 2 of 2 checks."),
        ([Mark.PASSED, Mark.NOT_YET], Mark.PASSED, "What you have begun passed: 1 of 1 checks; 1 not begun yet."),
        ([Mark.NOT_YET], Mark.NOT_YET, "Nothing to check here yet."),
        ([Mark.FAILED], Mark.FAILED, "Not right yet."),
        ([Mark.PASSED, Mark.FAILED, Mark.BLOCKED], Mark.FAILED, "1 of 3 checks passed; 1 failed, 1 blocked."),
        ([Mark.FAILED, Mark.NOT_YET], Mark.FAILED, "0 of 2 checks passed; 1 failed, 1 not begun yet."),
    ],
)
def test_the_total_is_a_sentence(marks: list[Mark], total: Mark, said: str) -> None:
    found = count_marks([Row(mark, "") for mark in marks])
    assert (found.mark, found.title) == (total, said)
