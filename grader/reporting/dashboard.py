"""The pages for a class: what needs attention, how it went, everybody's row, similar code side by side. For staff."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from grader.cohort import AdjustmentKind, Grade, Intake, Standing, Upload
from grader.model import Method, Result, RunStatus, Verdict
from grader.reporting import words
from grader.reporting.class_figures import check_figures, method_figures, spread
from grader.reporting.inert import inert_line
from grader.reporting.outline import adjustment_lines, measured
from grader.reporting.page import render
from grader.reporting.plots import accuracy_over_time, marker, score_histogram
from grader.similarity import Pair, Paper, Passage, Similarity

STYLES: Final = ("style.css", "dashboard.css")
SIMILAR_PAGE: Final = "similar.html"
SHOWN: Final = 10  # entries of a problem before the rest is folded away
VALUES_SHOWN: Final = 4  # different values of one fact
PASSAGES_MAX: Final = 6  # of one pair
PASSAGE_LINES: Final = 40
PASSAGE_CHARS: Final = 3_000  # with the limits above and that on pairs this bounds the page to some megabytes
STOPPED: Final = (
    RunStatus.TIMEOUT,
    RunStatus.MEMORY,
    RunStatus.OUTPUT_LIMIT,
    RunStatus.KERNEL_DIED,
    RunStatus.PROTOCOL_VIOLATION,
)
SAME_FOR_ALL: Final = ("checkpoint", "reviews", "precision", "grader", "torch", "transformers", "python")


@dataclass(frozen=True)
class Entry:
    """One thing to look at: who, what, and where it is shown."""

    who: str
    what: str
    links: tuple[tuple[str, str], ...] = ()  # text, address


@dataclass(frozen=True)
class Problem:
    """Things of one kind to look at. `tone` is the verdict whose colour it has."""

    key: str
    title: str
    meaning: str
    tone: str
    entries: tuple[Entry, ...]

    @property
    def first(self) -> tuple[Entry, ...]:
        """What is shown at once."""
        return self.entries if len(self.entries) <= SHOWN + 2 else self.entries[:SHOWN]

    @property
    def rest(self) -> tuple[Entry, ...]:
        """What is folded away."""
        return self.entries[len(self.first) :]


@dataclass(frozen=True)
class Row:
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
        lines = adjustment_lines(self.grade) if self.grade.standing is not Standing.EXCUSED else ()
        return ", ".join(f"{line.what.lower()} {line.points}" for line in lines)

    @property
    def search(self) -> str:
        """What the filter looks through."""
        student, upload = self.grade.student, self.grade.upload
        parts = (student.name, student.key, student.section, student.login, upload and upload.display_name, *self.flags)
        return inert_line(" ".join(part for part in parts if part)).casefold()


def dashboard(
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
    methods = [measured(result.methods) for result in results]
    shares = [grade.points / grade.possible for grade in people if grade.points is not None and grade.possible > 0]
    found = problems(people, intake, similarity, tuple(warnings), folders or {})
    flags = _flags(people, similarity)
    checks = check_figures(results)
    return render(
        "dashboard.html",
        styles=STYLES,
        script="dashboard.js",
        name=name,
        intake=intake,
        standings=Counter(grade.standing for grade in people),
        spread=spread(people),
        possible=max((grade.possible for grade in people if grade.points is not None), default=0.0),
        notices=_notices(results),
        problems=found,
        histogram=score_histogram(shares),
        checks=checks,
        hardest=sorted((check for check in checks if check.passed is not None), key=lambda c: c.passed or 0.0)[:3],
        methods=method_figures(methods),
        scatter=accuracy_over_time(methods),
        rows=[
            Row(grade, flags.get(grade.student.key, ()), report_links(grade.upload, folders or {}, grade.result))
            for grade in people
        ],
        facts=_facts(results, intake),
        rules=tuple(rules),
        similarity=similarity,
        marker=marker,
        Method=Method,
        Verdict=Verdict,
        AdjustmentKind=AdjustmentKind,
    )


def similar_html(similarity: Similarity, intake: Intake, folders: Mapping[str, str] | None = None) -> str:
    """Return `similar.html`: the pairs that the dashboard links to, their passages side by side."""
    uploads = {upload.id: upload for upload in intake.uploads}
    return render(
        "dashboard_similar.html",
        styles=STYLES,
        similarity=similarity,
        equal=[[_who(paper, uploads) for paper in group] for group in similarity.equal],
        pairs=[_Sides(pair, uploads, folders or {}) for pair in similarity.pairs],
        passages_max=PASSAGES_MAX,
    )


def report_links(
    upload: Upload | None, folders: Mapping[str, str], result: Result | None
) -> tuple[tuple[str, str], ...]:
    """The reports of an upload as text and relative address; none where nothing was judged."""
    if upload is None or result is None:
        return ()
    folder = _address(folders.get(upload.id, upload.id))
    return ("staff report", f"{folder}/staff.html"), ("feedback", f"{folder}/feedback.html")


def _address(folder: str) -> str:
    return "./" + quote(folder, errors="replace")


def problems(
    grades: Sequence[Grade],
    intake: Intake,
    similarity: Similarity | None,
    warnings: Sequence[str],
    folders: Mapping[str, str],
) -> tuple[Problem, ...]:
    """What needs a human, most urgent first; a kind without entries is left out."""

    def entry(grade: Grade, what: str) -> Entry:
        return Entry(grade.student.name, what, report_links(grade.upload, folders, grade.result))

    def standing(wanted: Standing) -> tuple[Entry, ...]:
        return tuple(entry(grade, grade.note) for grade in grades if grade.standing is wanted)

    found = (
        Problem(
            "ungraded",
            "Ungraded",
            "The grader failed, or somebody still has to judge. No points are given; the gradebook keeps its value.",
            "error",
            standing(Standing.UNGRADED),
        ),
        Problem(
            "batch",
            "The batch as a whole",
            "What concerns no single student.",
            "error",
            tuple(Entry("", warning) for warning in warnings),
        ),
        Problem(
            "refused",
            "Refused",
            "Handed in, and not a notebook that can be graded. Its author has to hand in again.",
            "failed",
            (*standing(Standing.REFUSED), *_nobodys(intake)),
        ),
        Problem(
            "stopped",
            "Stopped while running",
            "Graded on what there was. Worth a look before the points go out.",
            "blocked",
            tuple(entry(g, words.RUNS[g.result.run.status]) for g in grades if g.result and _stopped(g)),
        ),
        Problem(
            "claims",
            "Claimed figures that differ",
            "The notebook printed something else than the grader measured. A reason to look, never a deduction.",
            "blocked",
            tuple(entry(grade, text) for grade in grades if (text := _mismatches(grade))),
        ),
        Problem("similar", "Similar code", _SIMILAR, "blocked", tuple(_similar(similarity, intake))),
        Problem(
            "notes",
            "Graded, with a note",
            "Nothing is missing; somebody should know.",
            "not_judged",
            tuple(entry(grade, grade.note) for grade in grades if grade.standing is Standing.GRADED and grade.note),
        ),
        Problem(
            "missing",
            "Nothing handed in",
            "On the roster, and not in the archive.",
            "not_judged",
            tuple(Entry(grade.student.name, "") for grade in grades if grade.standing is Standing.MISSING),
        ),
    )
    return tuple(problem for problem in found if problem.entries)


_SIMILAR: Final = (
    "Passages that two notebooks share and that neither the template nor many others have. All solve the same task, so "
    "this is a question to ask, not an answer; it costs no points."
)


def _stopped(grade: Grade) -> bool:
    return grade.result is not None and grade.result.run.status in STOPPED and grade.standing is Standing.GRADED


def _nobodys(intake: Intake) -> tuple[Entry, ...]:
    return tuple(Entry(refusal.entry, refusal.reason) for refusal in intake.refusals if refusal.student is None)


def _mismatches(grade: Grade) -> str:
    claims = grade.result.claims if grade.result else ()
    return "; ".join(
        f"{words.METHODS[claim.method]}: {claim.quantity.replace('_', ' ')} "
        f"{words.quantity(claim.quantity, claim.claimed)} claimed, "
        f"{words.quantity(claim.quantity, claim.measured)} measured"
        for claim in claims
        if claim.agrees is False
    )


def _similar(similarity: Similarity | None, intake: Intake) -> Iterator[Entry]:
    if similarity is None:
        return
    uploads = {upload.id: upload for upload in intake.uploads}
    for group in similarity.equal:
        yield Entry("; ".join(_who(paper, uploads) for paper in group), "The same file, byte for byte.")
    for number, pair in enumerate(similarity.pairs, 1):
        yield Entry(
            f"{_who(pair.left, uploads)} and {_who(pair.right, uploads)}",
            f"{words.percent(pair.left_similarity)} of the first is in the second, "
            f"{words.percent(pair.right_similarity)} of the second in the first.",
            (("side by side", f"./{SIMILAR_PAGE}#pair-{number}"),),
        )


def _who(paper: Paper, uploads: Mapping[str, Upload]) -> str:
    return uploads[paper.id].student.name if paper.id in uploads else paper.id


def _flags(grades: Iterable[Grade], similarity: Similarity | None) -> dict[str, tuple[str, ...]]:
    """Words for the table by the key of the student, so that a filter finds them."""
    alike = {paper.id for group in similarity.equal for paper in group} if similarity else set()
    alike |= {paper.id for pair in similarity.pairs for paper in (pair.left, pair.right)} if similarity else set()
    return {
        grade.student.key: tuple(
            text
            for text, applies in (
                ("late", any(change.kind is AdjustmentKind.LATE for change in grade.adjustments)),
                ("claims differ", bool(_mismatches(grade))),
                ("similar code", grade.upload is not None and grade.upload.id in alike),
                ("stopped", _stopped(grade)),
            )
            if applies
        )
        for grade in grades
    }


def _notices(results: Sequence[Result]) -> tuple[str, ...]:
    """What a reader must know before the figures."""
    bare = sum(result.sandbox == words.NO_SANDBOX for result in results)
    invented = sum(map(words.measured_on_synthetic, results))
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
        ("All runs together", words.seconds(run_s)),
        ("Largest memory", f"{words.count(memory)} MiB"),
    )


def _values(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return inert_line(next(iter(counts)))
    shown = [f"{inert_line(value, 80)} ({number})" for value, number in counts.most_common(VALUES_SHOWN)]
    left_out = len(counts) - len(shown)
    return ", ".join([*shown, *([f"{left_out} more values"] if left_out else [])]) or "nothing was run"


@dataclass(frozen=True)
class _Side:
    """One half of a passage."""

    place: str
    code: str


class _Sides:
    """A pair of papers to be shown beside each other."""

    def __init__(self, pair: Pair, uploads: Mapping[str, Upload], folders: Mapping[str, str]) -> None:
        self.pair = pair
        self.names = tuple(_who(paper, uploads) for paper in (pair.left, pair.right))
        self.addresses = tuple(
            f"{_address(folders.get(paper.id, paper.id))}/staff.html" for paper in (pair.left, pair.right)
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
    return _Side(_place(paper.cell_at(first), paper.cell_at(last)), f"{code}\n[{cut} more lines]" if cut > 0 else code)


def _place(first: int, last: int) -> str:
    if not last:
        return ""
    return f"cell {first}" if first == last else f"cells {first} to {last}"
