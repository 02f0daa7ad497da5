"""What is looked at when all hostile notebooks are graded as one class."""

from pathlib import Path

import pytest

from grader.model import Result, RunStatus, Verdict
from tests.harness import results
from tests.proof.security import hostile_class
from tests.proof.security.cases import HostileCase

PASSED, FAILED = results.check("s.a"), results.check("s.b", Verdict.FAILED)
CASE = HostileCase(id="empty", row=1, cells=("1",), outcome=(RunStatus.OK,), earns=("s.e",))
TOLD = [
    pytest.param(results.result([FAILED, results.check("s.e")]), [], id="what it earns"),
    pytest.param(results.result([PASSED]), ["empty: unearned s.a"], id="a point without work"),
    pytest.param(
        results.result([FAILED], run=results.run(RunStatus.INFRA_ERROR)),
        ["empty: it is said to be the grader's fault"],
        id="blame",
    ),
    pytest.param(None, ["empty: no result"], id="lost"),
]
HONEST = [
    pytest.param(results.result([PASSED]), 0, id="full marks"),
    pytest.param(results.result([PASSED, FAILED]), 5, id="points lost"),
    pytest.param(results.result([PASSED], score=results.graded(None, 4)), 5, id="ungraded"),
    pytest.param(None, 5, id="no result"),
]


def write(folder: Path, key: str, result: Result | None) -> None:
    if result:
        (folder / key).mkdir()
        (folder / key / "result.json").write_text(result.model_dump_json(by_alias=True), encoding="utf-8")


def write_honest(folder: Path, result: Result | None = None) -> None:
    for number in range(hostile_class.HONEST):
        write(folder, f"honest{number}", result)


@pytest.mark.parametrize(("result", "told"), TOLD)
def test_hostile_ones(result: Result | None, told: list[str], tmp_path: Path) -> None:
    write_honest(tmp_path, results.result([PASSED]))
    write(tmp_path, "h000", result)
    assert list(hostile_class.judge_class({"h000": CASE}, tmp_path)) == told


@pytest.mark.parametrize(("result", "count"), HONEST)
def test_honest_ones(result: Result | None, count: int, tmp_path: Path) -> None:
    write_honest(tmp_path, result)
    assert len(list(hostile_class.judge_class({}, tmp_path))) == count
