"""Similar code side by side: a hint for people."""

from collections.abc import Mapping
from typing import Final

from grader.intake.uploads import Intake
from grader.reporting.cohort import STYLES
from grader.reporting.cohort.graded_class import GradedClass
from grader.reporting.page import render
from grader.similarity import Paper, Similarity

SIMILAR_PAGE: Final = "similar.html"
PASSAGES_MAX: Final = 6  # of one pair
PASSAGE_LINES: Final = 40
PASSAGE_CHARS: Final = 3_000  # with the limits above and that on pairs this bounds the page to some megabytes


def render_similar(similarity: Similarity, intake: Intake, folders: Mapping[str, str] | None = None) -> str:
    """Return `similar.html`: the pairs that the dashboard links to, their passages side by side."""
    return render(
        "dashboard_similar.html",
        styles=STYLES,
        similarity=similarity,
        settled=GradedClass((), intake, similarity, folders=folders or {}),
        passages_max=PASSAGES_MAX,
        name_cells=_name_cells,
        cut_code=_cut_code,
    )


def _name_cells(paper: Paper, lines: tuple[int, int]) -> str:
    first, last = map(paper.find_cell, lines)
    if not last:
        return ""
    return f"cell {first}" if first == last else f"cells {first} to {last}"


def _cut_code(paper: Paper, lines: tuple[int, int]) -> str:
    first, last = lines
    code = "\n".join(paper.lines[first : min(last + 1, first + PASSAGE_LINES)])
    if len(code) > PASSAGE_CHARS:
        code = f"{code[:PASSAGE_CHARS]}\n[the rest is left out]"
    left_out = last + 1 - first - PASSAGE_LINES
    return f"{code}\n[{left_out} more lines]" if left_out > 0 else code
