"""The rubric, its agreement with the suite, and the score. Reads one file, the rubric."""

import math
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from grader.errors import GraderError
from grader.model import CheckResult, RunStatus, Score, ScoreStatus, Verdict

TOTAL: Final = 100.0  # points of a rubric


def load_rubric(path: Path) -> dict[str, float]:
    """Return check id -> points, from a TOML file with a table per step. Raises GraderError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        points = {f"{step}.{name}": float(value) for step, checks in tables.items() for name, value in checks.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:  # not TOML, or not a table of numbers per step
        raise GraderError(f"Cannot read the rubric {path} ({error}); restore it.") from error
    if any(not 0 <= value < math.inf for value in points.values()):
        raise GraderError(f"The rubric {path} has points that are negative or not finite; restore it.")
    total = round(sum(points.values()), 2)
    if total != TOTAL:
        raise GraderError(f"The points in {path} must sum to {TOTAL:g}; they sum to {total:g}. Correct them.")
    return points


def require_agreement(checks: Collection[str], rubric: Mapping[str, float], complete: bool) -> None:
    """Raise GraderError unless the rubric has points for all these checks and, if they are all there are, no more."""
    if unknown := [name for name in checks if name not in rubric]:
        raise GraderError(f"data/rubric.toml gives no points for {', '.join(unknown)}; add them.")
    if complete and (surplus := [name for name in rubric if name not in checks]):
        raise GraderError(
            f"data/rubric.toml gives points for {', '.join(surplus)}, and the suite has no such check. "
            "Remove the points, or restore the check in tests/public or tests/hidden."
        )


def score(checks: Iterable[CheckResult], status: RunStatus) -> Score:
    """Add up the points of the checks that were judged. One that could not be judged leaves the whole ungraded."""
    judged = [check for check in checks if check.verdict is not Verdict.NOT_JUDGED]
    possible = round(sum(check.possible for check in judged), 2)
    if status is RunStatus.INFRA_ERROR or not judged or any(check.verdict is Verdict.ERROR for check in judged):
        return Score(points=None, possible=possible, status=ScoreStatus.UNGRADED)
    points = round(sum(check.points or 0.0 for check in judged), 2)
    return Score(points=points, possible=possible, status=ScoreStatus.GRADED)
