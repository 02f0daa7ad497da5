"""The page for staff: everything that is known about one submission."""

from collections.abc import Sequence
from html import escape
from typing import Final

from grader.grades.grade import Grade
from grader.model import CellRecord, Result, StaffDetails
from grader.reporting import words
from grader.reporting.bars import Bar, build_duration_bars, build_method_charts
from grader.reporting.outline import count_verdicts, group_by_step, index_decided, select_measured
from grader.reporting.page import render
from grader.reporting.plots import draw_curves
from grader.reporting.sanitisation import TEXT_LIMIT, sanitise_text

CELLS_MAX: Final = 300
MARKUP_MAX: Final = (
    2_000_000  # characters that the texts of all cells take on the page; each has a limit of its own, too
)
CUT: Final = "[cut: all cells together are too long for a page; executed.ipynb has them]"


def render_staff(
    result: Result, details: StaffDetails, grade: Grade | None = None, texts: Sequence[tuple[int, str]] = ()
) -> str:
    """Return the staff report: one self-contained HTML file with hidden checks, claims, cells and tracebacks.

    With a grade, its points are shown, and who changed them and why.

    Args:
        texts: what the student wrote in cells of text, each with the number of its cell, from 1.
    """
    result = (grade and grade.shown_result) or result
    room = Room(MARKUP_MAX)
    cells = details.cells[:CELLS_MAX]
    texts = [(number, room.take(text)) for number, text in texts]
    for part in ("source", "traceback", "output"):  # the most telling first
        cells = tuple(cell.model_copy(update={part: room.take(getattr(cell, part))}) for cell in cells)
    methods = select_measured(result.methods)
    return render(
        "staff.html",
        staff=True,
        result=result,
        grade=grade,
        decided=index_decided(grade),
        details=details,
        texts=texts,
        notices=words.list_notices(result, grade),
        steps=group_by_step(result.checks),
        counts=count_verdicts(result.checks),
        methods=methods,
        accuracy=words.describe_accuracy(methods),
        charts=build_method_charts(methods, with_thresholds=True),
        curves=draw_curves(details.curves),
        mismatches=sum(claim.agrees is False for claim in result.claims),
        cells=_pair_with_bars(cells),
        cells_left_out=max(0, len(details.cells) - CELLS_MAX),
        timings=build_duration_bars(result.timings.items()),
    )


class Room:
    """What is left of a page, in characters of markup: escaped or made visible, a character may take eight."""

    def __init__(self, characters: int) -> None:
        self.left = characters

    def take(self, text: str) -> str:
        """Return a text, or a sentence in its place where there is no room left."""
        if min(len(text), TEXT_LIMIT) > self.left:
            return CUT
        size = len(escape(sanitise_text(text)))  # as the page shows it
        if size > self.left:
            return CUT
        self.left -= size
        return text


def _pair_with_bars(cells: Sequence[CellRecord]) -> list[tuple[CellRecord, Bar]]:
    bars = build_duration_bars((f"cell {cell.index + 1}", cell.duration_s) for cell in cells)
    return list(zip(cells, bars, strict=True))
