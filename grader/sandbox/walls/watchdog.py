"""A bound on memory without control groups: the watchdog looks at intervals, which is weaker.

The sum of the proportional set sizes of all descendants of the supervisor is compared with the limit. A page that
several processes share counts once in that sum, so what a warm kernel shares with its zygote hardly counts. Reading it
takes milliseconds for a process with many mappings; the plain resident size, which is never smaller, is read first and
the exact sum only when that is above the limit, or once a second for the peak.

It does not see what grows and is freed between two looks (50 ms apart; a limit of 700 MiB was passed by up to 250 MiB),
nor memory that is mapped nowhere, which is why memfd_create is denied where only the watchdog is in force. Files in the
sandbox's scratch are memory as well, bounded by the size of its tmpfs.
"""

import contextlib
import resource
import time
from pathlib import Path
from typing import Final

import psutil

from grader.sandbox.policy import MIB
from grader.sandbox.walls.cgroups import MemoryMeter, read_number

PAGE: Final = resource.getpagesize()
EXACT_EVERY_S: Final = 1.0


class Watchdog(MemoryMeter):
    """The memory of everything below a process against a limit in MiB. Only the supervisor kills here."""

    def __init__(self, limit_mib: float, below: int) -> None:
        self._limit_mib, self._below = limit_mib, below
        self._peak_mib = self._exact_at = 0.0
        self._kills = count_memory_kills()

    def is_exceeded(self) -> bool:
        tree = list_descendants(self._below)
        now = time.monotonic()
        if sum(map(_measure_resident_mib, tree)) <= self._limit_mib and now - self._exact_at < EXACT_EVERY_S:
            return False
        self._exact_at = now
        used_mib = sum(map(measure_proportional_mib, tree))
        self._peak_mib = max(self._peak_mib, used_mib)
        return used_mib > self._limit_mib

    def was_starved(self) -> bool:
        return count_memory_kills() > self._kills

    def peak_mib(self) -> float:
        return self._peak_mib


def count_memory_kills() -> int:
    """Return how many processes the system has killed for lack of memory since it started; 0 where it is unknown."""
    return read_number(Path("/proc/vmstat"), "oom_kill")


def measure_proportional_mib(process: int) -> float:
    """Return the proportional set size of one process, or its resident size where Linux hides the former."""
    return read_number(Path(f"/proc/{process}/smaps_rollup"), "Pss:") / 1024 or _measure_resident_mib(process)


def list_descendants(process: int) -> list[int]:
    """List the pids below a process. Most Linux kernels keep lists of children; reading those costs little."""
    if not Path("/proc/thread-self/children").exists():
        return [child.pid for child in psutil.Process(process).children(recursive=True)]
    found, waiting = [], [process]
    while waiting:
        threads = Path(f"/proc/{waiting.pop()}/task").glob("*/children")
        with contextlib.suppress(OSError):
            lists = [path.read_text(encoding="ascii") for path in threads]
            children = [int(word) for text in lists for word in text.split()]
            found += children
            waiting += children
    return found


def _measure_resident_mib(process: int) -> float:
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * PAGE / MIB
    except OSError:
        return 0.0
