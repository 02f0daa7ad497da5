"""Divides the steps that a budget allows into the epochs that a notebook asks for.

Under a budget the steps end long before a pass over the reviews does. A notebook that asks for three epochs sees three
all the same: they begin and end for its callbacks, and each has its evaluation and its entries in the log. What is
learned is what one piece would teach: an epoch reads on where the one before it stopped.
"""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from grader.kernel.fence import shield
from grader.kernel.training.figures import read_figure

MAX_EPOCHS = 20


class Portions:
    """A data loader of which the training reads a portion in each epoch. Whoever else reads it gets all of it."""

    def __init__(self, loader: Any, sizes: list[int]) -> None:
        """Divide `loader` into portions of so many batches."""
        self.loader = loader
        self._sizes = iter(sizes)
        self._batches = self._read_on()
        self._is_next = False

    def begin_epoch(self) -> None:
        """Let the next reader get the next portion: it is the training, whose epoch has just begun."""
        self._is_next = True

    def __iter__(self) -> Iterator[Any]:
        if not self._is_next:
            return iter(self.loader)
        self._is_next = False
        return itertools.islice(self._batches, next(self._sizes, 0))

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: what is drawn anew for every pass over the data stays as it is until the pass is over."""

    def _read_on(self) -> Iterator[Any]:
        """Yield batches of one pass after another, without end unless there are none."""
        for number in itertools.count():
            if hasattr(self.loader, "set_epoch"):
                self.loader.set_epoch(number)
            batch = None
            for batch in self.loader:
                yield batch
            if batch is None:
                return


class Epochs(TrainerCallback):
    """Knows where epochs end, which the steps may not be a multiple of. Comes after the notebook's own callbacks."""

    def __init__(self, arguments: Any, steps: int) -> None:
        """`arguments`: the student's."""
        epochs = count(arguments)
        length = _read_epochs(arguments) / epochs  # 1, if there are not too many of them
        self.ends = {math.ceil(steps * epoch / epochs): epoch * length for epoch in range(1, epochs + 1)}
        self.sizes = [end - before for before, end in itertools.pairwise((0, *self.ends))]
        self.speed = _read_epochs(arguments) / steps

    @shield(lambda self, args, state, control, **kwargs: control)
    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> Any:
        """Have the training read the next portion."""
        if isinstance(train_dataloader, Portions):
            train_dataloader.begin_epoch()
        return control

    @shield(lambda self, args, state, control, **kwargs: control)
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Count epochs in the log in proportion to the steps."""
        state.epoch = self.ends.get(state.global_step, state.global_step * self.speed)
        return control

    @shield(lambda self, args, state, control, **kwargs: control)
    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Go on to the next epoch: one that a callback finds good enough is a few steps long under a budget."""
        if state.global_step in self.ends and state.global_step < state.max_steps:
            control.should_training_stop = False
        return control

    @contextmanager
    def divide(self, trainer: Any) -> Iterator[None]:
        """Have the trainer train in these epochs for a while."""
        load, plan = trainer.get_train_dataloader, trainer.set_initial_training_values

        def count_values(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
            _, _, rows, seen, batch, _, steps = plan(*args, **kwargs)
            longest = max(self.sizes)
            return len(self.sizes), longest, rows, seen, batch, longest, steps

        own = {
            "get_train_dataloader": lambda: Portions(load(), self.sizes),
            "set_initial_training_values": count_values,
        }
        before = {name: value for name, value in vars(trainer).items() if name in own}
        vars(trainer).update(own)
        try:
            yield
        finally:
            for name in own:  # methods of the class again, which hold no reference to this trainer
                vars(trainer).pop(name)
            vars(trainer).update(before)


def count(arguments: Any) -> int:
    """Return how many epochs a training has under a budget: those that are asked for, if they are not too many."""
    return math.ceil(min(MAX_EPOCHS, max(1.0, _read_epochs(arguments))))


def _read_epochs(arguments: Any) -> float:
    """Return how many epochs there shall be; 1 where it is no finite number, which the budget does not need."""
    figure = read_figure(arguments.num_train_epochs)
    return 1.0 if figure is None else figure


def tell_most(arguments: Any) -> None:
    """Say so where more epochs are asked for than there are under a budget."""
    if (asked := _read_epochs(arguments)) > MAX_EPOCHS:
        print(f"[grading] this training has {MAX_EPOCHS} epochs instead of {asked:g}")
