"""Peak memory of a process and its children: what a machine must have to grade."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import psutil

MIB = 2**20


class Watch(ABC):
    """Looks at something every so often while the block runs, and at its end: a short run may have had no look yet."""

    every_s: float

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @abstractmethod
    def look(self) -> None:
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
        self.look()

    def _watch(self) -> None:
        while not self._stop.wait(self.every_s):
            self.look()


class MemoryWatch(Watch):
    """The largest memory of a tree of processes, pages that they share counted once."""

    every_s = 2.0  # counting shared pages once means walking page tables: a look at 3 GB costs tens of milliseconds

    def __init__(self, root: psutil.Process | None = None) -> None:
        """`root`: of the tree; by default this process."""
        super().__init__()
        self.root, self.peak_mib = root or psutil.Process(), 0.0

    def look(self) -> None:
        """Add up what is in use now; nothing of a tree that is gone."""
        self.peak_mib = max(self.peak_mib, sum(map(_share_bytes, self._tree())) / MIB)

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self.root, *self.root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _share_bytes(process: psutil.Process) -> int:
    """Proportional set size where the system tells it, otherwise what is resident and not shared."""
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.uss)
    except psutil.AccessDenied:
        return _private_bytes(process)
    except psutil.NoSuchProcess:
        return 0


def _private_bytes(process: psutil.Process) -> int:
    try:
        memory = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(memory.rss - getattr(memory, "shared", 0))
