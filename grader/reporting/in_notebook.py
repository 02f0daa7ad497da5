"""The view of a check inside a notebook: HTML that takes the colours of its surroundings, and plain text.

One column of blocks, so that it fits beside a list of files as well as on a phone. All styles are inline, since some
editors drop style sheets. Nothing but the marks has a colour of its own, and these bring their background along.
"""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import Final

from grader.reporting.sanitisation import mark_code, sanitise_line, sanitise_text

TEXT_WIDTH: Final = 76
MARK_WIDTH: Final = 10
TEXT_LIMIT: Final = 2_000


class Mark(StrEnum):
    """What became of a check, in a word."""

    PASSED = "passed"
    FAILED = "failed"
    BLOCKED = "blocked"  # something else has to pass first
    NOT_YET = "not yet"  # not begun
    NOTE = "note"  # passed, with something to know
    ERROR = "error"  # the check itself is at fault


SYMBOLS: Final = {
    Mark.PASSED: "✓",
    Mark.FAILED: "✗",
    Mark.BLOCKED: "⊘",
    Mark.NOT_YET: "○",
    Mark.NOTE: "!",
    Mark.ERROR: "!",
}
# White text on each has a contrast of at least 4.5 to 1, whatever is around it.
COLOURS: Final = {
    Mark.PASSED: "#1a7f37",
    Mark.FAILED: "#c4232d",
    Mark.BLOCKED: "#8a5a00",
    Mark.NOT_YET: "#626a73",
    Mark.NOTE: "#8a5a00",
    Mark.ERROR: "#8250df",
}


@dataclass(frozen=True)
class Row:
    """One check. `place`: the line that is the cause, as text."""

    mark: Mark
    title: str
    rationale: str = ""
    place: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Part:
    """One exercise or step. `note`: what was looked at."""

    title: str
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What one check has to say. `total` is its last line; `notes` come before it."""

    parts: tuple[Part, ...]
    total: Row
    notes: tuple[str, ...] = ()


def count_marks(rows: list[Row]) -> Row:
    """Sum up: everything passed, or how many checks did, and what to do about the others first."""
    counts = {mark: sum(row.mark is mark for row in rows) for mark in Mark}
    passed = counts[Mark.PASSED] + counts[Mark.NOTE]
    if passed == len(rows):
        return Row(Mark.PASSED, f"Everything passed: {passed} of {passed} checks." if passed > 1 else "Passed.")
    others = [f"{counts[m]} {m.value}" for m in (Mark.FAILED, Mark.BLOCKED, Mark.ERROR) if counts[m]]
    unbegun = f"{counts[Mark.NOT_YET]} not begun yet" if counts[Mark.NOT_YET] else ""
    if not others:
        what = (
            f"What you have begun passed: {passed} of {passed} checks; {unbegun}."
            if passed
            else "Nothing to check here yet."
        )
        return Row(Mark.PASSED if passed else Mark.NOT_YET, what)
    if len(rows) == 1:
        return Row(rows[0].mark, "Not right yet.")
    mark = next(m for m in (Mark.FAILED, Mark.ERROR, Mark.BLOCKED) if counts[m])
    return Row(mark, f"{passed} of {len(rows)} checks passed; {', '.join([*others, unbegun]).strip(', ')}.")


def write_text(report: Report) -> str:
    """Write a report as plain text, at most 76 columns wide."""
    lines: list[str] = []
    for part in report.parts:
        lines += ["", sanitise_line(part.title), *_wrap(part.note, 2)]
        lines += [line for row in part.rows for line in _write_row(row)]
    lines.append("")
    lines += [line for note in report.notes for line in _wrap(note, 0)]
    return "\n".join([*lines, *_write_row(report.total, 0)]).strip("\n")


def _write_row(row: Row, indent: int = 2) -> Iterator[str]:
    mark = f"{' ' * indent}{SYMBOLS[row.mark]} {row.mark.value}".ljust(indent + MARK_WIDTH)
    yield from textwrap.wrap(
        sanitise_line(row.title, TEXT_LIMIT), TEXT_WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark)
    )
    for text in (row.rationale, row.place, row.hint and f"Try: {row.hint}"):
        yield from _wrap(text, len(mark))


def _wrap(text: str, indent: int) -> list[str]:
    room = " " * indent
    lines = sanitise_text(text, TEXT_LIMIT).splitlines()
    return [
        part for line in lines for part in textwrap.wrap(line, TEXT_WIDTH, initial_indent=room, subsequent_indent=room)
    ]


def write_html(report: Report) -> str:
    """Write a report as HTML without a style sheet."""
    parts = "".join(_write_part(part) for part in report.parts)
    notes = "".join(f'<div style="margin:0.5em 0">{_mark_up(note)}</div>' for note in report.notes)
    total = f'<div style="margin-top:0.7em;padding-top:0.5em;{RULE_ABOVE}">{_write_block(report.total, True)}</div>'
    return f'<div style="{WHOLE}">{parts}{notes}{total}</div>'


WHOLE: Final = "min-width:14em;padding:0 0.3em;max-width:50em;line-height:1.45;overflow-wrap:anywhere"
RULE_ABOVE: Final = "border-top:1px solid rgba(128,128,128,0.45)"
BADGE: Final = (
    "flex:0 0 auto;min-width:5.6em;text-align:center;padding:0 0.45em;border-radius:0.3em;color:#ffffff;"
    "font-size:0.85em;font-weight:600;white-space:nowrap"
)
# Editors set code with room around it, which would stand before a full stop.
CODE_STYLE: Final = (
    "background:none;padding:0;color:inherit;font-size:0.95em;white-space:pre-wrap;overflow-wrap:anywhere"
)
BLOCK: Final = "display:flex;flex-wrap:wrap;gap:0.1em 0.7em;align-items:baseline;margin:0.3em 0"
LINE: Final = "margin:0.1em 0 0 0"


def _write_part(part: Part) -> str:
    note = f'<div style="font-size:0.92em">{_mark_up(part.note)}</div>' if part.note else ""
    rows = "".join(_write_block(row) for row in part.rows)
    return (
        f'<div style="margin:0.7em 0 0 0"><div style="font-weight:600">{_mark_up(part.title)}</div>{note}{rows}</div>'
    )


def _write_block(row: Row, bold: bool = False) -> str:
    badge = f'<span style="{BADGE};background:{COLOURS[row.mark]}">{SYMBOLS[row.mark]} {row.mark.value}</span>'
    weight = ' style="font-weight:600"' if bold else ""
    below = [row.rationale and _mark_up(row.rationale), row.place and _write_place(row.place)]
    below.append(row.hint and f"<b>Try:</b> {_mark_up(row.hint)}")
    lines = "".join(f'<div style="{LINE}">{line}</div>' for line in below if line)
    text = f'<div style="flex:1 1 16em;min-width:0"><div{weight}>{_mark_up(row.title)}</div>{lines}</div>'
    return f'<div style="{BLOCK}">{badge}{text}</div>'


def _write_place(place: str) -> str:
    where, _, code = place.partition(": ")
    return f'{escape(where)}: <code style="{CODE_STYLE}">{escape(sanitise_line(code))}</code>'


def _mark_up(text: str) -> str:
    escaped = escape(sanitise_text(text, TEXT_LIMIT))
    return mark_code(escaped, f'<code style="{CODE_STYLE}">').replace("\n", "<br>")
