"""SIGKILL at a random moment, ten times: what was stored is never executed again, and in the end nothing is missing."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.harness.batch.fakes import ROOT

COUNT = 30
KILLS = 10
LONGEST_S = 0.4  # of some 2 s that all of it takes


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.harness.batch.killed", str(folder), str(COUNT)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def stored(folder: Path) -> set[str]:
    return {path.name for path in (folder / "store" / "evidence").glob("*")}


def executed(folder: Path) -> Counter[str]:
    path = folder / "executions"
    return Counter(path.read_text(encoding="utf-8").split()) if path.exists() else Counter()


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_ten_kills(tmp_path: Path) -> None:
    dice = random.Random(7)
    for _ in range(KILLS):
        before, done = executed(tmp_path), stored(tmp_path)
        process = start(tmp_path)
        time.sleep(dice.random() * LONGEST_S)
        process.kill()
        process.communicate()
        again = executed(tmp_path) - before
        assert stored(tmp_path) >= done
        assert sum(again.values()) <= len(stored(tmp_path)) - len(done) + 1  # one was in flight
    process = start(tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(stored(tmp_path)) == COUNT
    assert sum(executed(tmp_path).values()) <= COUNT + KILLS
    assert max(executed(tmp_path).values()) <= 1 + KILLS
    results = list((tmp_path / "submissions").glob("*/result.json"))
    assert {json.loads(path.read_text(encoding="utf-8"))["score"]["points"] for path in results} == {5.0}
    assert len(results) == COUNT
    assert not list((tmp_path / "submissions").rglob("*.partial"))
