"""Judging in a process of its own: what a stranger's bytes do there costs one submission that part of its points."""

import ctypes
import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pydantic import TypeAdapter

from grader.errors import DiskFullError, GraderError
from grader.judging.apart import Begin, Bounds, ChildLost, run_apart
from grader.judging.boundary import Fault, Watch, blame
from grader.judging.careful import MOST_LOST, judge_carefully, list_faults
from grader.judging.result import GradingResult
from grader.model import StaffDetails, Verdict
from tests.harness import results

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")

TEXT = TypeAdapter(str)
TIGHT = Bounds(memory_mib=200, time_s=60)
HASTY = Bounds(memory_mib=200, time_s=1)


def fail(error: BaseException) -> Callable[[Begin], str]:
    def work(begin: Begin) -> str:
        begin("a part")
        raise error

    return work


def hoard(begin: Begin) -> str:
    begin("a part")
    return str(len([torch.ones(2**20) for _ in range(1_000)]))


def crash(begin: Begin) -> str:
    begin("a part")
    faulthandler.disable()  # what it prints looks like a failure of the tests
    return str(ctypes.string_at(0))


def wait(begin: Begin) -> str:
    begin("a part")
    time.sleep(60)
    return ""


def recur(begin: Begin) -> str:
    begin("a part")
    return recur(lambda part: None)


def test_an_answer_comes_back() -> None:
    assert run_apart(lambda begin: f"in another process: {os.getpid()} ü\n", TEXT, TIGHT) != str(os.getpid())
    assert run_apart(lambda begin: "x" * 10_000_000, TEXT, TIGHT) == "x" * 10_000_000


@pytest.mark.parametrize(
    ("work", "raised", "words"),
    [
        pytest.param(crash, ChildLost, "without a word", id="a segmentation fault"),
        pytest.param(hoard, ChildLost, "RuntimeError", id="memory"),
        pytest.param(wait, ChildLost, "longer than any honest work", id="time"),
        pytest.param(recur, ChildLost, "RecursionError", id="depth"),
        pytest.param(fail(ValueError("x")), ChildLost, "ValueError: x", id="any exception"),
        pytest.param(fail(SystemExit(3)), ChildLost, "SystemExit", id="an exit"),
        pytest.param(fail(GraderError("do this")), GraderError, "^do this$", id="a fault of ours"),
        pytest.param(fail(DiskFullError("full")), DiskFullError, "^full$", id="a full disk"),
        pytest.param(fail(KeyboardInterrupt()), KeyboardInterrupt, "^$", id="ctrl-C"),
    ],
)
def test_what_becomes_of_the_work(work: Callable[[Begin], str], raised: type[BaseException], words: str) -> None:
    before = psutil.Process().memory_info().rss
    with pytest.raises(raised, match=words) as found:
        run_apart(work, TEXT, HASTY if work is wait else TIGHT)
    assert isinstance(found.value, ChildLost) == (raised is ChildLost)
    assert getattr(found.value, "part", "a part") == "a part"
    assert psutil.Process().memory_info().rss - before < 50 * 2**20
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]


BLAMED = [
    (MemoryError(), Fault.SUBMISSION), (RecursionError(), Fault.SUBMISSION), (ValueError(), Fault.SUSPECT),
    (RuntimeError(), Fault.SUSPECT), (AttributeError(), Fault.SUSPECT), (OSError(28, "full"), Fault.GRADER),
    (GraderError(), Fault.GRADER), (ImportError(), Fault.GRADER), (NameError(), Fault.GRADER),
    (SystemExit(), Fault.GRADER),
]  # fmt: skip


@pytest.mark.parametrize(("error", "fault"), BLAMED, ids=lambda value: type(value).__name__)
def test_whose_fault_an_exception_is(error: BaseException, fault: Fault) -> None:
    assert blame(error) is fault


@pytest.mark.parametrize(
    ("known", "suspect", "exhausted"),
    [
        pytest.param(None, True, False, id="not known"),
        pytest.param(frozenset(("a.b",)), True, True, id="it happens with the reference, too"),
        pytest.param(frozenset(("c.d",)), False, False, id="it does not"),
    ],
)
def test_the_reference_decides(known: frozenset[str] | None, suspect: bool, exhausted: bool) -> None:
    watch = Watch(of_the_grader=known)
    assert watch.is_of_the_grader("a.b", Fault.SUSPECT) is suspect
    assert watch.is_of_the_grader("a.b", Fault.SUBMISSION) is exhausted
    assert watch.is_of_the_grader("a.b", Fault.GRADER)


def judge(hostile: set[str], ours: str = "") -> Callable[[Watch], GradingResult]:
    """Build a judge of five checks, some of which end its process; `ours` does so for everybody."""

    def judge_watched(watch: Watch) -> GradingResult:
        checks = []
        for name in ("s.a", "s.b", "s.c", "s.d", "s.e"):
            watch.begin(name)
            lost = watch.find_loss(name)
            if name in hostile and not lost:
                faulthandler.disable()
                os.abort()
            of_ours = bool(lost) and watch.is_of_the_grader(name, Fault.SUBMISSION)
            checks.append(results.check(name, Verdict.ERROR if of_ours else Verdict.FAILED if lost else Verdict.PASSED))
        return GradingResult(results.result(checks), StaffDetails())

    return judge_watched


@pytest.mark.parametrize(
    ("hostile", "reference", "verdicts"),
    [
        pytest.param(set(), None, "ppppp", id="honest"),
        pytest.param({"s.b"}, frozenset(), "pfppp", id="one check"),
        pytest.param({"s.b"}, None, "pfppp", id="one check, and no reference"),
        pytest.param({"s.b", "s.d"}, frozenset({"s.d"}), "pfpep", id="one of the grader's beside it"),
        pytest.param({"s.a", "s.b", "s.c", "s.d", "s.e"}, frozenset(), "fffff", id="all"),
    ],
)
def test_only_the_part_is_lost(hostile: set[str], reference: frozenset[str] | None, verdicts: str) -> None:
    asked: list[int] = []

    def ask() -> frozenset[str] | None:
        asked.append(1)
        return reference

    graded = judge_carefully(judge(hostile), Bounds(1_000, 20), ask)
    words: dict[Any, str] = {Verdict.PASSED: "p", Verdict.FAILED: "f", Verdict.ERROR: "e"}
    assert "".join(words[check.verdict] for check in graded.result.checks) == verdicts
    assert len(asked) == bool(hostile)
    assert len(hostile) <= MOST_LOST or verdicts == "fffff"


def test_a_process_that_anybody_killed_costs_nothing(tmp_path: Path) -> None:
    killed = tmp_path / "killed"

    def judge_watched(watch: Watch) -> GradingResult:
        watch.begin("s.a")
        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return GradingResult(results.result([results.check("s.a")]), StaffDetails())

    graded = judge_carefully(judge_watched, Bounds(1_000, 20), pytest.fail)
    assert [check.verdict for check in graded.result.checks] == [Verdict.PASSED]


def test_faults_that_the_reference_has_too() -> None:
    assert list_faults(judge({"s.c"}), Bounds(1_000, 20)) == {"s.c"}
    with pytest.raises(GraderError, match="cannot judge anything"):
        list_faults(judge_nothing, Bounds(1_000, 20))


def judge_nothing(watch: Watch) -> GradingResult:
    faulthandler.disable()
    os.abort()
