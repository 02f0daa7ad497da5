"""Peak memory of a tree of processes: what is seen, and what is counted again."""

import subprocess
import sys

import psutil
import pytest

from grader.execution import memory
from grader.execution.memory import MemorySampler

MIB_HELD = 200
HOLDS = f"x = bytearray({MIB_HELD} << 20); print('holds', flush=True); input()"


def hold_memory() -> subprocess.Popen[bytes]:
    """Start a process that holds memory until it is told to end."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"holds\n"
    return process


def test_a_child_counts_after_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemorySampler, "every_s", 0.02)
    with MemorySampler() as alone:
        pass
    with MemorySampler() as watch:
        process = hold_memory()
        while watch.peak_mib < alone.peak_mib + MIB_HELD:
            assert process.poll() is None
        process.communicate(b"\n")
    assert watch.peak_mib >= alone.peak_mib + MIB_HELD


def test_a_tree_that_is_gone_has_no_memory() -> None:
    process = hold_memory()
    watched = psutil.Process(process.pid)
    process.communicate(b"\n")
    with MemorySampler(watched) as watch:
        pass
    assert watch.peak_mib == 0


def test_pages_are_counted_again_only_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    monkeypatch.setattr(memory, "_share_bytes", lambda process: counted.append(process.pid) or 1 << 20)
    process = hold_memory()
    watch = MemorySampler(psutil.Process(process.pid))
    watch.sample()
    watch.sample()
    assert counted == [process.pid]
    monkeypatch.setattr(memory, "CHANGED", -1)  # every process has changed
    watch.sample()
    assert counted == [process.pid] * 2
    process.communicate(b"\n")
