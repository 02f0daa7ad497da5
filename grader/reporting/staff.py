"""The page for staff: everything that is known about one submission."""

from collections.abc import Sequence
from typing import Final

from grader.grades.grade import Grade
from grader.model import CellRecord, Result, StaffDetails
from grader.reporting import words
from grader.reporting.bars import Bar, build_duration_bars, build_method_charts
from grader.reporting.outline import count_verdicts, group_by_step, index_decided, select_measured
from grader.reporting.page import render
from grader.reporting.plots import draw_curves

CELLS_MAX: Final = 300  # with the limit per text this bounds the page to some megabytes


def render_staff(
    result: Result, details: StaffDetails, grade: Grade | None = None, texts: Sequence[tuple[int, str]] = ()
) -> str:
    """Return the staff report: one self-contained HTML file with hidden checks, claims, cells and tracebacks.

    With a grade, its points are shown, and who changed them and why.

    Args:
        texts: what the student wrote in cells of text, each with the number of its cell, from 1.
    """
    result = (grade and grade.shown_result) or result
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
        accuracy_measured=any(summary.accuracy is not None for summary in methods.values()),
        charts=build_method_charts(methods, with_thresholds=True),
        curves=draw_curves(details.curves),
        mismatches=sum(claim.agrees is False for claim in result.claims),
        cells=_pair_with_bars(details.cells[:CELLS_MAX]),
        cells_left_out=max(0, len(details.cells) - CELLS_MAX),
        timings=build_duration_bars(result.timings.items()),
    )


def _pair_with_bars(cells: Sequence[CellRecord]) -> list[tuple[CellRecord, Bar]]:
    bars = build_duration_bars((f"cell {cell.index + 1}", cell.duration_s) for cell in cells)
    return list(zip(cells, bars, strict=True))
