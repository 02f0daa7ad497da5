"""Which runs are tried again, and within which time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grader.execution import run
from grader.execution.driver import Limits
from grader.execution.job import Setup
from grader.model import Profile, RunStatus

LIMIT_S = 100.0
ELSEWHERE = "in another cell"
DIED, OK, FAULT = RunStatus.KERNEL_DIED, RunStatus.OK, RunStatus.INFRA_ERROR
RUNS = [
    pytest.param([OK], 5, [100], OK, id="alive"),
    pytest.param([DIED, OK], 5, [100, 95], OK, id="somebody killed it"),
    pytest.param([DIED, DIED, DIED], 5, [100, 95, 90], DIED, id="it ends itself"),
    pytest.param([DIED, ELSEWHERE, DIED, ELSEWHERE, OK], 5, [100, 95, 90, 85, 80], OK, id="killed again and again"),
    pytest.param([DIED, ELSEWHERE] * 3, 9, [100, 91, 82], DIED, id="killed until it is too late"),
    pytest.param([DIED], 50, [100], DIED, id="too late for another run"),
    pytest.param([FAULT, OK], 5, [100, 100], OK, id="a fault of the grader"),
    pytest.param([DIED, FAULT, DIED, OK], 5, [100, 95, 100, 95], OK, id="killed before and after such a fault"),
    pytest.param([FAULT, FAULT], 5, [100, 100], FAULT, id="a fault of the grader, twice"),
]


@pytest.mark.parametrize(("ends", "takes_s", "limits_s", "status"), RUNS)
def test_which_runs_are_tried_again(
    ends: list[RunStatus | str],
    takes_s: float,
    limits_s: list[float],
    status: RunStatus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, given, outcomes = [0.0], list[float](), iter(ends)

    def once(submission: Any, setup: Any, evidence: Any, listener: Any, limits: Limits) -> Any:
        given.append(limits.notebook_s)
        clock[0] += takes_s
        end = next(outcomes)
        status = DIED if end == ELSEWHERE else end
        return SimpleNamespace(summary=SimpleNamespace(status=status, failed_cells=()), reason=str(end))

    monkeypatch.setattr(run, "_execute_once", once)
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
    nothing: Any = None
    setup = Setup(Profile.STRUCTURE, 0, nothing, nothing, nothing, False, nothing)
    ended = run.execute(nothing, setup, tmp_path, limits=Limits(1, 1, LIMIT_S, 1, 1))
    assert (given, ended.summary.status) == (limits_s, status)
