"""Training loops that students write themselves, without Trainer, and evaluations that they write themselves.

Three hooks suffice. A global hook on optimisers tells when a step happens and on which parameters; the model that owns
them is looked up among the living. `DataLoader.__iter__` is wrapped to end a loop when the budget is spent. The forward
pass of DistilBERT is wrapped to read few tokens, and next to none where the rest of a loop cannot matter: so a loop
sees all batches and labels that its code expects, at little cost. One that reads no data loader cannot be ended; what
is left of it then neither steps nor computes gradients below the head: zeros are there. A loop has no visible end, so
its record is closed when another one begins, its model is set back to other weights, or its cell is done. A data loader
that is read without a step evaluates the models that read it, whoever trained them.
"""

import contextlib
import copy
import dis
import gc
import math
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader
from transformers import DistilBertModel, PreTrainedModel

from grader.kernel import modules
from grader.kernel.fence import shield
from grader.kernel.training import budget, observation, review_keys
from grader.kernel.training.figures import read_figure
from grader.kernel.training.recorder import Recorder, find_encoder
from grader.kernel.wrapping import wrap
from grader.protocol.plan import Budget
from grader.protocol.records import BatchSeen, DataSeen, Training

INPUTS = (*budget.SEQUENCE_KEYS, "inputs_embeds")
TOKENS_WHEN_SPENT = budget.FEWEST_TOKENS
TOKENS_OUTSIDE = 8_192  # in a cell, outside of loops, before passes are cut: a few predictions stay whole
TOKENS_TO_LEARN_FROM = 1_024  # the same where gradients are kept, which takes memory: a loop may begin with it


class Loop:
    """The training of one model by one optimiser, or by several that take turns."""

    def __init__(self, optimizer: Optimizer, model: nn.Module, record: Training, steps_allowed: int) -> None:
        """Begin now. `steps_allowed`: 0 for as many as it likes."""
        self.optimizers = weakref.WeakSet([optimizer])
        self.former: weakref.WeakSet[Optimizer] = weakref.WeakSet()  # those of the loop before, on the same model
        self.model, self.record, self.steps_allowed = model, record, steps_allowed
        self.encoder = find_encoder(model)
        self.began = self.last_step = time.perf_counter()
        self.steps = 0
        self.last_pass: tuple[Any, Any] = (None, None)  # through the encoder when all is spent: its form and its output

    @property
    def spent(self) -> bool:
        """Tell whether the budget's steps are used up."""
        return bool(self.steps_allowed) and self.steps >= self.steps_allowed

    def repeat_pass(self, original: Any, model: nn.Module, args: Any, kwargs: Any) -> Any:
        """Return an output of the encoder on inputs of this form, at which a backward pass ends: zeros are below."""
        form = [getattr(value, "shape", value) for value in (*args, *kwargs.values())]
        if self.last_pass[0] != form:
            with torch.no_grad():
                output = original(model, *args, **kwargs)
            output[0].requires_grad_()
            self.last_pass = form, output
        trained = [parameter for parameter in modules.list_parameters(model) if parameter.requires_grad]
        return _copy_output(self.last_pass[1], trained)


class Reading:
    """One pass over a data loader, and the models that read it: how many rows each."""

    def __init__(self, loader: DataLoader[Any], steps: int) -> None:
        """Begin after so many steps of optimisers."""
        self.loader, self.steps = loader, steps
        self.rows: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()

    @property
    def data(self) -> Any:
        """The data set."""
        return getattr(self.loader, "dataset", None)


