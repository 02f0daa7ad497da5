"""Ctrl-C, which a terminal sends to controller and workers alike: one sentence, exit code 2, nothing half done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.batch.fakes import ROOT


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups there")
def test_one_sentence(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.batch.interrupted", str(tmp_path)],
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(list(tmp_path.glob("submissions/*/history.jsonl"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.strip() == "Stopped. What is graded is kept; run the same command again to continue."
    assert len(list(tmp_path.glob("submissions/*/history.jsonl"))) < 100
