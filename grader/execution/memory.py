"""Peak memory of this process and its children: what a machine must have to grade."""

import threading
from types import TracebackType

import psutil

INTERVAL_S = 0.25
MIB = 2**20


class MemoryWatch:
    """Samples resident memory (summed over processes, shared pages counted each time) while the block runs."""

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
        """Stop sampling."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.peak_mib = max(self.peak_mib, _resident_mib())


def _resident_mib() -> float:
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / MIB
