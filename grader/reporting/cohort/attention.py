"""Finds what needs a person, most urgent first."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

from grader.grades.grade import Grade, Standing
from grader.model import RunStatus
from grader.reporting import words
from grader.reporting.cohort.graded_class import GradedClass, Link
from grader.reporting.cohort.review_link import link_student
from grader.reporting.cohort.similarity_page import PAIRS_SHOWN, SIMILAR_PAGE, describe_cluster
from grader.similarity import cluster_papers

NOT_STOPPED: Final = (RunStatus.OK, RunStatus.STUDENT_ERROR, RunStatus.BAD_SUBMISSION, RunStatus.INFRA_ERROR)


@dataclass(frozen=True)
class AttentionEntry:
    """One thing to look at: who, what, and links to where it is shown."""

    who: str
    what: str
    links: tuple[Link, ...] = ()


def find_problems(settled: GradedClass) -> dict[str, tuple[AttentionEntry, ...]]:
    """Find what needs a person, by the keys of KINDS; a kind without entries is left out."""
    return {key: entries for key, find in KINDS.items() if (entries := tuple(find(settled)))}


def is_stopped(grade: Grade) -> bool:
    """Return True if the points are those of a notebook that was stopped while it ran."""
    result = grade.result
    return result is not None and result.run.status not in NOT_STOPPED and grade.standing is Standing.GRADED


def format_mismatches(grade: Grade) -> str:
    """List the figures that a notebook claims and that were measured otherwise; empty without any."""
    claims = grade.result.claims if grade.result else ()
    return "; ".join(
        f"{words.METHODS[claim.method]}: {claim.quantity.replace('_', ' ')} "
        f"{words.format_quantity(claim.quantity, claim.claimed)} claimed, "
        f"{words.format_quantity(claim.quantity, claim.measured)} measured"
        for claim in claims
        if claim.agrees is False
    )


def _note(settled: GradedClass, grade: Grade, what: str) -> AttentionEntry:
    review = ("review", link_student(grade.student.code))
    return AttentionEntry(grade.student.name, what, (*settled.list_links(grade), review))


def _find_standing(settled: GradedClass, wanted: Standing) -> Iterator[AttentionEntry]:
    return (_note(settled, grade, grade.note) for grade in settled.grades if grade.standing is wanted)


def _find_refused(settled: GradedClass) -> Iterator[AttentionEntry]:
    yield from _find_standing(settled, Standing.REFUSED)
    yield from (AttentionEntry(r.entry, r.reason) for r in settled.intake.refusals if r.student is None)


def _find_stopped(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (_note(settled, g, words.RUNS[g.result.run.status]) for g in settled.grades if g.result and is_stopped(g))


def _find_claims(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (_note(settled, grade, text) for grade in settled.grades if (text := format_mismatches(grade)))


def _find_similar(settled: GradedClass) -> Iterator[AttentionEntry]:
    for cluster in cluster_papers(settled.similarity):
        names = "; ".join(settled.name_author(paper) for paper in cluster.papers)
        closest = (
            (f"side by side: {n}" if n else "side by side", f"./{SIMILAR_PAGE}#pair-{i + 1}")
            for n, i in ((settled.name_pair(i) if len(cluster.pairs) > 1 else "", i) for i in cluster.pairs)
        )
        yield AttentionEntry(names, describe_cluster(settled.similarity, cluster), tuple(islice(closest, PAIRS_SHOWN)))


def _find_noted(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (entry for entry in _find_standing(settled, Standing.GRADED) if entry.what)


def _find_whole(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (AttentionEntry("", text) for text in settled.warnings if text not in settled.intake.concerns)


def _find_single(settled: GradedClass) -> Iterator[AttentionEntry]:
    concerns = settled.intake.concerns
    return (AttentionEntry(concerns[text], text) for text in settled.warnings if text in concerns)


def _find_missing(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (AttentionEntry(grade.student.name, "") for grade in settled.grades if grade.standing is Standing.MISSING)


# In the order of the page, which has their titles and meanings.
KINDS: Final[Mapping[str, Callable[[GradedClass], Iterable[AttentionEntry]]]] = {
    "ungraded": partial(_find_standing, wanted=Standing.UNGRADED),
    "batch": _find_whole,
    "refused": _find_refused,
    "stopped": _find_stopped,
    "claims": _find_claims,
    "similar": _find_similar,
    "notes": _find_noted,
    "single": _find_single,
    "missing": _find_missing,
}
