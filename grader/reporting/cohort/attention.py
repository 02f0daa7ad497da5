"""What needs a human, most urgent first."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grader.grades.grade import Grade, Standing
from grader.intake.uploads import Intake
from grader.model import RunStatus
from grader.reporting import words
from grader.reporting.cohort.links import list_report_links
from grader.reporting.cohort.similarity_page import SIMILAR_PAGE, name_author
from grader.similarity import Similarity

SHOWN: Final = 10  # entries of a problem before the rest is folded away
STOPPED: Final = (
    RunStatus.TIMEOUT,
    RunStatus.MEMORY,
    RunStatus.OUTPUT_LIMIT,
    RunStatus.KERNEL_DIED,
    RunStatus.PROTOCOL_VIOLATION,
)


@dataclass(frozen=True)
class GradedClass:
    """A class after grading. `folders`: upload id -> folder of its reports, relative to the page."""

    grades: Sequence[Grade]
    intake: Intake
    similarity: Similarity | None = None
    warnings: Sequence[str] = ()
    folders: Mapping[str, str] | None = None

    def entry(self, grade: Grade, what: str) -> "AttentionEntry":
        """A student to look at."""
        return AttentionEntry(
            grade.student.name, what, list_report_links(grade.upload, self.folders or {}, grade.result)
        )


@dataclass(frozen=True)
class AttentionEntry:
    """One thing to look at: who, what, and where it is shown."""

    who: str
    what: str
    links: tuple[tuple[str, str], ...] = ()  # text, address


@dataclass(frozen=True)
class AttentionKind:
    """A kind of things to look at. `tone` is the verdict whose colour it has."""

    key: str
    title: str
    meaning: str
    tone: str
    find: Callable[[GradedClass], Iterable[AttentionEntry]]


@dataclass(frozen=True)
class Problem:
    """Things of one kind to look at."""

    kind: AttentionKind
    entries: tuple[AttentionEntry, ...]

    @property
    def first(self) -> tuple[AttentionEntry, ...]:
        """What is shown at once."""
        return self.entries if len(self.entries) <= SHOWN + 2 else self.entries[:SHOWN]

    @property
    def rest(self) -> tuple[AttentionEntry, ...]:
        """What is folded away."""
        return self.entries[len(self.first) :]


def find_problems(settled: GradedClass) -> tuple[Problem, ...]:
    """What needs a human; a kind without entries is left out."""
    found = (Problem(kind, tuple(kind.find(settled))) for kind in KINDS)
    return tuple(problem for problem in found if problem.entries)


def is_stopped(grade: Grade) -> bool:
    """Whether a grade stands for a notebook that was stopped while it ran."""
    return grade.result is not None and grade.result.run.status in STOPPED and grade.standing is Standing.GRADED


def format_mismatches(grade: Grade) -> str:
    """Figures that a notebook claims and that were measured otherwise; empty without any."""
    claims = grade.result.claims if grade.result else ()
    return "; ".join(
        f"{words.METHODS[claim.method]}: {claim.quantity.replace('_', ' ')} "
        f"{words.format_quantity(claim.quantity, claim.claimed)} claimed, "
        f"{words.format_quantity(claim.quantity, claim.measured)} measured"
        for claim in claims
        if claim.agrees is False
    )


def _find_ungraded(settled: GradedClass) -> Iterator[AttentionEntry]:
    return _find_standing(settled, Standing.UNGRADED)


def _find_warnings(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (AttentionEntry("", warning) for warning in settled.warnings)


def _find_refused(settled: GradedClass) -> Iterator[AttentionEntry]:
    yield from _find_standing(settled, Standing.REFUSED)
    yield from (AttentionEntry(r.entry, r.reason) for r in settled.intake.refusals if r.student is None)


def _find_stopped(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (settled.entry(g, words.RUNS[g.result.run.status]) for g in settled.grades if g.result and is_stopped(g))


def _find_claims(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (settled.entry(grade, text) for grade in settled.grades if (text := format_mismatches(grade)))


def _find_similar(settled: GradedClass) -> Iterator[AttentionEntry]:
    if settled.similarity is None:
        return
    uploads = {upload.id: upload for upload in settled.intake.uploads}
    for group in settled.similarity.equal:
        yield AttentionEntry("; ".join(name_author(paper, uploads) for paper in group), "The same file, byte for byte.")
    for number, pair in enumerate(settled.similarity.pairs, 1):
        yield AttentionEntry(
            f"{name_author(pair.left, uploads)} and {name_author(pair.right, uploads)}",
            f"{words.format_percent(pair.left_similarity)} of the first is in the second, "
            f"{words.format_percent(pair.right_similarity)} of the second in the first.",
            (("side by side", f"./{SIMILAR_PAGE}#pair-{number}"),),
        )


def _find_noted(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (entry for entry in _find_standing(settled, Standing.GRADED) if entry.what)


def _find_missing(settled: GradedClass) -> Iterator[AttentionEntry]:
    return (AttentionEntry(grade.student.name, "") for grade in settled.grades if grade.standing is Standing.MISSING)


def _find_standing(settled: GradedClass, wanted: Standing) -> Iterator[AttentionEntry]:
    return (settled.entry(grade, grade.note) for grade in settled.grades if grade.standing is wanted)


KINDS: Final = (
    AttentionKind(
        "ungraded",
        "Ungraded",
        "The grader failed, or somebody still has to judge. No points are given; the gradebook keeps its value.",
        "error",
        _find_ungraded,
    ),
    AttentionKind("batch", "The batch as a whole", "What concerns no single student.", "error", _find_warnings),
    AttentionKind(
        "refused",
        "Refused",
        "Handed in, and not a notebook that can be graded. Its author has to hand in again.",
        "failed",
        _find_refused,
    ),
    AttentionKind(
        "stopped",
        "Stopped while running",
        "Graded on what there was. Worth a look before the points go out.",
        "blocked",
        _find_stopped,
    ),
    AttentionKind(
        "claims",
        "Claimed figures that differ",
        "The notebook printed something else than the grader measured. A reason to look, never a deduction.",
        "blocked",
        _find_claims,
    ),
    AttentionKind(
        "similar",
        "Similar code",
        "Passages that two notebooks share and that neither the template nor many others have. All solve the same "
        "task, so this is a question to ask, not an answer; it costs no points.",
        "blocked",
        _find_similar,
    ),
    AttentionKind(
        "notes", "Graded, with a note", "Nothing is missing; somebody should know.", "not_judged", _find_noted
    ),
    AttentionKind(
        "missing", "Nothing handed in", "On the roster, and not in the archive.", "not_judged", _find_missing
    ),
)
