"""A batch that is stopped: by ctrl-C with one sentence, by SIGKILL at random moments; nothing is lost or half done."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from grader.batch.session import lock_class
from grader.errors import GraderError, StopRequestError, report_on_stop
from tests.harness.batch.fakes import ROOT

COUNT = 30
KILLS = 10
LONGEST_S = 0.4  # of some 2 s that all of it takes
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process groups and no SIGKILL there")


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.harness.batch.stopped", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, **options)


KEPT = "What is graded is kept; run the same command again to continue."
TERMINATED = f"Stopped by SIGTERM, which the system or another program sent. {KEPT}"
STOPS = [
    pytest.param(os.killpg, signal.SIGINT, f"Stopped. {KEPT}", id="ctrl-C, which controller and workers get alike"),
    pytest.param(os.killpg, signal.SIGTERM, TERMINATED, id="SIGTERM to all, as Slurm sends it"),
    pytest.param(os.kill, signal.SIGTERM, TERMINATED, id="SIGTERM to the controller"),
]


@pytest.mark.parametrize(("send", "number", "sentence"), STOPS)
def test_a_batch_that_is_asked_to_stop(
    send: Callable[[int, int], None], number: int, sentence: str, tmp_path: Path
) -> None:
    process = start(tmp_path, start_new_session=True, stderr=subprocess.PIPE)
    while len(list(tmp_path.glob("submissions/*/history.jsonl"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    send(process.pid, number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.strip() == sentence
    assert len(list(tmp_path.glob("submissions/*/history.jsonl"))) < 100


def break_while_stopping(folder: Path) -> None:
    with report_on_stop("It is kept."), lock_class(folder):
        try:
            raise StopRequestError("SIGTERM")
        finally:
            raise OSError("in: comm closed") from EOFError("stream closed")


def test_what_breaks_while_stopping_is_not_blamed(tmp_path: Path) -> None:
    """Dask's errors of connection are OSError too: the disk has nothing to do with it."""
    with pytest.raises(GraderError, match=r"^Stopped by SIGTERM.* It is kept\.$"):
        break_while_stopping(tmp_path)


def start_here(folder: Path) -> subprocess.Popen[str]:
    process = start(folder, COUNT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def stored(folder: Path) -> set[str]:
    return {path.name for path in (folder / "store" / "evidence").glob("*")}


def executed(folder: Path) -> Counter[str]:
    path = folder / "executions"
    return Counter(path.read_text(encoding="utf-8").split()) if path.exists() else Counter()


def test_what_was_stored_before_ten_kills_is_never_executed_again(tmp_path: Path) -> None:
    dice = random.Random(7)
    for _ in range(KILLS):
        before, done = executed(tmp_path), stored(tmp_path)
        process = start_here(tmp_path)
        time.sleep(dice.random() * LONGEST_S)
        process.kill()
        process.communicate()
        again = executed(tmp_path) - before
        assert stored(tmp_path) >= done
        assert sum(again.values()) <= len(stored(tmp_path)) - len(done) + 1  # one was in flight
    process = start_here(tmp_path)
    process.communicate(timeout=60)
    assert (process.returncode, len(stored(tmp_path))) == (0, COUNT)
    assert sum(executed(tmp_path).values()) <= COUNT + KILLS
    assert max(executed(tmp_path).values()) <= 1 + KILLS
    results = list((tmp_path / "submissions").glob("*/result.json"))
    assert {json.loads(path.read_text(encoding="utf-8"))["score"]["points"] for path in results} == {5.0}
    assert len(results) == COUNT
    assert not list((tmp_path / "submissions").rglob("*.partial"))
