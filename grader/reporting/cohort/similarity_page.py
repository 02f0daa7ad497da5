"""Similar code side by side: a hint for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from grader.intake.uploads import Intake, Upload
from grader.reporting.cohort import STYLES
from grader.reporting.cohort.links import locate_report_folder
from grader.reporting.page import render
from grader.similarity import Pair, Paper, Passage, Similarity

SIMILAR_PAGE: Final = "similar.html"
PASSAGES_MAX: Final = 6  # of one pair
PASSAGE_LINES: Final = 40
PASSAGE_CHARS: Final = 3_000  # with the limits above and that on pairs this bounds the page to some megabytes


def render_similar(similarity: Similarity, intake: Intake, folders: Mapping[str, str] | None = None) -> str:
    """Return `similar.html`: the pairs that the dashboard links to, their passages side by side."""
    uploads = {upload.id: upload for upload in intake.uploads}
    return render(
        "dashboard_similar.html",
        styles=STYLES,
        similarity=similarity,
        equal=[[name_author(paper, uploads) for paper in group] for group in similarity.equal],
        pairs=[_Sides(pair, uploads, folders or {}) for pair in similarity.pairs],
        passages_max=PASSAGES_MAX,
    )


def name_author(paper: Paper, uploads: Mapping[str, Upload]) -> str:
    """Whose paper it is; its id where nobody knows."""
    return uploads[paper.id].student.name if paper.id in uploads else paper.id


@dataclass(frozen=True)
class _Side:
    """One half of a passage."""

    place: str
    code: str


class _Sides:
    """A pair of papers to be shown beside each other."""

    def __init__(self, pair: Pair, uploads: Mapping[str, Upload], folders: Mapping[str, str]) -> None:
        self.pair = pair
        self.names = tuple(name_author(paper, uploads) for paper in (pair.left, pair.right))
        self.addresses = tuple(
            f"{locate_report_folder(paper.id, folders)}/staff.html" for paper in (pair.left, pair.right)
        )
        self.passages = [self._passage(passage) for passage in pair.passages[:PASSAGES_MAX]]
        self.left_out = max(0, len(pair.passages) - PASSAGES_MAX)

    def _passage(self, passage: Passage) -> tuple[_Side, _Side]:
        return _side(self.pair.left, passage.left), _side(self.pair.right, passage.right)


def _side(paper: Paper, lines: tuple[int, int]) -> _Side:
    first, last = lines
    shown = "\n".join(paper.lines[first : min(last + 1, first + PASSAGE_LINES)])
    cut = last + 1 - first - PASSAGE_LINES
    code = shown if len(shown) <= PASSAGE_CHARS else f"{shown[:PASSAGE_CHARS]}\n[the rest is left out]"
    return _Side(
        _place(paper.find_cell(first), paper.find_cell(last)), f"{code}\n[{cut} more lines]" if cut > 0 else code
    )


def _place(first: int, last: int) -> str:
    if not last:
        return ""
    return f"cell {first}" if first == last else f"cells {first} to {last}"
