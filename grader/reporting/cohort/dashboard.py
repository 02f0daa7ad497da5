"""The page for a class: what needs attention, how it went, everybody's row."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from grader.grades.grade import AdjustmentKind, Grade, Standing
from grader.intake.uploads import Intake
from grader.model import Method, Result, Verdict
from grader.reporting import words
from grader.reporting.cohort import STYLES
from grader.reporting.cohort.attention import GradedClass, find_problems, format_mismatches, is_stopped
from grader.reporting.cohort.figures import compute_check_figures, compute_method_figures, compute_spread
from grader.reporting.cohort.links import list_report_links
from grader.reporting.outline import list_adjustment_lines, select_measured
from grader.reporting.page import render
from grader.reporting.plots import MARKERS, draw_accuracy_over_time, draw_score_histogram
from grader.reporting.sanitisation import sanitise_line
from grader.similarity import Similarity

VALUES_SHOWN: Final = 4  # different values of one fact
SAME_FOR_ALL: Final = ("checkpoint", "reviews", "precision", "grader", "torch", "transformers", "python")


@dataclass(frozen=True)
class StudentRow:
    """One student in the table."""

    grade: Grade
    flags: tuple[str, ...]
    links: tuple[tuple[str, str], ...]

    @property
    def passed(self) -> int | None:
        """Checks that passed; None without a result."""
        result = self.grade.result
        return None if result is None else sum(check.verdict is Verdict.PASSED for check in result.checks)

    @property
    def changed(self) -> str:
        """What happened to the points: `late −10, changed by a person +4`."""
        lines = list_adjustment_lines(self.grade) if self.grade.standing is not Standing.EXCUSED else ()
        return ", ".join(f"{line.what.lower()} {line.points}" for line in lines)

    @property
    def search(self) -> str:
        """What the filter looks through."""
        student, upload = self.grade.student, self.grade.upload
        parts = (student.name, student.key, student.section, student.login, upload and upload.display_name, *self.flags)
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
) -> str:
    """Return `index.html` of a batch: one self-contained page that is complete without its script.

    `name`: title of the batch. `rules`: the policy in sentences. `warnings`: sentences for staff on the batch as a
    whole. `folders`: upload id -> folder of its reports, relative to the page; the id where it is not named.
    """
    people = sorted(grades, key=lambda grade: (grade.student.name.casefold(), grade.student.key))
    results = [grade.result for grade in people if grade.result]
    methods = [select_measured(result.methods) for result in results]
    shares = [grade.points / grade.possible for grade in people if grade.points is not None and grade.possible > 0]
    flags = _flags(people, similarity)
    checks = compute_check_figures(results)
    return render(
        "dashboard.html",
        styles=STYLES,
        script="dashboard.js",
        name=name,
        intake=intake,
        standings=Counter(grade.standing for grade in people),
        spread=compute_spread(people),
        possible=max((grade.possible for grade in people if grade.points is not None), default=0.0),
        notices=_notices(results),
        problems=find_problems(GradedClass(people, intake, similarity, tuple(warnings), folders or {})),
        histogram=draw_score_histogram(shares),
        checks=checks,
        hardest=sorted((check for check in checks if check.passed is not None), key=lambda c: c.passed or 0.0)[:3],
        methods=compute_method_figures(methods),
        over_time=draw_accuracy_over_time(methods),
        rows=[
            StudentRow(
                grade, flags.get(grade.student.key, ()), list_report_links(grade.upload, folders or {}, grade.result)
            )
            for grade in people
        ],
        facts=_facts(results, intake),
        rules=tuple(rules),
        similarity=similarity,
        markers=MARKERS,
        Method=Method,
        Verdict=Verdict,
        AdjustmentKind=AdjustmentKind,
    )


def _flags(grades: Iterable[Grade], similarity: Similarity | None) -> dict[str, tuple[str, ...]]:
    """Words for the table by the key of the student, so that a filter finds them."""
    alike = {paper.id for group in similarity.equal for paper in group} if similarity else set()
    alike |= {paper.id for pair in similarity.pairs for paper in (pair.left, pair.right)} if similarity else set()
    return {
        grade.student.key: tuple(
            text
            for text, applies in (
                ("late", any(change.kind is AdjustmentKind.LATE for change in grade.adjustments)),
                ("claims differ", bool(format_mismatches(grade))),
                ("similar code", grade.upload is not None and grade.upload.id in alike),
                ("stopped", is_stopped(grade)),
            )
            if applies
        )
        for grade in grades
    }


def _notices(results: Sequence[Result]) -> tuple[str, ...]:
    """What a reader must know before the figures."""
    bare = sum(result.sandbox == words.NO_SANDBOX for result in results)
    invented = sum(map(words.is_measured_on_synthetic, results))
    found = []
    if bare:
        found.append(
            f"{bare} of {len(results)} notebooks were run without a sandbox: they could have changed any result."
        )
    if invented:
        found.append(f"Accuracy was measured on synthetic reviews for {invented} of {len(results)} notebooks.")
    return tuple(found)


def _facts(results: Sequence[Result], intake: Intake) -> tuple[tuple[str, str], ...]:
    """How it was graded. Where results differ, each value with its number."""
    values: dict[str, Counter[str]] = {
        "Profile": Counter(result.profile.value for result in results),
        "Calibration": Counter(result.calibration or "none" for result in results),
        "Sandbox": Counter(result.sandbox for result in results),
        "Seed": Counter(str(result.seed) for result in results),
    }
    for name in SAME_FOR_ALL:
        found = Counter(result.environment[name] for result in results if name in result.environment)
        if found:
            values[name.capitalize()] = found
    run_s = sum(result.run.wall_s for result in results)
    memory = max((result.run.peak_memory_mib for result in results), default=0.0)
    return (
        ("Submissions from", intake.source),
        ("Files", f"{len(intake.uploads)}, of which {len({upload.sha256 for upload in intake.uploads})} differ"),
        *((name, _values(counts)) for name, counts in values.items()),
        ("All runs together", words.format_seconds(run_s)),
        ("Largest memory", f"{words.format_count(memory)} MiB"),
    )


def _values(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return sanitise_line(next(iter(counts)))
    shown = [f"{sanitise_line(value, 80)} ({number})" for value, number in counts.most_common(VALUES_SHOWN)]
    left_out = len(counts) - len(shown)
    return ", ".join([*shown, *([f"{left_out} more values"] if left_out else [])]) or "nothing was run"