class LoopWatcher:
    """Turns optimiser steps outside of Trainer into training records."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.loop: Loop | None = None  # the open one
        self.toys: weakref.WeakSet[Optimizer] = weakref.WeakSet()  # optimisers of other models
        self.hooks: list[Any] = []
        self.total_steps = 0
        self.reading: list[Reading] = []  # the data loaders that are being read, the innermost last
        self.training_rows = 0  # rows that the model saw since the last step, to learn from
        self.other_rows = 0  # and not to learn from, in this pass over the data
        self.tokens_outside = 0  # that models read in this cell, outside of loops
        self.rates: weakref.WeakKeyDictionary[Optimizer, float | None] = (
            weakref.WeakKeyDictionary()
        )  # before the budget's
        self.widest: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()  # tokens, before the cut

    @property
    def limits(self) -> Budget | None:
        """The budget; None where it does not apply."""
        return None if self.recorder.depth else self.recorder.plan.budget

    @property
    def entries(self) -> tuple[Callable[..., Any], ...]:
        """What torch calls, and what a loop of the notebook reads."""
        return self.before_step, self.after_step, self.limit_batches

    def install(self) -> None:
        """Hook optimisers, data loaders and the model of this process."""
        before, after = register_optimizer_step_pre_hook, register_optimizer_step_post_hook
        self.hooks = [before(self.before_step), after(self.after_step)]
        wrap(DataLoader, "__iter__", self.iterate)
        wrap(DistilBertModel, "forward", self.run_forward)
        wrap(nn.Module, "load_state_dict", self.restore)

    @shield()
    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Begin a record at the first step of a loop, and keep to the budget's learning rate."""
        if self.recorder.depth or optimizer in self.toys:
            return
        loop = self.loop if self.is_of_loop(optimizer) else self.begin(optimizer)
        if loop and loop.spent:
            _forget_gradients(optimizer)
        if loop and self.limits:
            method = observation.guess_method(loop.record.entry)
            remaining = max(0.0, 1 - loop.steps / loop.steps_allowed)
            budget.set_learning_rate(optimizer, self.limits.learning_rates[method] * remaining)

    def is_of_loop(self, optimizer: Optimizer) -> bool:
        """Tell whether an optimiser is of the open loop. One of the loop before that is back takes turns with its."""
        if self.loop and optimizer in self.loop.former:
            self.loop.optimizers.add(optimizer)
        return self.loop is not None and optimizer in self.loop.optimizers

    def begin(self, optimizer: Optimizer) -> Loop | None:
        """Find the model that the optimiser works on, and end what was trained before."""
        model = find_owner(optimizer)
        if model is None:
            self.toys.add(optimizer)
            return None
        before = self.loop
        self.close()
        record = self.recorder.begin(model, "loop")
        record.data = DataSeen(train=review_keys.compute_keys(self.reading[-1].data if self.reading else None))
        record.arguments = {"learning_rate": self.rates.setdefault(optimizer, _read_learning_rate(optimizer))}
        allowed = self.count_allowed_steps()
        self.recorder.meter.begin(record.index, lambda: model, lambda: allowed)
        self.loop = Loop(optimizer, model, record, allowed)
        if before and before.model is model:
            self.loop.former |= before.optimizers | before.former
        return self.loop

    @shield()
    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Count a step."""
        loop = self.loop
        if loop and not self.recorder.depth and self.is_of_loop(optimizer):
            self.total_steps += 1
            self.training_rows = self.other_rows = 0
            loop.record.batch = loop.record.batch or self.describe_too_long(loop.encoder)
            loop.steps += 1
            loop.last_step = time.perf_counter()

    @shield()
    def end_cell(self) -> None:
        """Close the loop that stepped in this cell."""
        self.close()
        self.reading.clear()  # an iterator that was kept does not make later cells part of a loop
        self.training_rows = self.other_rows = self.tokens_outside = 0

    def close(self) -> None:
        """End the open loop."""
        loop, self.loop = self.loop, None
        if loop:
            self.recorder.end(loop.record, loop.model, loop.last_step - loop.began, loop.steps)

    def count_allowed_steps(self) -> int:
        """Compute how many steps see as many reviews as the budget's, given how many the first step has seen."""
        limits = self.limits
        if limits is None:
            return 0
        read = getattr(self.reading[-1].loader, "batch_size", None) if self.reading else None
        size = self.training_rows or read or limits.batch_size
        return max(1, math.ceil(limits.max_steps * limits.batch_size / size))

    def iterate(self, original: Any, loader: DataLoader[Any]) -> Any:
        """Read a data loader, under the budget outside of Trainer."""
        return original(loader) if self.recorder.depth else self.limit_batches(loader, original(loader))

    def limit_batches(self, loader: DataLoader[Any], batches: Any) -> Iterator[Any]:
        """Yield all batches, but end a loop that trains when its steps are spent."""
        reading = Reading(loader, self.total_steps)
        self.reading.append(reading)
        self.other_rows = 0
        try:
            for batch in batches:
                yield batch
                if self.is_over(reading.steps) and not _asks_for_the_next(sys._getframe(1)):
                    return
        finally:
            self.end_reading(reading)

    @shield()
    def end_reading(self, reading: Reading) -> None:
        """Note an evaluation, if no optimiser has stepped meanwhile."""
        with contextlib.suppress(ValueError):
            self.reading.remove(reading)
        if self.total_steps == reading.steps:
            for encoder, rows in reading.rows.items():
                self.recorder.note_evaluation(encoder, reading.data, rows)

    @shield(lambda *args: False)
    def is_over(self, started: int) -> bool:
        """Tell whether a loop that has stepped since then has no steps left."""
        return bool(self.total_steps > started and self.loop and self.loop.spent)

    def run_forward(self, original: Any, model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the encoder on the tokens that the budget allows."""
        inputs = [*args, *kwargs.values()]
        learns = model.training and torch.is_grad_enabled()
        self.note_pass(model, inputs, learns)
        if limits := self.limits:
            spent = learns and self.is_spent(model)
            tokens = self.count_allowed_tokens(limits, inputs, learns, spent)
            if self.is_limited(inputs, TOKENS_TO_LEARN_FROM if learns else TOKENS_OUTSIDE):
                args = tuple(_cut(value, tokens) for value in args)
                kwargs = {k: _cut(v, tokens) if k in INPUTS else v for k, v in kwargs.items()}
            if spent and self.loop:
                return self.loop.repeat_pass(original, model, args, kwargs)
        return original(model, *args, **kwargs)

    @shield(lambda *args: True)
    def is_limited(self, inputs: list[Any], most: int) -> bool:
        """Tell whether a pass may be cut: one of a loop, or one outside when its cell reads more tokens than `most`."""
        if self.loop or self.reading:
            return True
        sizes = (value.numel() for value in inputs if isinstance(value, torch.Tensor) and value.ndim == 2)
        self.tokens_outside += max(sizes, default=0)
        return self.tokens_outside > most

    @shield(lambda *args: False)
    def is_spent(self, model: nn.Module) -> bool:
        """Tell whether a loop on this encoder has no steps left."""
        return bool(self.loop and self.loop.spent and self.loop.encoder is model)

    @shield()
    def note_pass(self, encoder: nn.Module, inputs: list[Any], learns: bool) -> None:
        """Count the rows that an encoder reads, outside of Trainer: it is evaluated, unless it learns from them."""
        if self.recorder.depth:
            return
        sizes = [value.shape[:2] for value in inputs if isinstance(value, torch.Tensor) and value.ndim > 1]
        rows, width = max(sizes, default=(0, 0))
        self.widest[encoder] = max(width, self.widest.get(encoder, 0))
        if self.reading:
            self.reading[-1].rows[encoder] = self.reading[-1].rows.get(encoder, 0) + rows
        elif not learns:
            self.recorder.note_evaluation(encoder, None, rows)

    def describe_too_long(self, encoder: Any) -> BatchSeen | None:
        """Return the width of what a loop reads if it is more than its encoder has positions for."""
        positions = getattr(getattr(encoder, "config", None), "max_position_embeddings", math.inf)
        width = self.widest.get(encoder, 0) if encoder is not None else 0
        return BatchSeen(tokens=width, masked=True) if width > positions else None

    def restore(self, original: Any, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Load weights into a module. What a loop has made of a model is kept before."""
        self.end_before_loading(module)
        return original(module, *args, **kwargs)

    @shield()
    def end_before_loading(self, module: nn.Module) -> None:
        """End the open loop if this is its model."""
        if self.loop and not self.recorder.depth and module in (self.loop.model, self.loop.encoder):
            self.close()

    def count_allowed_tokens(self, limits: Budget, inputs: list[Any], learns: bool, spent: bool) -> int:
        """Compute how many tokens of each review this pass may read, and count the reviews on the way."""
        rows = next((len(value) for value in inputs if isinstance(value, torch.Tensor)), 0)
        if learns:
            self.training_rows += rows
            return TOKENS_WHEN_SPENT if spent else limits.max_tokens
        self.other_rows += rows
        return limits.max_tokens if self.other_rows - rows < limits.eval_rows else TOKENS_WHEN_SPENT


def _cut(value: Any, tokens: int) -> Any:
    """Return the first tokens of a tensor (batch, sequence) or (batch, sequence, features); anything else unchanged."""
    return value[:, :tokens] if isinstance(value, torch.Tensor) and value.ndim in (2, 3) else value


def _asks_for_the_next(caller: FrameType) -> bool:
    """Return True for code of the notebook that calls `next`: the end of a loop would be an error there."""
    is_in_for = dis.opname[caller.f_code.co_code[caller.f_lasti]] == "FOR_ITER"
    return caller.f_globals.get("__name__") == "__main__" and not is_in_for


class Standstill(torch.autograd.Function):
    """Copies hidden states that were computed before. All gradients of the parameters share one tensor of zeros."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, *parameters: nn.Parameter) -> torch.Tensor:
        """Return the copy."""
        ctx.parameters = parameters
        return hidden.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        """Return a gradient for each parameter, as notebooks look at them."""
        zeros = gradients[0].new_zeros(max(map(modules.count_numbers, ctx.parameters), default=0))
        return None, *(zeros[: modules.count_numbers(p)].view(p.shape) for p in ctx.parameters)


def _copy_output(output: Any, parameters: list[nn.Parameter]) -> Any:
    """Return an encoder's output whose hidden states are computed from those given, so that nothing writes on them."""
    hidden = Standstill.apply(output[0], *parameters)
    if isinstance(output, tuple):
        return hidden, *output[1:]
    copied = copy.copy(output)
    copied.last_hidden_state = hidden
    return copied


def _forget_gradients(optimizer: Optimizer) -> None:
    """Leave a step nothing to do."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _read_learning_rate(optimizer: Optimizer) -> float | None:
    """Return the largest rate that an optimiser was made with or has now: a schedule may begin at zero."""
    rates = [optimizer.defaults.get("lr")]
    rates += [group.get(name) for group in optimizer.param_groups for name in ("lr", "initial_lr")]
    return max((rate for rate in map(read_figure, rates) if rate is not None), default=None)  # Adafactor finds its own


def find_owner(optimizer: Optimizer) -> nn.Module | None:
    """Return the model whose parameters the optimiser holds: a pretrained one, or the largest around an encoder."""
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    # by type, as asking a dead weak reference for its class raises
    found = [candidate for candidate in gc.get_objects() if issubclass(type(candidate), nn.Module)]
    living = [module for module in found if _is_made(module)]
    for model in (m for m in living if isinstance(m, PreTrainedModel) and hasattr(m, "classifier")):
        if mine & _identify(model):
            return model
    inside = ((m, _find_readable_encoder(m)) for m in living)
    around = [m for m, encoder in inside if encoder is not None and encoder is not m and mine <= _identify(m)]
    return max(around, key=lambda module: len(modules.list_modules(module)), default=None)


def _identify(module: nn.Module) -> set[int]:
    """Return what tells the parameters of a module apart; nothing where torch cannot list them."""
    try:
        return set(map(id, modules.list_parameters(module)))
    except Exception:  # whatever a student's object in it raises
        return set()


def _find_readable_encoder(module: nn.Module) -> DistilBertModel | None:
    try:
        return find_encoder(module)
    except Exception:  # torch cannot list what is in it
        return None


def _is_made(module: nn.Module) -> bool:
    """Return False for a module whose making failed before torch's own began: it lives on in a traceback."""
    return "_modules" in vars(module)
