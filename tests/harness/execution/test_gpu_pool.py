"""The pool of GPUs: who gets which, who has one alone, and what happens when its memory is used up."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grader.execution import gpu_pool, run
from grader.execution.gpu_pool import VISIBLE, GpuPool
from grader.execution.job import Setup
from grader.model import FailedCell, Profile

SOON_S = 0.5


@pytest.fixture(autouse=True)
def _no_gpus_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)


@pytest.mark.parametrize(
    ("given", "gpus", "expected"),
    [("", 2, ("0", "1")), ("3,5", 2, ("3", "5")), ("3,5", 1, ("3",)), ("GPU-8a/1", 1, ("GPU-8a/1",))],
    ids=["none given", "given", "more given", "by name"],
)
def test_devices(
    given: str, gpus: int, expected: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, given)
    assert GpuPool(gpus, 1, tmp_path).devices == expected
    with ExitStack() as held:  # they fill evenly
        taken = [held.enter_context(GpuPool(gpus, 2, tmp_path).take())[VISIBLE] for _ in range(2 * gpus)]
    assert taken == [*expected, *expected]


def waits(place: GpuPool, alone: bool) -> threading.Event:
    """Start a thread that takes a slot as soon as there is one, and tells so by the event."""
    sits = threading.Event()

    def take() -> None:
        with place.take(alone):
            sits.set()

    threading.Thread(target=take, daemon=True).start()
    return sits


@pytest.mark.parametrize(
    ("first", "second"), [(False, True), (True, False), (True, True)], ids=["then alone", "then any", "both alone"]
)
def test_alone_means_alone(first: bool, second: bool, tmp_path: Path) -> None:
    place = GpuPool(1, 3, tmp_path)
    with place.take(first):
        sits = waits(place, second)
        assert not sits.wait(SOON_S)
    assert sits.wait(20)


def test_who_waits_for_a_gpu_gets_it_before_those_who_come_later(tmp_path: Path) -> None:
    place = GpuPool(1, 2, tmp_path)
    with ExitStack() as held:
        with place.take():
            held.enter_context(place.take())
            sits = waits(place, alone=True)
            assert not sits.wait(SOON_S)
        time.sleep(SOON_S)  # a lock that is let go wakes who waits for it, and whoever asks in that moment is faster
        comes = waits(place, alone=False)
        assert not comes.wait(SOON_S)
    assert sits.wait(20)
    assert comes.wait(20)


def test_a_slot_is_free_when_its_holder_dies(tmp_path: Path) -> None:
    source = (
        "import sys, time; from pathlib import Path; from grader.execution.gpu_pool import GpuPool\n"
        "with GpuPool(1, 1, Path(sys.argv[1])).take(): print('sits', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", source, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"sits\n"
        sits = waits(GpuPool(1, 1, tmp_path), alone=False)
        assert not sits.wait(SOON_S)
        holder.kill()
    assert sits.wait(20)


FAILED, SHAPES = "CUDA out of memory. Tried to allocate 2.00 GiB.", "mat1 and mat2 shapes cannot be multiplied"
ERRORS = [("OutOfMemoryError", FAILED, True), ("RuntimeError", FAILED, True), ("RuntimeError", SHAPES, False)]
ERRORS += [("ValueError", FAILED, False), ("MemoryError", "", False)]


@pytest.mark.parametrize(("error", "message", "expected"), ERRORS)
def test_which_errors_mean_a_gpu_without_memory(error: str, message: str, expected: bool) -> None:
    assert gpu_pool.is_out_of_memory([FailedCell(index=3, error=error, message=message)]) is expected


TRIES = {
    "enough alone": ([True, False], True, ["0 of 2", "alone"]),
    "too little alone": ([True, True], True, ["0 of 2", "alone"]),
    "enough": ([False], True, ["0 of 2"]),
    "not shared": ([True], False, ["no seat"]),
}


@pytest.mark.parametrize(("fails", "shares", "tried"), TRIES.values(), ids=TRIES)
def test_a_run_without_memory_is_tried_alone(
    fails: list[bool], shares: bool, tried: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, seen, outcomes = GpuPool(1, 2, tmp_path), [], iter(fails)

    def once(submission: Any, setup: Setup, evidence: Any, listener: Any, limits: Any) -> Any:
        seen.append(describe_seat(place, setup.environ))
        cells = (FailedCell(index=0, error="OutOfMemoryError", message=FAILED),) if next(outcomes) else ()
        return SimpleNamespace(summary=SimpleNamespace(status="", failed_cells=cells))

    monkeypatch.setattr(run, "_execute_once", once)
    nothing: Any = None
    setup = Setup(Profile.FULL, 0, nothing, nothing, nothing, False, nothing, gpu_pool=place if shares else None)
    run.execute(nothing, setup, tmp_path)
    assert seen == tried


def describe_seat(place: GpuPool, environ: Mapping[str, str]) -> str:
    if VISIBLE not in environ:
        return "no seat"
    with ExitStack() as held:
        path = place.folder / f"a4-gpu-{os.getuid()}-0-seat-1"
        return f"{environ[VISIBLE]} of 2" if gpu_pool._lock(path, held, wait=False) else "alone"
