"""The order in which every report presents checks: by step, as the suite names them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from grader.grades.grade import Grade
from grader.model import CheckResult, Method, MethodSummary, Verdict
from grader.reporting import words
from grader.reporting.words import get_step_title

PROBLEM_ORDER: Final = (Verdict.FAILED, Verdict.ERROR, Verdict.BLOCKED, Verdict.NOT_JUDGED)


@dataclass(frozen=True)
class Step:
    """The checks whose ids share the part before the dot."""

    key: str
    checks: tuple[CheckResult, ...]

    @property
    def title(self) -> str:
        """What people call this step."""
        return get_step_title(self.key)

    @property
    def points(self) -> float:
        """Points gained in this step."""
        return sum(check.points or 0.0 for check in self.checks)

    @property
    def possible(self) -> float:
        """Points of the checks that were judged."""
        return sum(check.possible for check in self.checks if check.points is not None)

    @property
    def passed(self) -> tuple[CheckResult, ...]:
        """Checks that passed, in the order of the suite."""
        return tuple(check for check in self.checks if check.verdict is Verdict.PASSED)

    @property
    def problems(self) -> tuple[tuple[Verdict, tuple[CheckResult, ...]], ...]:
        """The other checks by verdict, those that the student can act on first."""
        found = ((kind, tuple(check for check in self.checks if check.verdict is kind)) for kind in PROBLEM_ORDER)
        return tuple((kind, checks) for kind, checks in found if checks)


def group_by_step(checks: Iterable[CheckResult]) -> tuple[Step, ...]:
    """Group checks by the part of the id before the dot; steps come in the order in which they first appear."""
    ordered = list(checks)
    first_seen = {key: place for place, key in reversed(list(enumerate(map(_step_key, ordered))))}
    ordered.sort(key=lambda check: first_seen[_step_key(check)])
    return tuple(Step(key, tuple(group)) for key, group in groupby(ordered, _step_key))


def select_measured(methods: Mapping[Method, MethodSummary]) -> dict[Method, MethodSummary]:
    """Leave out the methods of which nothing was measured; a threshold alone is no measurement."""
    return {
        method: methods[method]
        for method in Method
        if method in methods and methods[method] != MethodSummary(threshold=methods[method].threshold)
    }


def count_verdicts(checks: Iterable[CheckResult]) -> dict[Verdict, int]:
    """Count checks per verdict, in the order of the enum, without zeros."""
    found = Counter(check.verdict for check in checks)
    return {verdict: found[verdict] for verdict in Verdict if found[verdict]}


@dataclass(frozen=True)
class AdjustmentLine:
    """One change to the points, to be shown. `author` is for staff."""

    what: str
    points: str
    reason: str
    author: str


@dataclass(frozen=True)
class AdjustmentSummary:
    """How the points came about: what the checks gave, each change, and where that leads."""

    grade: Grade
    base: float | None
    lines: tuple[AdjustmentLine, ...]


def summarise_adjustments(grade: Grade | None) -> AdjustmentSummary | None:
    """What to show of the changes to a result; None where nothing was changed."""
    if grade is None or not grade.adjustments:
        return None
    return AdjustmentSummary(grade, grade.base_points, list_adjustment_lines(grade))


def list_adjustment_lines(grade: Grade) -> tuple[AdjustmentLine, ...]:
    """A line for each change, in the order in which they were made."""
    return tuple(
        AdjustmentLine(words.ADJUSTMENTS[change.kind], words.format_signed(change.points), change.reason, change.author)
        for change in grade.adjustments
    )


def _step_key(check: CheckResult) -> str:
    return check.id.partition(".")[0]
