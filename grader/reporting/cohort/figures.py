"""Figures of a class: how hard each check was, what it tells apart, and how points are spread. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import correlation, mean, median, quantiles
from typing import Final

from grader.grades.grade import Grade
from grader.model import CheckResult, Method, MethodSummary, Result, Verdict

FEW: Final = 10  # results below which a correlation says nothing
_JUDGED: Final = (Verdict.PASSED, Verdict.FAILED, Verdict.BLOCKED)


@dataclass(frozen=True)
class CheckFigures:
    """One check over a class.

    `check`: one of its results, for what all have in common. `passed`: share of those it was judged for. `passed` and
    `discrimination` are None where they are not known.
    """

    check: CheckResult
    possible: float
    counts: Mapping[Verdict, int]
    passed: float | None
    discrimination: float | None

    @property
    def odd(self) -> bool:
        """True if those who did well elsewhere pass it less often than the others: the check itself may be wrong."""
        return self.discrimination is not None and self.discrimination < 0


@dataclass(frozen=True)
class Spread:
    """The spread of the points of a class, in points."""

    number: int
    low: float
    lower_quarter: float
    median: float
    mean: float
    upper_quarter: float
    high: float


@dataclass(frozen=True)
class MethodFigures:
    """One method over a class: medians of what was measured, and how often."""

    trained: int
    accuracy: float | None
    train_s: float | None
    lowest: float | None
    highest: float | None


def compute_check_figures(results: Iterable[Result]) -> tuple[CheckFigures, ...]:
    """Compute the figures of every check that occurs, in the order of the suite.

    Discrimination is the point-biserial correlation of passing with the share of the points of all *other* checks, so
    that a check does not correlate with itself; 0.3 and more tells well who can do the rest.
    """
    found: dict[str, list[tuple[CheckResult, float | None]]] = {}
    for result in results:
        points = sum(check.points or 0.0 for check in result.checks if check.verdict in _JUDGED)
        possible = sum(check.possible for check in result.checks if check.verdict in _JUDGED)
        for check in result.checks:
            rest = possible - check.possible
            share = (points - (check.points or 0.0)) / rest if rest > 0 and check.verdict in _JUDGED else None
            found.setdefault(check.id, []).append((check, share))
    return tuple(map(_summarise_check, found.values()))


def compute_spread(grades: Iterable[Grade]) -> Spread | None:
    """Compute how the points of those who are graded are spread; None if nobody is."""
    points = sorted(grade.points for grade in grades if grade.points is not None)
    if not points:
        return None
    lower, _, upper = quantiles(points, n=4, method="inclusive") if len(points) > 1 else points * 3
    return Spread(len(points), points[0], lower, median(points), mean(points), upper, points[-1])


def compute_method_figures(class_methods: Iterable[Mapping[Method, MethodSummary]]) -> dict[Method, MethodFigures]:
    """Compute the figures of every method that was measured at least once."""
    everyone = list(class_methods)
    rows = {method: [methods[method] for methods in everyone if method in methods] for method in Method}
    figures = {method: _summarise_method(found) for method, found in rows.items()}
    return {method: one for method, one in figures.items() if one.trained}


def _summarise_method(rows: Sequence[MethodSummary]) -> MethodFigures:
    accuracies = [row.accuracy for row in rows if row.accuracy is not None and math.isfinite(row.accuracy)]
    times = [row.train_s for row in rows if row.train_s is not None and math.isfinite(row.train_s)]
    return MethodFigures(
        trained=max(len(accuracies), len(times)),
        accuracy=median(accuracies) if accuracies else None,
        train_s=median(times) if times else None,
        lowest=min(accuracies, default=None),
        highest=max(accuracies, default=None),
    )


def _summarise_check(found: Sequence[tuple[CheckResult, float | None]]) -> CheckFigures:
    counts = Counter(check.verdict for check, _ in found)
    judged = sum(counts[verdict] for verdict in _JUDGED)
    pairs = [(check.verdict is Verdict.PASSED, rest) for check, rest in found if rest is not None]
    return CheckFigures(
        check=found[0][0],
        possible=max(check.possible for check, _ in found),
        counts=counts,
        passed=counts[Verdict.PASSED] / judged if judged else None,
        discrimination=compute_point_biserial(pairs),
    )


def compute_point_biserial(pairs: Sequence[tuple[bool, float]]) -> float | None:
    """Correlate a yes or no with a number, in −1 to 1; None for few pairs, or where one of both does not vary."""
    passed, shares = [float(yes) for yes, _ in pairs], [round(share, 9) for _, share in pairs]
    varies = len(set(passed)) > 1 and len(set(shares)) > 1
    return correlation(passed, shares) if varies and len(pairs) >= FEW else None
