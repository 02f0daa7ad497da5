"""The page for a class: what needs attention, how it went, everybody's row."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grader.grades.grade import AdjustmentKind, Grade, Standing, describe_partial, tell_apart
from grader.intake.uploads import Intake, Upload
from grader.model import Method, Result, Verdict
from grader.reporting import words
from grader.reporting.cohort import STYLES
from grader.reporting.cohort.attention import find_problems, format_mismatches, is_stopped
from grader.reporting.cohort.figures import compute_check_figures, compute_method_figures, compute_spread
from grader.reporting.cohort.graded_class import GradedClass, Link
from grader.reporting.cohort.review_link import link_student
from grader.reporting.outline import select_measured
from grader.reporting.page import render
from grader.reporting.plots import MARKERS, draw_accuracy_over_time, draw_score_histogram
from grader.reporting.sanitisation import sanitise_line
from grader.similarity import Similarity

ENTRIES_SHOWN: Final = 10  # of one kind of problem, before the rest is folded away
VALUES_SHOWN: Final = 4  # different values of one fact
SAME_FOR_ALL: Final = ("checkpoint", "reviews", "precision", "grader", "torch", "transformers", "python")
TONES: Final[Mapping[Standing, Verdict]] = {  # each standing has the colour and the sign of a verdict
    Standing.GRADED: Verdict.PASSED,
    Standing.UNGRADED: Verdict.ERROR,
    Standing.REFUSED: Verdict.FAILED,
    Standing.MISSING: Verdict.BLOCKED,
    Standing.EXCUSED: Verdict.NOT_JUDGED,
}


@dataclass(frozen=True)
class StudentRow:
    """One student in the table."""

    grade: Grade
    flags: tuple[str, ...]
    links: tuple[Link, ...]

    @property
    def changed(self) -> str:
        """Changes of the points: `late −10, changed by a person +4`."""
        changes = self.grade.adjustments if self.grade.standing is not Standing.EXCUSED else ()
        return ", ".join(
            f"{words.ADJUSTMENTS[change.kind].lower()} {words.format_signed(change.points)}" for change in changes
        )

    @property
    def search(self) -> str:
        """Text that the filter looks through."""
        student, upload = self.grade.student, self.grade.upload
        parts = (
            student.name,
            student.key,
            self.grade.group,
            student.section,
            student.login,
            upload and upload.display_name,
            *self.flags,
        )
        return sanitise_line(" ".join(part for part in parts if part)).casefold()


def render_dashboard(
    grades: Sequence[Grade],
    intake: Intake,
    *,
    name: str,
    similarity: Similarity | None = None,
    rules: Iterable[str] = (),
    warnings: Iterable[str] = (),
    folders: Mapping[str, str] | None = None,
    files: Mapping[str, Sequence[Link]] | None = None,
) -> str:
    """Return `index.html` of a batch: one self-contained page that is complete without its script.

    `name`: title of the batch. `rules`: the policy in sentences. For the others see `GradedClass`.
    """
    people = sorted(tell_apart(grades), key=lambda grade: (grade.student.name.casefold(), grade.student.key))
    settled = GradedClass(people, intake, similarity or Similarity(), tuple(warnings), folders or {}, files or {})
    results = [grade.result for grade in people if grade.result]
    return render(
        "dashboard.html",
        styles=STYLES,
        script="dashboard.js",
        name=name,
        standings=Counter(grade.standing for grade in people),
        tones=TONES,
        notices=_list_notices(results, people),
        problems=find_problems(settled),
        shown_max=ENTRIES_SHOWN,
        rows=[StudentRow(grade, _list_flags(settled, grade), settled.list_links(grade)) for grade in people],
        facts=_list_facts(results, intake),
        rules=tuple(rules),
        similarity=similarity,
        markers=MARKERS,
        link_student=link_student,
        Method=Method,
        Verdict=Verdict,
        **_compute_figures(people, results),
    )


def _compute_figures(people: Sequence[Grade], results: Sequence[Result]) -> dict[str, object]:
    """Compute the figures of the class, and draw its pictures, by their names in the template."""
    graded = [grade for grade in people if grade.points is not None]
    checks = compute_check_figures(results)
    methods = [select_measured(result.methods) for result in results]
    return {
        "spread": compute_spread(people),
        "possible": max((grade.possible for grade in graded), default=0.0),
        "histogram": draw_score_histogram((g.points or 0.0) / g.possible for g in graded if g.possible > 0),
        "checks": checks,
        "hardest": sorted((c for c in checks if c.passed is not None), key=lambda c: c.passed or 0.0)[:3],
        "methods": compute_method_figures(methods),
        "over_time": draw_accuracy_over_time(methods),
    }


def _list_flags(settled: GradedClass, grade: Grade) -> tuple[str, ...]:
    """List words for the table, so that a filter finds them."""
    flags = {
        "late": any(change.kind is AdjustmentKind.LATE for change in grade.adjustments),
        "claims differ": bool(format_mismatches(grade)),
        "similar code": grade.upload is not None and grade.upload.id in settled.alike,
        "stopped": is_stopped(grade),
        str(grade.outcome): bool(grade.outcome),
    }
    return tuple(text for text, applies in flags.items() if applies)


def _list_notices(results: Sequence[Result], people: Sequence[Grade]) -> list[str]:
    """List what a reader must know before the figures."""
    bare = sum(result.sandbox == words.NO_SANDBOX for result in results)
    synthetic = sum(map(words.is_measured_on_synthetic, results))
    of_all = f"of {len(results)} notebooks"
    found = [partial] if (partial := describe_partial(people)) else []
    if bare:
        found.append(f"{bare} {of_all} were run without a sandbox: they could have changed any result.")
    if synthetic:
        found.append(f"Accuracy was measured on synthetic reviews for {synthetic} {of_all}.")
    return found


def _list_facts(results: Sequence[Result], intake: Intake) -> list[tuple[str, str]]:
    """List how it was graded. Where results differ, each value with its number."""
    values = {
        "Profile": Counter(result.profile.value for result in results),
        "Calibration": Counter(result.calibration or "none" for result in results),
        "Sandbox": Counter(result.sandbox for result in results),
        "Seed": Counter(str(result.seed) for result in results),
    }
    for name in SAME_FOR_ALL:
        if found := Counter(result.environment[name] for result in results if name in result.environment):
            values[name.capitalize()] = found
    memory_mib = max((result.run.peak_memory_mib for result in results), default=0.0)
    return [
        ("Submissions from", intake.source),
        ("Notebooks", _describe_notebooks((*intake.uploads, *intake.unreadable), len(intake.unreadable))),
        *((name, _format_values(counts)) for name, counts in values.items()),
        ("All runs together", words.format_seconds(sum(result.run.wall_s for result in results))),
        ("Largest memory", f"{words.format_count(memory_mib)} MiB"),
    ]


def _describe_notebooks(taken: Sequence[Upload], refused: int) -> str:
    """Count the notebooks as the terminal does."""
    different = len({upload.sha256 for upload in taken})
    parts = [str(len(taken)), f"{refused} of them refused" * bool(refused), f"{different} with different contents"]
    return ", ".join(part for part in parts if part)


def _format_values(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return sanitise_line(next(iter(counts)))
    shown = [f"{sanitise_line(value, 80)} ({number})" for value, number in counts.most_common(VALUES_SHOWN)]
    left_out = [f"{len(counts) - VALUES_SHOWN} more values"] if len(counts) > VALUES_SHOWN else []
    return ", ".join(shown + left_out) or "nothing was run"
