"""The order in which every report presents checks: by step, as the suite names them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from grader.grades.grade import DecidedCheck, Grade
from grader.model import CheckResult, Method, MethodSummary, Verdict
from grader.reporting import words

PROBLEM_ORDER: Final = (Verdict.FAILED, Verdict.ERROR, Verdict.BLOCKED, Verdict.NOT_JUDGED)


@dataclass(frozen=True)
class Step:
    """The checks whose ids share the part before the dot."""

    key: str
    checks: tuple[CheckResult, ...]

    @property
    def title(self) -> str:
        """Heading of this step."""
        return words.get_step_title(self.key)

    @property
    def points(self) -> float:
        """Points gained in this step."""
        return sum(check.points or 0.0 for check in self.checks)

    @property
    def possible(self) -> float:
        """Points of the checks that were judged."""
        return sum(check.possible for check in self.checks if check.points is not None)

    def select(self, verdict: Verdict) -> tuple[CheckResult, ...]:
        """Return the checks with this verdict, in the order of the suite."""
        return tuple(check for check in self.checks if check.verdict is verdict)

    @property
    def passed(self) -> tuple[CheckResult, ...]:
        """Checks that passed."""
        return self.select(Verdict.PASSED)

    @property
    def problems(self) -> tuple[tuple[Verdict, tuple[CheckResult, ...]], ...]:
        """The other checks by verdict, those that the student can act on first."""
        return tuple((verdict, checks) for verdict in PROBLEM_ORDER if (checks := self.select(verdict)))


def group_by_step(checks: Iterable[CheckResult]) -> tuple[Step, ...]:
    """Group checks by the part of the id before the dot; steps come in the order in which they first appear."""
    steps: dict[str, list[CheckResult]] = {}
    for check in checks:
        steps.setdefault(check.id.partition(".")[0], []).append(check)
    return tuple(Step(key, tuple(found)) for key, found in steps.items())


def index_decided(grade: Grade | None) -> dict[str, DecidedCheck]:
    """Return the checks that a person decided, by their ids."""
    return {one.check.id: one for one in grade.decided} if grade else {}


def select_measured(methods: Mapping[Method, MethodSummary]) -> dict[Method, MethodSummary]:
    """Leave out the methods of which nothing was measured; a threshold alone is no measurement."""
    return {
        method: methods[method]
        for method in Method
        if method in methods and methods[method] != MethodSummary(threshold=methods[method].threshold)
    }


def list_measurements(summary: MethodSummary, *, with_threshold: bool) -> dict[str, str]:
    """Return a row of the table of methods: heading -> what was measured, as text."""
    row = {
        "Trainable parameters": words.format_count(summary.trainable_parameters),
        "Accuracy": words.format_percent(summary.accuracy),
        "Threshold": words.format_percent(summary.threshold),
        "Training time": words.format_seconds(summary.train_s),
        "Steps": words.format_count(summary.steps),
    }
    return row if with_threshold else {heading: text for heading, text in row.items() if heading != "Threshold"}


def count_verdicts(checks: Iterable[CheckResult]) -> dict[Verdict, int]:
    """Count checks per verdict, in the order of the enum, without zeros."""
    found = Counter(check.verdict for check in checks)
    return {verdict: found[verdict] for verdict in Verdict if found[verdict]}
