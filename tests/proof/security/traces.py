"""Traces that a run leaves behind on this machine, and how much the grader's own processes grow meanwhile."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from grader.execution import broker
from grader.execution.memory import MIB, PeriodicSampler

SETTLED_S: Final = 15.0  # a supervisor takes a moment to clean up after its kernel, longer on a busy machine
LOOK_EVERY_S: Final = 0.02
GROUPS: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Traces:
    """Processes, mounts, control groups and temporary files, as they are now. `others`: groups of other graders."""

    seen: frozenset[str]
    others: frozenset[str] = frozenset()

    def list_new(self, before: "Traces") -> list[str]:
        """Everything that is there and was not before."""
        return sorted(self.seen - before.seen - before.others)


def capture_traces(temporary: Path, mark: str) -> Traces:
    """Look around. `mark`: a word in the command line of processes that hide."""
    own = {process.pid for process in psutil.Process().children(recursive=True)}
    seen = {
        f"process {p.pid} {p.info['name']}"
        for p in psutil.process_iter(["name", "cmdline", "status"])
        if p.info["status"] != psutil.STATUS_ZOMBIE and (p.pid in own or mark in " ".join(p.info["cmdline"] or ()))
    }
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    groups = {f"group {path}": _is_of(path, own) for path in GROUPS.glob("**/grader-sandbox-*")}
    seen |= {f"mount {line.split()[4]}" for line in mounts} | {group for group, counts in groups.items() if counts}
    seen |= {f"file {path}" for path in temporary.iterdir()}
    return Traces(frozenset(seen), others=frozenset(group for group, counts in groups.items() if not counts))


def _is_of(group: Path, own: set[int]) -> bool:
    """True for a group of an own supervisor, or of one that is dead; others may be grading here too."""
    supervisor = int(group.name.rpartition("-")[2])
    return supervisor in own or not psutil.pid_exists(supervisor)


def find_leftovers(before: Traces, look_again: Callable[[], Traces]) -> list[str]:
    """Everything that remains of a run once it had time to go."""
    deadline = time.monotonic() + SETTLED_S
    while (left := look_again().list_new(before)) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    return left


def _peak_bytes(pid: int) -> int:
    """The most memory that a process ever had (VmHWM, in KiB), so that nothing between two looks is missed."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split()
    return int(status[status.index("VmHWM:") + 1]) * 1024 if "VmHWM:" in status else 0


class GrowthSampler(PeriodicSampler):
    """Measures by how much this process and the brokers grow while the block runs."""

    every_s = LOOK_EVERY_S

    def __init__(self) -> None:
        """Nothing measured yet."""
        super().__init__()
        self._me = psutil.Process()
        self._began, self._most = dict[int, int](), dict[int, int]()

    @property
    def mib(self) -> float:
        """The sum over the processes of the largest growth of each, MiB."""
        return sum(self._most[pid] - began for pid, began in self._began.items()) / MIB

    def sample(self) -> None:
        """Note how large everybody is, and was."""
        for process in (self._me, *filter(_is_bounded_broker, self._me.children())):
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                size = process.memory_info().rss
                self._began.setdefault(process.pid, size)
                peak = size if process is self._me else _peak_bytes(process.pid)
                self._most[process.pid] = max(size, peak, self._most.get(process.pid, 0))


def _is_bounded_broker(process: psutil.Process) -> bool:
    """True for a broker whose kernel runs: it has imported everything, and has just been given a limit of memory."""
    try:
        bounded = process.rlimit(psutil.RLIMIT_DATA)[0] != psutil.RLIM_INFINITY
        return bounded and broker.COMMAND[-1] in process.cmdline()
    except psutil.NoSuchProcess:
        return False
