"""Runs small trainings under the recorder and writes down what happened. Runs in a process of its own: it patches it.

Usage: python -m tests.harness.kernel.trainings FOLDER
"""

import contextlib
import json
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import save_file
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)

from grader.kernel.probes.toys import build_distilbert
from grader.kernel.training import recorder as recording
from grader.protocol.plan import Budget, Plan

WIDTH, ROWS, TOKENS = 16, 30, 14
OTHER_ROWS = 20
RATES = {"full": 1e-3, "head": 2e-3, "lora": 3e-3}
BUDGET = Budget(max_steps=6, batch_size=2, max_tokens=8, train_rows=6, eval_rows=4, learning_rates=RATES)


class Sizes:
    """The (rows, tokens) of every batch that went through a model, learning and evaluating apart."""

    def __init__(self, model: nn.Module) -> None:
        self.learned: list[tuple[int, ...]] = []
        self.evaluated: list[tuple[int, ...]] = []
        model.register_forward_pre_hook(self.note, with_kwargs=True)

    def note(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        (self.learned if model.training else self.evaluated).append(tuple(kwargs["input_ids"].shape))


class Float32Only(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)
        if y.dtype is torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return y


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes cannot be multiplied")


class Refusing(TrainerCallback):
    """Leaves a model that does not say what is in it."""

    def on_train_end(self, *args: Any, model: Any = None, **kwargs: Any) -> None:
        model.pre_classifier.state_dict = None


class Diary(TrainerCallback):
    """What a notebook's own callback sees, and does, at the ends of epochs."""

    entries: ClassVar[list[list[Any]]] = []

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.entries.append(["begin", state.global_step])

    def on_epoch_end(self, args: Any, state: Any, control: Any, train_dataloader: Any, **kwargs: Any) -> Any:
        rows = sum(len(batch["labels"]) for batch in train_dataloader)  # read in between, as for an accuracy
        self.entries.append(["end", state.global_step, state.epoch, control.should_evaluate, rows])
        control.should_training_stop = True  # good enough for it
        return deepcopy(control)


class Rates:
    """The rates of every step, as the optimiser finds them."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []
        self.hook = register_optimizer_step_pre_hook(self.note)

    def note(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self.seen.append([float(group["lr"]) for group in optimizer.param_groups])


class TwoRates(Trainer):
    """Makes its optimiser when its training begins, of groups that learn at a million and at ten."""

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None:
            head, body = self.model.classifier.parameters(), self.model.distilbert.parameters()
            self.optimizer = torch.optim.SGD([{"params": [*head], "lr": 1e6}, {"params": [*body], "lr": 10.0}])
        return self.optimizer


class Own(Trainer):
    def train(self, *args: Any, **kwargs: Any) -> Any:
        return super().train(*args, **kwargs)


def reviews(rows: int = ROWS, first: int = 1) -> Dataset:
    """More rows, of more tokens, than the budget allows: the token `first` over and over, then the next."""
    row = {"attention_mask": [1] * TOKENS}
    return Dataset.from_list([{**row, "input_ids": [first + i] * TOKENS, "label": i % 2} for i in range(rows)])


def accuracy(prediction: Any) -> dict[str, float]:
    return {"accuracy": float((np.argmax(prediction.predictions, -1) == prediction.label_ids).mean())}


def knows_numpy_only(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """A metric of a student's: fails with bfloat16, which numpy does not have."""
    return torch.from_numpy(logits.numpy()).argmax(-1)


def failing(prediction: Any) -> dict[str, float]:
    raise ZeroDivisionError("division by zero")


def sgd(model: nn.Module) -> tuple[Any, Any]:
    """An optimiser and a schedule of the student's own, at a rate that would wreck the model."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e6)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def warm_up(model: nn.Module) -> tuple[Any, Any]:
    """An optimiser with a schedule that warms up for longer than the budget trains."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    return optimizer, get_linear_schedule_with_warmup(optimizer, 100, 250)


def freeze(model: nn.Module) -> dict[str, Any]:
    model.distilbert.requires_grad_(False)
    return {}


def replace_layer(model: nn.Module, layer: nn.Module) -> dict[str, Any]:
    model.pre_classifier = layer
    return {}


def trainer(folder: Path, model: nn.Module, kind: type[Trainer] = Trainer, **changes: Any) -> Trainer:
    """A trainer as a notebook makes it; what it does not know goes to its arguments."""
    given: dict[str, Any] = {"train_dataset": reviews(), "eval_dataset": reviews(), "compute_metrics": accuracy}
    of_trainer = {"eval_dataset", "compute_metrics", "callbacks", "optimizers", "preprocess_logits_for_metrics"}
    of_trainer.add("optimizer_cls_and_kwargs")
    given |= {name: changes.pop(name) for name in tuple(changes) if name in of_trainer}
    settings = {"num_train_epochs": 3, "eval_strategy": "epoch", "report_to": "none", "disable_tqdm": True, **changes}
    arguments = TrainingArguments(output_dir=str(folder / "out"), dataloader_pin_memory=False, **settings)
    return kind(model=model, args=arguments, **given)


BEST = {"load_best_model_at_end": True, "save_strategy": "epoch", "metric_for_best_model": "accuracy"}
NUMPY_ONLY = {"preprocess_logits_for_metrics": knows_numpy_only, "compute_metrics": lambda p: {"accuracy": 0.5}}
WORKERS = {"dataloader_num_workers": 4, "dataloader_prefetch_factor": 2, "dataloader_persistent_workers": True}
TWO = {"a longer name than rows": reviews(), "b": reviews()}
OVERFITTING = {"train": reviews(), "eval": reviews(OTHER_ROWS - 5, first=32)}

# What a notebook gives its Trainer and its arguments; some change the model first.
SCENARIOS: dict[str, Callable[[nn.Module], dict[str, Any]]] = {
    "plain": lambda model: {},
    "subclass": lambda model: {"kind": Own},
    "by_steps": lambda model: {"eval_strategy": "steps", "eval_steps": 500, "logging_steps": 500},
    "uneven": lambda model: {"num_train_epochs": 4, "logging_strategy": "epoch"},
    "many_epochs": lambda model: {"num_train_epochs": 8, "logging_strategy": "epoch"},
    "by_others": lambda model: WORKERS,
    "streamed": lambda model: {"eval_dataset": reviews().to_iterable_dataset()},
    "accumulating": lambda model: {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 8},
    "early_stopping": lambda model: {**BEST, "callbacks": [EarlyStoppingCallback(early_stopping_patience=1)]},
    "own_optimizer": lambda model: {"optimizers": sgd(model)},
    "two_rates": lambda model: {"kind": TwoRates},
    "class_of_optimizer": lambda model: {"optimizer_cls_and_kwargs": (torch.optim.SGD, {"lr": 1e6})},
    "warming_up": lambda model: {"optimizers": warm_up(model)},
    "several_evaluations": lambda model: {"eval_dataset": TWO},
    "overfitting_shown": lambda model: {"eval_dataset": OVERFITTING},
    "nested_metric": lambda model: {"compute_metrics": lambda prediction: {"accuracy": accuracy(prediction)}},
    "refusing": lambda model: {"callbacks": [Refusing()]},
    "head_only": freeze,
    "diary": lambda model: {"num_train_epochs": 4, "logging_strategy": "epoch", "callbacks": [Diary()]},
    "failing_metric": lambda model: {"compute_metrics": failing},
    "broken": lambda model: replace_layer(model, Broken()),
    "half": lambda model: {},
    "numpy_metric": lambda model: NUMPY_ONLY,
    "float32_only": lambda model: replace_layer(model, Float32Only(model.pre_classifier)),
    "broken_half": lambda model: replace_layer(model, Broken()),
    "as_submitted": lambda model: {"num_train_epochs": 1},
}
HALF = replace(BUDGET, bfloat16=True)
LIMITS = {**dict.fromkeys(("half", "numpy_metric", "float32_only", "broken_half"), HALF), "as_submitted": None}


def observed(recorder: recording.Recorder, folder: Path, name: str) -> dict[str, Any]:
    recorder.records.clear()
    recorder.plan = replace(recorder.plan, budget=LIMITS.get(name, BUDGET), evidence=str(folder))
    model = build_distilbert(WIDTH, seed=1)
    made = trainer(folder, model, **SCENARIOS[name](model))
    sizes, rates = Sizes(model), Rates()
    before = state(made)
    raised = ""
    try:
        made.train()
    except Exception as error:  # the scenario's own
        raised = type(error).__name__
    after = state(made)
    rates.hook.remove()
    learned = list(sizes.learned)
    sizes.evaluated.clear()
    other = reviews(OTHER_ROWS)
    with contextlib.suppress(ZeroDivisionError, RuntimeError):
        made.evaluate()
        made.evaluate(other)
    return {
        "raised": raised,
        "restored": before == after,
        "learned": learned,
        "evaluated": sizes.evaluated,
        "record": json.loads((folder / "trainings.json").read_text(encoding="utf-8"))[0],
        "files": sorted(path.name for path in folder.glob("*.safetensors")),
        "checkpoints": sorted(path.name for path in folder.glob("out/checkpoint-*")),
        "checkpoint_files": sorted(path.name for path in folder.glob("out/checkpoint-*/*")),
        "best": made.state.best_model_checkpoint and Path(made.state.best_model_checkpoint).name,
        "log": [entry for entry in made.state.log_history if "eval_accuracy" in entry or "loss" in entry],
        "rates": rates.seen,
        "diary": list(Diary.entries),
        "largest": max(float(p.abs().max()) for p in model.parameters()),
    }


def state(made: Trainer) -> dict[str, Any]:
    """What the budget changes for the time of a call."""
    return {
        "arguments": made.args.to_dict(),
        "callbacks": sorted(type(c).__name__ for c in made.callback_handler.callbacks),
        "collator": id(made.data_collator),
        "datasets": [id(made.train_dataset), id(made.eval_dataset)],
        "batch": made._train_batch_size,
        "methods": sorted({"get_train_dataloader", "set_initial_training_values"} & set(vars(made))),
    }


def main(folder: Path) -> None:
    torch.set_num_threads(1)  # the models are too small for more
    base = build_distilbert(WIDTH, seed=0).state_dict()
    encoder = {name: tensor for name, tensor in base.items() if name.startswith("distilbert.")}
    save_file(encoder, folder / "base.safetensors")
    plan = Plan(seed=0, evidence=str(folder), inputs={}, base_weights=str(folder / "base.safetensors"), names={})
    recorder = recording.Recorder(plan)
    recording.install(recorder)
    found = {}
    for name in SCENARIOS:
        (folder / name).mkdir()
        found[name] = observed(recorder, folder / name, name)
    (folder / "observed.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
