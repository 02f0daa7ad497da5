"""Applies the training budget to a Trainer for the time of one call.

The student's model, data, loss and metric stay as they are. What changes is the number of steps, the tokens that are
read of a review and the learning rate, so that a submission takes minutes and can be compared with the calibration.
The shape of the log stays too: a notebook that asks for three epochs sees three (`epochs`).
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import EarlyStoppingCallback, TrainerCallback

from grader.kernel.fence import shield
from grader.kernel.training import epochs
from grader.protocol.plan import Budget
from grader.protocol.precision import replace_attributes

SEQUENCE_KEYS = ("input_ids", "attention_mask", "token_type_ids")
FEWEST_TOKENS = 2  # [CLS] and one more: a pass through the model keeps its form and costs nothing


@contextmanager
def apply(trainer: Any, budget: Budget, method: str, seed: int) -> Iterator[None]:
    """Put `trainer.train()` under the budget."""
    values = build_arguments(trainer.args, budget, method, seed)
    divided = epochs.Epochs(trainer.args, values["max_steps"])
    epochs.tell_most(trainer.args)
    with limit_inputs(trainer, budget), replace_attributes(trainer.args, values):
        stoppers = [c for c in trainer.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback)]
        added = [divided, Rates(budget.learning_rates[method])]
        for callback in added:
            trainer.add_callback(callback)
        for stopper in stoppers:  # they insist on load_best_model_at_end
            trainer.remove_callback(stopper)
        set_learning_rate(trainer.optimizer, budget.learning_rates[method], trainer.lr_scheduler)
        try:
            with replace_attributes(trainer, {"_train_batch_size": budget.batch_size}), divided.divide(trainer):
                yield
        finally:
            for callback in added:
                trainer.remove_callback(callback)
            for stopper in stoppers:
                trainer.add_callback(stopper)


def build_arguments(arguments: Any, budget: Budget, method: str, seed: int) -> dict[str, Any]:
    """Return the values of TrainingArguments under the budget."""
    count = epochs.count(arguments)
    steps = max(budget.max_steps, count)  # one at least in every epoch
    values = {
        "max_steps": steps,
        "per_device_train_batch_size": budget.batch_size,
        "per_device_eval_batch_size": budget.batch_size,
        "gradient_accumulation_steps": 1,
        "auto_find_batch_size": False,
        "learning_rate": budget.learning_rates[method],
        "warmup_steps": 0,
        "lr_scheduler_type": type(arguments.lr_scheduler_type)("linear"),
        "lr_scheduler_kwargs": {},
        "logging_steps": min(arguments.logging_steps, max(1, steps // count)),
        "seed": seed,
        "data_seed": seed,
        "dataloader_num_workers": 0,
        "dataloader_prefetch_factor": None,  # without workers, DataLoader refuses these two
        "dataloader_persistent_workers": False,
        **disable_checkpoints(arguments),
    }
    by_steps = type(arguments.eval_strategy)("steps")
    if arguments.eval_strategy == by_steps:
        values["eval_steps"] = find_interval(steps, budget)
        if arguments.logging_strategy == by_steps and arguments.logging_steps == arguments.eval_steps:
            values["logging_steps"] = values["eval_steps"]  # a loss with every evaluation, as in the notebook
    return values


class Rates(TrainerCallback):
    """Has every step learn at the budget's rate, as loops do, whoever made the optimiser and its schedule, and when.

    An optimiser may be made when the training begins, with rates of its own. A schedule that the notebook gives may
    warm up for more steps than there are: it goes on, and nobody listens to it.
    """

    def __init__(self, rate: float) -> None:
        """`rate`: that of the first step."""
        self.rate = rate

    @shield(lambda self, args, state, control, **kwargs: control)
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any) -> Any:
        """Set the rate of a step: computed as the linear schedule of transformers does, to the last bit."""
        share = max(0.0, float(state.max_steps - state.global_step) / float(max(1, state.max_steps)))
        for group in getattr(optimizer, "param_groups", []):
            group["lr"] = self.rate * share
        return control


def find_interval(steps: int, budget: Budget) -> int:
    """Return an interval for two evaluations; for more where the steps are none of its multiples.

    A Trainer evaluates at the last step also where no interval ends, and then logs no loss.
    """
    return next(n for n in range(math.ceil(budget.max_steps / 2), 0, -1) if steps % n == 0)


def disable_checkpoints(arguments: Any) -> dict[str, Any]:
    """Return arguments for a training without checkpoints: with optimiser state they cost 800 MB each."""
    return {"save_strategy": type(arguments.save_strategy)("no"), "load_best_model_at_end": False}


def limit_inputs(trainer: Any, budget: Budget) -> AbstractContextManager[None]:
    """Let the trainer see few rows, cut to few tokens."""
    values = {
        "data_collator": ShorteningCollator(trainer.data_collator, budget.max_tokens),
        "train_dataset": take_rows(trainer.train_dataset, budget.train_rows),
        "eval_dataset": take_rows(trainer.eval_dataset, budget.eval_rows),
    }
    return replace_attributes(trainer, values)


def restore_inputs(trainer: Any, dataset: Any, budget: Budget) -> AbstractContextManager[None]:
    """Let the trainer evaluate on every row, for code that expects as many predictions as there are labels."""
    collate = ShorteningCollator(trainer.data_collator, budget.max_tokens, full_rows=budget.eval_rows)
    return replace_attributes(trainer, {"data_collator": collate, "eval_dataset": dataset})


@dataclass
class ShorteningCollator:
    """A collator that cuts features before they are padded, and batches after; to next to nothing after some rows.

    A class, since processes of a data loader may get it by pickle.
    """

    collate: Callable[[Any], Any]
    tokens: int
    full_rows: float = math.inf
    seen: int = 0

    @shield(lambda self, features: self.collate(features))
    def __call__(self, features: Any) -> Any:
        """Build one batch."""
        kept = self.tokens if self.seen < self.full_rows else FEWEST_TOKENS
        self.seen += len(features)
        return _cut_batch(self.collate([_cut_feature(feature, kept) for feature in features]), kept)


def _cut_feature(feature: Any, tokens: int) -> Any:
    if not isinstance(feature, dict):
        return feature
    return {key: value[:tokens] if key in SEQUENCE_KEYS else value for key, value in feature.items()}


def _cut_batch(batch: Any, tokens: int) -> Any:
    """Cut the sequence tensors (batch, sequence) of a batch in place."""
    if hasattr(batch, "items"):
        for key in SEQUENCE_KEYS:
            if key in batch and getattr(batch[key], "ndim", 0) == 2:
                batch[key] = batch[key][:, :tokens]
    return batch


def take_rows(dataset: Any, rows: int) -> Any:
    """Return the first rows of a dataset of any kind; names and anything without a length stay as they are."""
    if isinstance(dataset, dict):
        return type(dataset)({key: take_rows(value, rows) for key, value in dataset.items()})
    if hasattr(dataset, "take") and not hasattr(dataset, "__len__"):  # a stream
        return dataset.take(rows)
    if dataset is None or isinstance(dataset, str) or not hasattr(dataset, "__len__") or len(dataset) <= rows:
        return dataset
    if hasattr(dataset, "select"):
        return dataset.select(range(rows))
    return torch.utils.data.Subset(dataset, range(rows))


def set_learning_rate(optimizer: Any, rate: float, scheduler: Any = None) -> None:
    """Give an optimiser that the student made, and its schedule if there is one, the budget's learning rate."""
    groups = getattr(optimizer, "param_groups", [])
    for group in groups:
        group["lr"] = group["initial_lr"] = rate
    if hasattr(scheduler, "base_lrs"):
        scheduler.base_lrs = [rate] * len(groups)
