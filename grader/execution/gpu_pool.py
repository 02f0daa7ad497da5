"""Seats at the GPUs of one machine: who may use which, and who has one to himself.

A GPU has as many seats as submissions may share it. A seat is a file with a lock of the operating system, which is
released when its holder dies, so nothing has to be cleaned up. Whoever needs a GPU alone takes all its seats, in order.
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
        """What CUDA calls the GPUs: those that this process was given, Slurm's choice for example."""
        given = tuple(name for name in os.environ.get(VISIBLE, "").split(",") if name)
        return (given or tuple(map(str, range(self.gpus))))[: self.gpus]

    @contextmanager
    def taken(self, alone: bool = False) -> Iterator[dict[str, str]]:
        """A seat, or a whole GPU, once there is one; yields the environment that shows a kernel that GPU only."""
        with ExitStack() as held:
            device = self._acquire_exclusive(held) if alone else self._acquire_shared(held)
            yield {VISIBLE: device}

    def _acquire_shared(self, held: ExitStack) -> str:
        """The GPU with the fewest in front of us."""
        while True:
            for number in range(self.kernels_per_gpu):
                for device in self.devices:
                    if _lock(self._locate_slot(device, number), held, wait=False):
                        return device
            time.sleep(LOOK_AGAIN_S)

    def _acquire_exclusive(self, held: ExitStack) -> str:
        """The GPU for those who need one alone: the last, where new ones come last."""
        device = self.devices[-1]
        for number in range(self.kernels_per_gpu):
            _lock(self._locate_slot(device, number), held, wait=True)
        return device

    def _locate_slot(self, device: str, number: int) -> Path:
        return self.folder / f"a4-gpu-{os.getuid()}-{device.replace('/', '_')}-seat-{number}"


def _lock(path: Path, held: ExitStack, wait: bool) -> bool:
    """Whether the lock of a seat is ours now; `held` lets go of it."""
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
    """Whether a GPU's memory was used up: a cell ended with the error that torch raises then."""
    return any(cell.error in OUT_OF_MEMORY and WORDS in cell.message for cell in failed)
