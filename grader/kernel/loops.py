"""Training loops that students write themselves, without Trainer.

Two hooks suffice. A global hook on optimisers tells when a step happens and on which parameters; the model that owns
them is looked up among the living. `DataLoader.__iter__` is wrapped to end a loop when the budget is spent. A loop has
no visible end, so the record is closed when its cell is done.
"""

import gc
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.data import DataLoader

from grader.kernel import budget, observation, reviews_seen
from grader.kernel.events import emit
from grader.kernel.recorder import Recorder


class Loop:
    """One optimiser's training, from its first step to the end of the cell."""

    def __init__(self, model: nn.Module, record: dict[str, Any]) -> None:
        """Begin now."""
        self.model, self.record = model, record
        self.began = self.last_step = time.perf_counter()
        self.steps = 0


class LoopWatcher:
    """Turns optimiser steps outside of Trainer into training records."""

    def __init__(self, recorder: Recorder) -> None:
        """Watch on behalf of `recorder`."""
        self.recorder = recorder
        self.loops: dict[int, Loop] = {}
        self.last_train_loader: Any = None
        self.total_steps = 0

    def install(self) -> None:
        """Hook optimisers and data loaders of this process."""
        register_optimizer_step_pre_hook(self.before_step)
        register_optimizer_step_post_hook(self.after_step)
        original = DataLoader.__iter__
        watcher = self

        def iterate(loader: DataLoader[Any]) -> Any:
            return original(loader) if watcher.recorder.depth else watcher.limited(loader, original(loader))

        DataLoader.__iter__ = iterate  # type: ignore[method-assign]

    def before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Begin a record at the first step of a loop, and keep to the budget's learning rate."""
        if self.recorder.depth:
            return
        loop = self.loops.get(id(optimizer)) or self.begin(optimizer)
        limits = self.recorder.plan.budget
        if loop and limits:
            method = observation.method_guess(loop.record["entry"])
            remaining = max(0.0, 1 - loop.steps / self.steps_allowed(limits))
            budget.set_learning_rate(optimizer, limits.learning_rates[method] * remaining)

    def begin(self, optimizer: Optimizer) -> Loop | None:
        """Find the model that the optimiser works on; toy models are not our business."""
        model = owner(optimizer)
        if model is None:
            return None
        record = self.recorder.begin(model, "loop")
        record["data"] = {"train": reviews_seen.keys(getattr(self.last_train_loader, "dataset", None)), "eval": None}
        record["arguments"], record["log"], record["precision"] = {}, [], "float32"
        return self.loops.setdefault(id(optimizer), Loop(model, record))

    def after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Count."""
        loop = self.loops.get(id(optimizer))
        if loop and not self.recorder.depth:
            self.total_steps += 1
            loop.steps += 1
            loop.last_step = time.perf_counter()
            limits = self.recorder.plan.budget
            emit("training_step", index=loop.record["index"], step=loop.steps, steps=self.steps_allowed(limits) if limits else 0)

    def end_of_cell(self) -> None:
        """Close the loops that stepped in this cell."""
        for key, loop in list(self.loops.items()):
            self.recorder.end(loop.record, loop.model, loop.last_step - loop.began, loop.steps)
            del self.loops[key]

    def steps_allowed(self, limits: budget.Budget) -> int:
        """Optimiser steps that see as many reviews as the budget's, at the loader's own batch size."""
        size = getattr(self.last_train_loader, "batch_size", None) or limits.batch_size
        return max(1, math.ceil(limits.max_steps * limits.batch_size / size))

    def limited(self, loader: DataLoader[Any], batches: Any) -> Iterator[Any]:
        """Batches cut to the budget: a loop that steps ends when its steps are spent, others after the rows allowed."""
        limits = self.recorder.plan.budget
        started = self.total_steps
        for count, batch in enumerate(batches, start=1):
            if torch.is_grad_enabled():
                self.last_train_loader = loader
            yield budget.cut_batch(batch, limits.max_tokens) if limits else batch
            if limits and self.spent(limits, count, loader, self.total_steps > started):
                return

    def spent(self, limits: budget.Budget, count: int, loader: DataLoader[Any], training: bool) -> bool:
        """Whether a loop over `loader` has had its share after `count` batches."""
        if training:
            return any(loop.steps >= self.steps_allowed(limits) for loop in self.loops.values())
        return count * (loader.batch_size or 1) >= limits.eval_rows


def owner(optimizer: Optimizer) -> nn.Module | None:
    """The pretrained model whose parameters the optimiser holds, or None."""
    from transformers import PreTrainedModel

    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for candidate in gc.get_objects():
        if isinstance(candidate, PreTrainedModel) and hasattr(candidate, "classifier"):
            if any(id(p) in mine for p in candidate.parameters()):
                return candidate
    return None
