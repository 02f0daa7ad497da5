"""Verdicts and rubric become points."""

import contextlib
from pathlib import Path

import pytest

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
        pytest.param([PASSED, ERROR], None, 20, ScoreStatus.UNGRADED, id="an error leaves it ungraded"),
        pytest.param([FAILED, ERROR], None, 20, ScoreStatus.UNGRADED, id="an error is never a zero"),
        pytest.param([NOT_JUDGED], None, 0, ScoreStatus.UNGRADED, id="nothing judged"),
        pytest.param([], None, 0, ScoreStatus.UNGRADED, id="no checks"),
    ],
)
def test_score(verdicts: list[Verdict], points: float | None, possible: float, status: ScoreStatus) -> None:
    found = scoring.score([check(verdict) for verdict in verdicts], RunStatus.OK)
    assert (found.points, found.possible, found.status) == (points, possible, status)


@pytest.mark.parametrize("run", list(RunStatus), ids=[r.value for r in RunStatus])
def test_only_a_failure_of_the_grader_leaves_a_run_ungraded(run: RunStatus) -> None:
    ungraded = scoring.score([check(FAILED)], run).status is ScoreStatus.UNGRADED
    assert ungraded == (run is RunStatus.INFRA_ERROR)


@pytest.mark.parametrize(
    ("checks", "complete", "words"),
    [
        pytest.param(["a.b", "a.c"], True, None, id="the same"),
        pytest.param(["a.b"], False, None, id="a part: one step, or a student's kit"),
        pytest.param(["a.b", "a.d"], False, r"gives no points for a\.d; add them", id="a check without points"),
        pytest.param(["a.b"], True, r"gives points for a\.c, and the suite has no such check", id="points alone"),
    ],
)
def test_the_rubric_agrees_with_the_suite(checks: list[str], complete: bool, words: str | None) -> None:
    rubric = {"a.b": 60.0, "a.c": 40.0}
    with contextlib.nullcontext() if words is None else pytest.raises(GraderError, match=words):
        scoring.require_agreement(checks, rubric, complete)


def test_tenths_add_up(tmp_path: Path) -> None:
    assert scoring.score([check(PASSED, 0.1) for _ in range(3)], RunStatus.OK).points == 0.3
    lines = "".join(f"c{number} = 0.1\n" for number in range(1000))
    (tmp_path / "rubric.toml").write_text(f"[step1]\n{lines}", encoding="utf-8")
    assert len(scoring.load_rubric(tmp_path / "rubric.toml")) == 1000


RESTORE, CORRECT = r"restore it\.$", r"must sum to 100; they sum to {}\. Correct them"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, RESTORE, id="no file"),
        pytest.param("[step1\n", RESTORE, id="not TOML"),
        pytest.param("step1 = 3\n", RESTORE, id="not a table"),
        pytest.param("[step1]\ncount = 'five'\n", RESTORE, id="not a number"),
        pytest.param("[step1]\ncount = [5]\n", RESTORE, id="a list"),
        pytest.param("[step1]\ncount = -5\n", RESTORE, id="negative"),
        pytest.param("[step1]\ncount = nan\n", RESTORE, id="nan"),
        pytest.param("[step1]\ncount = inf\n", RESTORE, id="infinite"),
        pytest.param("[step1]\na = 99.5\n", CORRECT.format(r"99\.5"), id="less than a hundred"),
        pytest.param("[step1]\na = 101\n", CORRECT.format(101), id="more than a hundred"),
        pytest.param("[step1]\na = 0\n", CORRECT.format(0), id="nothing"),
    ],
)
def test_a_broken_rubric_is_one_sentence(text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "rubric.toml").write_text(text, encoding="utf-8")
    with pytest.raises(GraderError, match=words):
        scoring.load_rubric(tmp_path / "rubric.toml")
