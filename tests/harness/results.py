"""Results and checks that no notebook was graded for: plain ones, in which a test changes what it is about."""

from collections.abc import Iterable
from typing import Any

from grader.model import (
    CheckResult,
    Profile,
    Result,
    RunStatus,
    RunSummary,
    Score,
    ScoreStatus,
    SubmissionRef,
    Verdict,
    Visibility,
)

SHA256 = "ab" * 32
EARNED = {Verdict.PASSED: 1.0, Verdict.FAILED: 0.0, Verdict.BLOCKED: 0.0}  # share of what is possible


def check(name: str, verdict: Verdict = Verdict.PASSED, possible: float = 4.0, **changes: Any) -> CheckResult:
    """A check whose points follow from its verdict."""
    plain = CheckResult(
        id=name,
        title=f"Check {name}",
        verdict=verdict,
        points=possible * EARNED[verdict] if verdict in EARNED else None,
        possible=possible,
        visibility=Visibility.PUBLIC,
    )
    return plain.model_copy(update=changes)


def run(status: RunStatus = RunStatus.OK, **changes: Any) -> RunSummary:
    """How a notebook ran."""
    return RunSummary(status=status, wall_s=12.6, peak_memory_mib=100).model_copy(update=changes)


def graded(points: float | None, possible: float) -> Score:
    """A score; ungraded without points."""
    status = ScoreStatus.UNGRADED if points is None else ScoreStatus.GRADED
    return Score(points=points, possible=possible, status=status)


def result(checks: Iterable[CheckResult] = (), name: str = "a", sha256: str = SHA256, **changes: Any) -> Result:
    """A result with the sum of its checks' points."""
    checks = tuple(checks)
    judged = [one for one in checks if one.points is not None]
    plain = Result(
        schema=1,
        submission=SubmissionRef(name=name, sha256=sha256),
        profile=Profile.STRUCTURE,
        seed=0,
        calibration=None,
        sandbox="warm",
        run=run(),
        score=graded(sum(one.points or 0.0 for one in judged), sum(one.possible for one in judged)),
        checks=checks,
    )
    return plain.model_copy(update=changes)
