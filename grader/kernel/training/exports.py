"""The weights that trainings leave, within what the host takes: of many, the earlier versions of one step go."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torch import Tensor

from grader.kernel.training.observation import guess_method
from grader.kernel.writing import write_tensors
from grader.protocol.records import Training

MAX_BYTES: Final = 1_536 * 2**20  # six fully trained models; the host takes a third more, of all files together


@dataclass(frozen=True)
class Export:
    """A file of weights. `form`: what a training that repeats it has in common with it."""

    name: str
    size: int
    method: str
    form: tuple[object, ...]


class Exports:
    """The files that are there, in the order of their trainings."""

    def __init__(self) -> None:
        self.kept: list[Export] = []

    def write(self, folder: str, record: Training, tensors: dict[str, Tensor]) -> str:
        """Write what a training leaves, and return the name of the file.

        Its record keeps the name when it is removed later, since the host knows the record by its digest.
        """
        name, size = f"training-{record.index}.safetensors", sum(tensor.nbytes for tensor in tensors.values())
        new = Export(name, size, guess_method(record.entry), describe_form(record))
        while sum(old.size for old in self.kept) + size > MAX_BYTES and (old := self.find_superseded(new)):
            Path(folder, old.name).unlink(missing_ok=True)
            self.kept.remove(old)
        write_tensors(folder, name, tensors)
        self.kept.append(new)
        return name

    def find_superseded(self, new: Export) -> Export | None:
        """Return the oldest that a later one repeats; where none does, the oldest with a later one of its method."""
        pairs = [(old, later) for i, old in enumerate(self.kept) for later in (*self.kept[i + 1 :], new)]
        repeated = (old for old, later in pairs if old.form == later.form)
        return next(repeated, next((old for old, later in pairs if old.method == later.method), None))


def describe_form(record: Training) -> tuple[object, ...]:
    """Return what was trained, from where, on how much."""
    entry, learned = record.entry, record.data.train
    asked = [record.arguments.get(name) for name in ("num_train_epochs", "max_steps")]
    return entry.trainable, entry.total, *entry.wrapped, entry.changed, learned and learned.rows, *asked
