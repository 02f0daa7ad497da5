"""CheckResults + rubric → Score. Reads one file, the rubric."""

import math
import tomllib
from collections.abc import Iterable
from pathlib import Path

from grader.errors import GraderError
from grader.model import CheckResult, RunStatus, Score, ScoreStatus, Verdict


def load_rubric(path: Path) -> dict[str, float]:
    """Check id -> points, from a TOML file with a table per step. Raises GraderError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        points = {f"{step}.{name}": float(value) for step, checks in tables.items() for name, value in checks.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:  # not TOML, or not a table of numbers per step
        raise GraderError(f"Cannot read the rubric {path} ({error}); restore it.") from error
    if any(not 0 <= value < math.inf for value in points.values()):
        raise GraderError(f"The rubric {path} has points below zero or without end; restore it.")
    return points


def score(checks: Iterable[CheckResult], status: RunStatus) -> Score:
    """Points over the checks that were judged. One check that could not be judged leaves the whole ungraded."""
    found = tuple(checks)
    judged = [check for check in found if check.verdict is not Verdict.NOT_JUDGED]
    possible = round(sum(check.possible for check in judged), 2)
    if status is RunStatus.INFRA_ERROR or not judged or any(check.verdict is Verdict.ERROR for check in judged):
        return Score(points=None, possible=possible, status=ScoreStatus.UNGRADED)
    points = round(sum(check.points or 0.0 for check in judged), 2)
    return Score(points=points, possible=possible, status=ScoreStatus.GRADED)
