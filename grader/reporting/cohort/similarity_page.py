"""Similar code side by side: a hint for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grader.intake.uploads import Intake
from grader.reporting.cohort import STYLES
from grader.reporting.cohort.graded_class import GradedClass
from grader.reporting.page import render
from grader.similarity import Pair, Paper, Similarity

SIMILAR_PAGE: Final = "similar.html"
PASSAGES_MAX: Final = 6  # of one pair
PASSAGE_LINES: Final = 40
PASSAGE_CHARS: Final = 3_000  # with the limits above and that on pairs this bounds the page to some megabytes


def render_similar(similarity: Similarity, intake: Intake, folders: Mapping[str, str] | None = None) -> str:
    """Return `similar.html`: the pairs that the dashboard links to, their passages side by side."""
    settled = GradedClass((), intake, similarity, folders=folders or {})
    return render(
        "dashboard_similar.html",
        styles=STYLES,
        similarity=similarity,
        equal=[[settled.name_author(paper) for paper in group] for group in similarity.equal],
        pairs=[(pair, _list_sides(settled, pair)) for pair in similarity.pairs],
        passages_max=PASSAGES_MAX,
    )


@dataclass(frozen=True)
class _Side:
    """What the page shows of one paper of a pair: its author, the address of its report, and places and code."""

    name: str
    address: str
    passages: Sequence[tuple[str, str]]


def _list_sides(settled: GradedClass, pair: Pair) -> tuple[_Side, _Side]:
    shown = pair.passages[:PASSAGES_MAX]
    return (
        _build_side(settled, pair.left, [passage.left for passage in shown]),
        _build_side(settled, pair.right, [passage.right for passage in shown]),
    )


def _build_side(settled: GradedClass, paper: Paper, passages: Sequence[tuple[int, int]]) -> _Side:
    address = f"{settled.locate_reports(paper.id)}/staff.html"
    shown = [(_name_cells(paper.find_cell(a), paper.find_cell(b)), _cut_code(paper, a, b)) for a, b in passages]
    return _Side(settled.name_author(paper), address, shown)


def _cut_code(paper: Paper, first: int, last: int) -> str:
    code = "\n".join(paper.lines[first : min(last + 1, first + PASSAGE_LINES)])
    if len(code) > PASSAGE_CHARS:
        code = f"{code[:PASSAGE_CHARS]}\n[the rest is left out]"
    left_out = last + 1 - first - PASSAGE_LINES
    return f"{code}\n[{left_out} more lines]" if left_out > 0 else code


def _name_cells(first: int, last: int) -> str:
    if not last:
        return ""
    return f"cell {first}" if first == last else f"cells {first} to {last}"
