"""Measures the work of a training where torch does it: at the steps of optimisers, and where the encoder reads.

A notebook may say that it trained; torch knows what its optimisers did. Of the trainable tensors some numbers at random
places are watched: how far steps move them, whether against their gradient, and how far they move without a step.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from transformers.models.distilbert.modeling_distilbert import Embeddings

from grader.kernel import modules
from grader.kernel.fence import ask, shield
from grader.kernel.wrapping import wrap
from grader.protocol.events import emit
from grader.protocol.records import Work
from grader.protocol.tensor_names import HEAD_LINEARS

TENSORS: Final = 28  # watched besides those of the head
NUMBERS: Final = 1_024  # of all together, where tensors have as many
MAX_LOSSES: Final = 20


class Sample:
    """Numbers at random places of a model's trainable tensors."""

    def __init__(self, parameters: list[nn.Parameter], dice: random.Random) -> None:
        self.parameters = parameters
        each = -(-NUMBERS // max(1, len(parameters)))
        # No place twice: the two numbers of a bias would be a quarter of the head's, and random moves of them may fit.
        self.places = [torch.tensor(dice.sample(range(p.numel()), min(each, p.numel()))) for p in parameters]

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """Choose from the trainable tensors: all of the head, a few of the others."""
        dice = random.Random(random.SystemRandom().random())  # not the notebook's numbers
        named = nn.Module.named_parameters(model)
        trained = {name: p for name, p in named if p.requires_grad and modules.count_numbers(p)}
        head = [name for name in trained if any(part in HEAD_LINEARS for part in name.split("."))]
        others = [name for name in trained if name not in head]
        return cls([trained[name] for name in (*head, *dice.sample(others, min(TENSORS, len(others))))], dice)

    def read(self) -> Tensor:
        """Return the numbers."""
        return ask(self._gather, [p.detach() for p in self.parameters])

    def read_gradients(self) -> Tensor:
        """Return their gradients; zero where there are none."""
        return ask(self._gather, [None if p.grad is None else p.grad.to_dense() for p in self.parameters])

    def _gather(self, tensors: Sequence[Tensor | None]) -> Tensor:
        pairs = zip(tensors, self.places, strict=True)
        parts = [torch.zeros(len(at)) if t is None else t.reshape(-1)[at.to(t.device)] for t, at in pairs]
        return torch.cat([part.float().cpu() for part in parts]) if parts else torch.empty(0)


class Measurement:
    """The work of one training, as it goes on. A model that cannot be sampled is counted without."""

    def __init__(self, find_model: Callable[[], nn.Module], count_planned: Callable[[], int]) -> None:
        """Begin now.

        Args:
            find_model: returns the model, which a Trainer may make when its training begins.
            count_planned: returns how many steps there will be, 0 where nobody knows.
        """
        self.find_model, self.count_planned = find_model, count_planned
        self.model: nn.Module | None = None
        self.steps = self.gradients = self.reviews = 0
        self.losses: list[float | None] = []
        self.moved = self.apart = 0.0
        self.follows: list[int] = [0, 0]  # numbers that the first step moved, and those that went against the gradient
        self.fresh = False
        self.sample: Sample | None = None
        self.last = self.slope = torch.empty(0)
        self.look()

    def look(self) -> None:
        """Sample the model, if it is another one than before."""
        model = self.find_model()
        if model is not self.model:
            self.model, self.sample = model, Sample.of(model)
            self.last = self.sample.read()

    def concerns(self, optimizer: Optimizer) -> bool:
        """Tell whether an optimiser holds any tensor of the model."""
        own = set(map(id, modules.list_parameters(self.find_model())))
        return any(id(p) in own for group in optimizer.param_groups for p in group["params"])

    def begin_step(self, optimizer: Optimizer) -> None:
        """Look at the numbers before a step: they are as the step before left them."""
        self.look()
        assert self.sample is not None
        now = self.sample.read()
        self.apart += _measure(now - self.last)
        self.last, self.slope = now, self.sample.read_gradients()
        self.fresh = not optimizer.state

    def end_step(self) -> None:
        """Look at them after it. An optimiser may compute the gradients in its step."""
        assert self.sample is not None
        now = self.sample.read()
        slope = self.slope if bool(self.slope.any()) else self.sample.read_gradients()
        moves = now - self.last
        self.steps += 1
        self.gradients += bool(slope.any())
        self.moved += _measure(moves)
        if self.fresh and not self.follows[0]:
            both = (moves != 0) & (slope != 0)
            self.follows = [int(both.sum()), int((both & (moves.sign() == -slope.sign())).sum())]
        self.last = now

    def finish(self) -> Work:
        """Look a last time, and return what was found."""
        after = _measure(self.sample.read() - self.last) if self.sample is not None and self.steps else 0.0
        compared, against = self.follows
        return Work(
            steps=self.steps,
            gradients=self.gradients,
            reviews=self.reviews,
            losses=tuple(self.losses),
            moved=_keep_finite(self.moved),
            apart=_keep_finite(self.apart),
            after=_keep_finite(after),
            compared=compared,
            against=against,
        )


def _measure(moves: Tensor) -> float:
    return float(moves.abs().max()) if len(moves) else 0.0


def _keep_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Meter:
    """What is measured in this process: each training by the number of its record."""

    def __init__(self) -> None:
        self.open: dict[int, Measurement] = {}
        self.paused = 0
        self.read = 0  # reviews that encoders have read
        self.read_before = 0  # when the last training ended
        self.losses: list[float | None] = []  # of passes since then
        self.hooks: list[Any] = []

    def install(self) -> None:
        """Hook optimisers, encoders and backward passes of this process.

        After the watcher of loops, for which a training begins at its first step.
        """
        self.hooks = [
            register_optimizer_step_pre_hook(self.before_step),
            register_optimizer_step_post_hook(self.after_step),
        ]
        wrap(Embeddings, "forward", self.count_reviews)
        wrap(torch.autograd, "backward", self.note_loss)

    def begin(self, index: int, find_model: Callable[[], nn.Module], count_planned: Callable[[], int]) -> None:
        """Begin to measure a training."""
        self.open[index] = Measurement(find_model, count_planned)

    def end(self, index: int, everything_read: bool = False) -> Work | None:
        """End a measurement. `everything_read`: count also what was read before the training before it ended."""
        current = self.open.pop(index, None)
        if current is None:
            return None
        current.reviews = self.read - (0 if everything_read else self.read_before)
        current.losses, self.losses, self.read_before = self.losses, [], self.read
        return current.finish()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Count nothing for a while: what is read now is not read to learn from."""
        self.paused += 1
        try:
            yield
        finally:
            self.paused -= 1

    @shield()
    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Let the optimiser's training look at its numbers."""
        for _, current in self._find(optimizer):
            current.begin_step(optimizer)

    @shield()
    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Let it look at them again, and tell the host of the step."""
        for index, current in self._find(optimizer):
            current.end_step()
            emit("training_step", index=index, step=current.steps, steps=current.count_planned())

    def _find(self, optimizer: Optimizer) -> list[tuple[int, Measurement]]:
        return [(index, current) for index, current in self.open.items() if current.concerns(optimizer)]

    @property
    def entries(self) -> tuple[Callable[..., Any], ...]:
        """What torch calls."""
        return self.before_step, self.after_step

    def count_reviews(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Count the rows that an encoder reads."""
        if not self.paused:
            given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), ())
            self.read += len(given)
        return original(module, *args, **kwargs)

    def note_loss(self, original: Any, tensors: Any, *args: Any, **kwargs: Any) -> Any:
        """Note the first losses from which gradients are computed."""
        if not self.paused and len(self.losses) < MAX_LOSSES and isinstance(tensors, Tensor) and tensors.numel() == 1:
            self.losses.append(_keep_finite(ask(float, tensors.detach())))
        return original(tensors, *args, **kwargs)
