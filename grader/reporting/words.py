"""The words and number formats that every report shares."""

import math
import re
from collections.abc import Mapping
from typing import Final

from grader.assets.reviews import Source
from grader.grades.grade import AdjustmentKind, Grade, PassOutcome
from grader.judging.tampering import WaitsFor, get_waits_for
from grader.model import Method, MethodSummary, Place, Profile, Result, RunStatus, ScoreStatus, Verdict

MISSING: Final = "–"

VERDICTS: Final[Mapping[Verdict, str]] = {verdict: verdict.value.replace("_", " ") for verdict in Verdict}

MEANINGS: Final[Mapping[Verdict, str]] = {
    Verdict.PASSED: "The check passed.",
    Verdict.FAILED: "The check did not find what the assignment asks for.",
    Verdict.BLOCKED: "This check is judged once the checks that it builds on pass.",
    Verdict.ERROR: "This machine could not judge the check, or a person has to look first. It costs no points.",
    Verdict.NOT_JUDGED: "This run does not cover the check. It neither gives nor costs points.",
}

METHODS: Final[Mapping[Method, str]] = {
    Method.FULL: "Full fine-tuning",
    Method.HEAD: "Head only",
    Method.LORA: "LoRA",
}

PROFILES: Final[Mapping[Profile, str]] = {
    Profile.STRUCTURE: "Training was cut to a few steps: this run looks at the code, not at accuracy.",
    Profile.QUICK: "Training ran on a small budget set by the grader, the same for everyone.",
    Profile.FULL: "Training ran exactly as the notebook asks.",
}

RUNS: Final[Mapping[RunStatus, str]] = {
    RunStatus.OK: "Every cell ran without an error.",
    RunStatus.STUDENT_ERROR: "At least one cell raised an error or was stopped; the cells after it ran all the same.",
    RunStatus.TIMEOUT: "The notebook was stopped at its time limit.",
    RunStatus.MEMORY: "The notebook was stopped at its memory limit.",
    RunStatus.OUTPUT_LIMIT: "The notebook was stopped because it printed, or saved, more than the grader keeps.",
    RunStatus.KERNEL_DIED: "The Python process of the notebook ended before the last cell did.",
    RunStatus.PROTOCOL_VIOLATION: "The notebook sent messages that no ordinary notebook sends; "
    "a member of staff has to look at it.",
    RunStatus.BAD_SUBMISSION: "The file could not be executed as it was handed in.",
    RunStatus.INFRA_ERROR: "This machine could not run the notebook to its end. It costs no points; "
    "staff will run it again.",
}

ADJUSTMENTS: Final[Mapping[AdjustmentKind, str]] = {
    AdjustmentKind.LATE: "Late",
    AdjustmentKind.OVERRIDE: "Changed by a person",
    AdjustmentKind.MANUAL: "Judged by a person",
    AdjustmentKind.EXCUSED: "Excused",
}

NO_SANDBOX: Final = "none"

_STEPS: Final[Mapping[str, str]] = {
    "run": "The notebook as a whole",
    "step1": "Step 1: full fine-tuning",
    "step2": "Step 2: head only",
    "step3": "Step 3: LoRA",
}


def get_step_title(key: str) -> str:
    """Return the title of a group of checks; `key` is the part of their ids before the dot."""
    return _STEPS.get(key) or re.sub(r"(?<=\D)(?=\d)", " ", key).replace("_", " ").capitalize()


CAUSES: Final = {  # of a result without points
    WaitsFor.NOBODY: "this machine could not judge all of it",
    WaitsFor.PERSON: "a person has to read the notebook first",
    WaitsFor.PACKAGE: "the notebook uses a package that is not installed here, and a person decides about it",
}


def list_notices(result: Result, grade: Grade | None = None) -> tuple[str, ...]:
    """List what a reader must know before the verdicts, most serious first.

    With a grade that has points, a person has graded what this machine could not.
    """
    found = []
    if result.sandbox == NO_SANDBOX:
        found.append("This notebook was run without a sandbox: it could have changed the grader and this result.")
    if result.score.status is ScoreStatus.UNGRADED and (grade is None or grade.points is None):
        cause = CAUSES[get_waits_for(result)]
        found.append(f"This submission is ungraded: {cause}. No points are recorded.")
    if is_measured_on_synthetic(result):
        found.append("Accuracy was measured on synthetic reviews, not on the real data of the assignment.")
    if result.run.status is not RunStatus.OK:
        found.append(RUNS[result.run.status])
    return tuple(found)


def describe_outcome(grade: Grade) -> str:
    """Say whether a student passed, and what that still takes; nothing where nobody asks."""
    lacking = "; ".join(grade.lacking)
    return {
        PassOutcome.NOT_ASKED: "",
        PassOutcome.COMPLETE: "Complete.",
        PassOutcome.INCOMPLETE: f"Not complete yet. Still needed: {lacking}.",
        PassOutcome.OPEN: f"Not decided yet, because it was not judged: {lacking}.",
    }[grade.outcome]


def is_measured_on_synthetic(result: Result) -> bool:
    """Return True if an accuracy was measured, and on reviews that the project made up."""
    measured = any(method.accuracy is not None for method in result.methods.values())
    return measured and result.environment.get("reviews") == Source.SYNTHETIC


def describe_accuracy(methods: Mapping[Method, MethodSummary]) -> str:
    """Say on how many reviews accuracies were measured; nothing where none was."""
    measured = [method for method in methods.values() if method.accuracy is not None]
    numbers = sorted({method.reviews for method in measured if method.reviews})
    if not measured or not numbers:
        return "Accuracy was measured on held-out reviews." if measured else ""
    several = f"{numbers[0]:,} to {numbers[-1]:,}" if len(numbers) > 1 else f"{numbers[0]:,}"
    more = ": more where it is close to what is needed" if len(numbers) > 1 else ""
    return f"Each accuracy was measured on {several} held-out reviews{more}."


def describe_place(place: Place, in_notebook: bool = False) -> str:
    """Name a place as its reader counts; `in_notebook`: in a running notebook, where cells have the numbers of `In`."""
    return f"{f'In [{place.cell + 1}]' if in_notebook else f'Cell {place.cell + 1}'}, line {place.line}"


def format_agreement(agrees: bool | None) -> str:
    """Say whether a claimed figure agrees with the measured one."""
    return {None: "not compared", True: "agrees", False: "differs"}[agrees]


def format_points(value: float | None) -> str:
    """Write points with at most two decimals: 95, 2.5, 0.33."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:.2f}".rstrip("0").rstrip(".")


def format_signed(value: float) -> str:
    """Write a change of points with its sign: +5, −2.5, 0."""
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{format_points(abs(value))}"


def format_count(value: float | None) -> str:
    """Write a whole number with thousands separators."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3g}"


def format_percent(value: float | None) -> str:
    """Write a fraction as a percentage with one decimal."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{100 * value:.1f}%" if abs(value) < 1e6 else f"{value:.3g}"


def format_seconds(value: float | None) -> str:
    """Write a duration: 0.42 s, 12.3 s, 3 min 12 s, 2 h 05 min."""
    if value is None or not math.isfinite(value) or value < 0:
        return MISSING
    if value < 99.95:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_quantity(kind: str, value: float | None) -> str:
    """Write a claimed or measured figure of this kind (see `Claim.quantity`)."""
    return format_percent(value) if kind == "accuracy" else format_count(value)
