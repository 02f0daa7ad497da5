"""Verdicts and rubric become points."""

from pathlib import Path

import pytest

from grader import paths
from grader.errors import GraderError
from grader.judging import scoring
from grader.judging.runner import Judgement
from grader.model import CheckResult, RunStatus, ScoreStatus, Verdict, Visibility

PASSED, FAILED, BLOCKED, ERROR, NOT_JUDGED = Verdict


def check(verdict: Verdict, possible: float = 10) -> CheckResult:
    judgement = Judgement("step1.x", "X", Visibility.PUBLIC, verdict)
    return judgement.result(possible)


@pytest.mark.parametrize(
    ("verdict", "points"),
    [(PASSED, 10), (FAILED, 0), (BLOCKED, 0), (ERROR, None), (NOT_JUDGED, None)],
    ids=[v.value for v in Verdict],
)
def test_points_of_a_verdict(verdict: Verdict, points: float | None) -> None:
    assert check(verdict).points == points


@pytest.mark.parametrize(
    ("verdicts", "points", "possible", "status"),
    [
        pytest.param([PASSED, PASSED], 20, 20, ScoreStatus.GRADED, id="all passed"),
        pytest.param([PASSED, FAILED, BLOCKED], 10, 30, ScoreStatus.GRADED, id="failed and blocked count"),
        pytest.param([PASSED, NOT_JUDGED], 10, 10, ScoreStatus.GRADED, id="not judged leaves what is possible"),
        pytest.param([FAILED, FAILED], 0, 20, ScoreStatus.GRADED, id="a zero is a grade"),
        pytest.param([PASSED, ERROR], None, 20, ScoreStatus.UNGRADED, id="our error leaves it ungraded"),
        pytest.param([FAILED, ERROR], None, 20, ScoreStatus.UNGRADED, id="our error is never a zero"),
        pytest.param([NOT_JUDGED], None, 0, ScoreStatus.UNGRADED, id="nothing judged"),
        pytest.param([], None, 0, ScoreStatus.UNGRADED, id="no checks"),
    ],
)
def test_score(verdicts: list[Verdict], points: float | None, possible: float, status: ScoreStatus) -> None:
    found = scoring.score([check(verdict) for verdict in verdicts], RunStatus.OK)
    assert (found.points, found.possible, found.status) == (points, possible, status)


@pytest.mark.parametrize("run", list(RunStatus), ids=[r.value for r in RunStatus])
def test_only_our_own_failure_leaves_a_run_ungraded(run: RunStatus) -> None:
    ungraded = scoring.score([check(FAILED)], run).status is ScoreStatus.UNGRADED
    assert ungraded == (run is RunStatus.INFRA_ERROR)


def test_tenths_add_up() -> None:
    assert scoring.score([check(PASSED, 0.1) for _ in range(3)], RunStatus.OK).points == 0.3


def test_the_rubric_sums_to_a_hundred() -> None:
    points = scoring.load_rubric(paths.RUBRIC)
    assert sum(points.values()) == 100
    assert all(value > 0 for value in points.values())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[step1\n", id="not TOML"),
        pytest.param("step1 = 3\n", id="not a table"),
        pytest.param("[step1]\ncount = 'five'\n", id="not a number"),
        pytest.param("[step1]\ncount = [5]\n", id="a list"),
        pytest.param("[step1]\ncount = -5\n", id="negative"),
        pytest.param("[step1]\ncount = nan\n", id="nan"),
        pytest.param("[step1]\ncount = inf\n", id="infinite"),
    ],
)
def test_a_broken_rubric_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "rubric.toml").write_text(text, encoding="utf-8")
    with pytest.raises(GraderError, match=r"restore it\.$"):
        scoring.load_rubric(tmp_path / "rubric.toml")


def test_no_rubric(tmp_path: Path) -> None:
    with pytest.raises(GraderError, match=r"restore it\.$"):
        scoring.load_rubric(tmp_path / "rubric.toml")
