"""Similar code side by side: a hint for people."""

from collections.abc import Mapping
from typing import Final

from grader.intake.uploads import Intake
from grader.reporting import words
from grader.reporting.cohort import STYLES
from grader.reporting.cohort.graded_class import GradedClass
from grader.reporting.page import render
from grader.similarity import Cluster, Paper, Similarity, cluster_papers

SIMILAR_PAGE: Final = "similar.html"
PAIRS_SHOWN: Final = 6  # of one group: the most similar; the dashboard leads to these
PASSAGES_MAX: Final = 6  # of one pair
PASSAGE_LINES: Final = 40
PASSAGE_CHARS: Final = 3_000  # with the limits above and that on pairs this bounds the page to some megabytes


def render_similar(similarity: Similarity, intake: Intake, folders: Mapping[str, str] | None = None) -> str:
    """Return `similar.html`: groups of notebooks, with the passages that two of them share side by side."""
    return render(
        "dashboard_similar.html",
        styles=STYLES,
        similarity=similarity,
        clusters=cluster_papers(similarity),
        settled=GradedClass((), intake, similarity, folders=folders or {}),
        describe_cluster=describe_cluster,
        pairs_shown=PAIRS_SHOWN,
        passages_max=PASSAGES_MAX,
        name_cells=_name_cells,
        cut_code=_cut_code,
    )


def describe_cluster(similarity: Similarity, cluster: Cluster) -> str:
    """Say how alike the notebooks of a group are."""
    pairs = [similarity.pairs[number] for number in cluster.pairs]
    if not pairs:
        return "The same file, byte for byte."
    low, high = (words.format_percent(found(pair.similarity for pair in pairs)) for found in (min, max))
    share = f"{high} of one is in the other" if low == high else f"between {low} and {high} of one are in another"
    return f"{'1 pair' if len(pairs) == 1 else f'{len(pairs)} pairs'}: {share}."


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
