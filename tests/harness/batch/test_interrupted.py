"""Ctrl-C, which a terminal sends to controller and workers alike: one sentence, exit code 2, nothing half done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.batch.fakes import ROOT

LISTENING = (
    "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a job in the background
)


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups there")
def test_one_sentence(tmp_path: Path) -> None:
    start = f"{LISTENING}runpy.run_module('tests.harness.batch.interrupted', run_name='__main__', alter_sys=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", start, str(tmp_path)],
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
    assert said.strip() == "Stopped. What was graded is kept; run the same command again to go on."
    assert len(list(tmp_path.glob("submissions/*/history.jsonl"))) < 100
