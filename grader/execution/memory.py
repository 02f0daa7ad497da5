"""Peak memory of a process and its children: what a machine must have to grade."""

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import psutil

MIB = 2**20
CHANGED = 0.02  # of what was resident


class PeriodicSampler(ABC):
    """Looks at something every so often while the block runs, and at its end: a short run may have had no look yet."""

    every_s: float

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @abstractmethod
    def sample(self) -> None:
        """Look once."""

    def __enter__(self) -> Self:
        """Start looking."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()
        self.sample()

    def _watch(self) -> None:
        while not self._stop.wait(self.every_s):
            self.sample()


class MemorySampler(PeriodicSampler):
    """The largest memory of a tree of processes, pages that they share counted once.

    To count those, the system walks through a process's page tables, tens of milliseconds for some gigabytes in which
    the process waits. So only processes that have grown or shrunk since the last look are counted again.
    """

    every_s = 2.0

    def __init__(self, root: psutil.Process | None = None) -> None:
        """`root`: of the tree; by default this process."""
        super().__init__()
        self.root, self.peak_mib = root or psutil.Process(), 0.0
        self._counted: dict[psutil.Process, ProcessMemory] = {}

    def sample(self) -> None:
        """Add up what is in use now; nothing of a tree that is gone."""
        self.peak_mib = max(self.peak_mib, sum(map(self._share_bytes, self._tree())) / MIB)

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self.root, *self.root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _share_bytes(self, process: psutil.Process) -> int:
        try:
            resident = process.memory_info().rss
            known = self._counted.get(process)
            if known is None or abs(resident - known.resident_bytes) > CHANGED * known.resident_bytes:
                known = self._counted[process] = ProcessMemory(resident, _share_bytes(process))
        except psutil.NoSuchProcess:
            return 0
        return known.share_bytes


@dataclass(frozen=True)
class ProcessMemory:
    """A process when its pages were counted."""

    resident_bytes: int
    share_bytes: int


def _share_bytes(process: psutil.Process) -> int:
    """Proportional set size where the system tells it, otherwise what is resident and not shared."""
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.uss)
    except psutil.AccessDenied:
        memory = process.memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
