"""Shares the GPUs of one machine among submissions.

A GPU has as many slots as submissions may share it. A slot is a file with a lock of the operating system, which is
released when its holder dies, so nothing has to be cleaned up. A submission that needs a GPU alone takes all its slots,
in order.
"""

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grader.model import FailedCell

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
LOOK_AGAIN_S: Final = 0.2
OUT_OF_MEMORY: Final = ("OutOfMemoryError", "AcceleratorError", "RuntimeError")  # torch's names for it, old and new
WORDS: Final = "CUDA out of memory"


@dataclass(frozen=True)
class GpuPool:
    """GPUs, and how many submissions share each."""

    gpus: int
    kernels_per_gpu: int
    folder: Path = Path(tempfile.gettempdir())

    @property
    def devices(self) -> tuple[str, ...]:
        """Return CUDA's names for the GPUs: of those that this process may use, Slurm's choice for example."""
        given = tuple(name for name in os.environ.get(VISIBLE, "").split(",") if name)
        return (given or tuple(map(str, range(self.gpus))))[: self.gpus]

    @contextmanager
    def take(self, alone: bool = False) -> Iterator[dict[str, str]]:
        """Wait for a slot, or for a whole GPU, and hold it; yield the environment that shows a kernel that GPU only."""
        with ExitStack() as held:
            yield {VISIBLE: self._acquire_exclusive(held) if alone else self._acquire_shared(held)}

    def _acquire_shared(self, held: ExitStack) -> str:
        """Lock a slot of the GPU that the fewest share, and return its name."""
        slots = [(device, number) for number in range(self.kernels_per_gpu) for device in self.devices]
        while True:
            for device, number in slots:
                if _lock(self._locate_slot(device, number), held, wait=False):
                    return device
            time.sleep(LOOK_AGAIN_S)

    def _acquire_exclusive(self, held: ExitStack) -> str:
        """Lock all slots of the last GPU, which others take last, and return its name."""
        device = self.devices[-1]
        for number in range(self.kernels_per_gpu):
            _lock(self._locate_slot(device, number), held, wait=True)
        return device

    def _locate_slot(self, device: str, number: int) -> Path:
        return self.folder / f"a4-gpu-{os.getuid()}-{device.replace('/', '_')}-seat-{number}"


def _lock(path: Path, held: ExitStack, wait: bool) -> bool:
    """Return True if this process has the lock of a slot now; `held` releases it."""
    import fcntl  # not on Windows, where nobody grades classes

    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return False
    held.callback(file.close)
    return True


def is_out_of_memory(failed: Iterable[FailedCell]) -> bool:
    """Return True if a GPU's memory was used up: a cell ended with the error that torch raises then."""
    return any(cell.error in OUT_OF_MEMORY and WORDS in cell.message for cell in failed)
