"""A bound on memory without control groups, by looking: weaker.

The sum of the proportional set sizes of all descendants of the supervisor is compared with the limit. A page that
several processes share counts once in that sum, so what a warm kernel shares with its zygote hardly counts. Reading it
takes milliseconds for a process with many mappings; the plain resident size, which is never smaller, is read first and
the exact sum only when that is above the limit, or once a second for the peak.

What it does not see: what grows and is freed between two looks (50 ms apart, so that a limit of 700 MiB was seen passed
by up to 250 MiB), and memory that is mapped nowhere, which is why memfd_create is denied where only this is in force.
Files in the sandbox's scratch are memory as well, bounded by the size of its tmpfs.
"""

import resource
import time
from pathlib import Path
from typing import Final

import psutil

from grader.sandbox.policy import MIB

PAGE: Final = resource.getpagesize()
EXACT_EVERY_S: Final = 1.0


class Watchdog:
    """Memory of everything below a process against a limit in MiB. Satisfies `cgroups.Meter`."""

    def __init__(self, limit_mib: float, below: int) -> None:
        self._limit_mib = limit_mib
        self._below = below
        self._peak_mib = 0.0
        self._exact_at = 0.0
        self._kills = count_memory_kills()

    def is_exceeded(self) -> bool:
        tree = list_descendants(self._below)
        now = time.monotonic()
        if sum(map(_resident_mib, tree)) <= self._limit_mib and now - self._exact_at < EXACT_EVERY_S:
            return False
        self._exact_at = now
        used_mib = sum(map(measure_proportional_mib, tree))
        self._peak_mib = max(self._peak_mib, used_mib)
        return used_mib > self._limit_mib

    def was_exceeded(self) -> bool:
        return False  # only the supervisor kills here, which knows of it

    def was_starved(self) -> bool:
        return count_memory_kills() > self._kills

    def peak_mib(self) -> float:
        return self._peak_mib


def count_memory_kills() -> int:
    """How many processes the system has killed for want of memory since it started; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def measure_proportional_mib(process: int) -> float:
    """Proportional set size of one process; its resident size where the kernel keeps the former secret."""
    try:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        return _resident_mib(process)
    return 0.0


def list_descendants(process: int) -> list[int]:
    """Pids of everything below a process. Most Linux kernels keep lists of children; reading those costs little."""
    if not Path("/proc/thread-self/children").exists():
        return [child.pid for child in psutil.Process(process).children(recursive=True)]
    found, waiting = [], [process]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(process: int) -> list[int]:
    try:
        lists = [path.read_text(encoding="ascii") for path in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:
        return []
    return [int(word) for text in lists for word in text.split()]


def _resident_mib(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * PAGE / MIB
    except OSError:
        return 0.0
