"""Peak memory of this process and its children: what a machine must have to grade."""

import threading
from types import TracebackType

import psutil

INTERVAL_S = 2.0  # counting shared pages once means walking page tables: a look at 3 GB costs tens of milliseconds
MIB = 2**20


class MemoryWatch:
    """Samples the memory of the whole tree of processes while the block runs, pages that they share counted once."""

    def __init__(self) -> None:
        """Nothing measured yet."""
        self.peak_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop sampling, after a last look: a short run may have had none."""
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._look()

    def _look(self) -> None:
        self.peak_mib = max(self.peak_mib, _used_mib())


def _used_mib() -> float:
    me = psutil.Process()
    return sum(_share_bytes(process) for process in [me, *me.children(recursive=True)]) / MIB


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
