"""Measures the peak memory of a process and its children: what a machine must have to grade."""

import contextlib
import threading
from abc import ABC, abstractmethod
from typing import Self

import psutil

MIB = 2**20
CHANGED = 0.02  # of what was resident


class PeriodicSampler(ABC):
    """Takes a sample every so often while the block runs, and one at its end: a short run may have had none yet."""

    every_s: float

    def __init__(self) -> None:
        """Prepare the thread that takes samples."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @abstractmethod
    def sample(self) -> None:
        """Take one sample."""

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the thread, and take the last sample."""
        self._stop.set()
        self._thread.join()
        self.sample()

    def _watch(self) -> None:
        while not self._stop.wait(self.every_s):
            self.sample()


class MemorySampler(PeriodicSampler):
    """The largest memory of a tree of processes, pages that they share counted once.

    To count those, the system walks through a process's page tables, tens of milliseconds for some gigabytes in which
    the process waits. So only processes that have grown or shrunk since the last sample are counted again.
    """

    every_s = 2.0

    def __init__(self, root: psutil.Process | None = None) -> None:
        """Watch the tree below `root`, by default this process."""
        super().__init__()
        self.root, self.peak_mib = root or psutil.Process(), 0.0
        self._counted: dict[psutil.Process, tuple[int, int]] = {}  # resident bytes and share when last counted

    def sample(self) -> None:
        """Add up the memory in use now; zero for a tree that is gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            tree = [self.root, *self.root.children(recursive=True)]
            self.peak_mib = max(self.peak_mib, sum(map(self._count_bytes, tree)) / MIB)

    def _count_bytes(self, process: psutil.Process) -> int:
        try:
            resident = process.memory_info().rss
            before, share = self._counted.get(process, (0, 0))
            if abs(resident - before) > CHANGED * before:
                share = _share_bytes(process)
                self._counted[process] = resident, share
        except psutil.NoSuchProcess:
            return 0
        return share


def _share_bytes(process: psutil.Process) -> int:
    """Return the proportional set size where the system has it, otherwise what is resident and not shared."""
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.uss)
    except psutil.AccessDenied:
        memory = process.memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
