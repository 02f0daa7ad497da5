"""Seconds of the reference as submitted, on this machine: some steps of each method are measured, the rest computed.

As submitted means float32, reviews of up to 512 tokens, and the reference's own batches and epochs. A step on the real
data is padded to the longest review in its batch, which is what is measured here: batches drawn as Trainer draws them.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from statistics import fmean
from typing import Any, Final, NamedTuple

import torch
from torch import nn

from grader.assets.cache import locate_cache
from grader.assets.hub import prepare_standin_checkpoint
from grader.assets.reviews import read_reviews, resolve_reviews
from grader.assets.synthetic_reviews import Review
from grader.assignment import EVAL_ROWS, TRAIN_ROWS
from grader.model import Method
from grader.paths import ROOT
from tests.proof.speed.outcome import measure_time

BATCH: Final = 16  # of the reference, as the following
EVAL_BATCH: Final = 32
EPOCHS: Final = 2
EVALUATIONS: Final = EPOCHS + 1  # one after each epoch, one at the end
RANK: Final = 12
SHOWN_STEPS: Final = 2  # of an evaluation, to extrapolate from

Batch = dict[str, torch.Tensor]


class Sample(NamedTuple):
    """Seconds of one kind of step, and how many a submission makes."""

    mean_s: float
    measured: int
    needed: int


class Adapter(nn.Module):
    """A LoRA layer as the assignment has it, of rank 12 and alpha 24."""

    def __init__(self, inner: nn.Linear) -> None:
        """Put it around a layer."""
        super().__init__()
        self.inner = inner
        self.down = nn.Linear(inner.in_features, RANK, bias=False)
        self.up = nn.Linear(RANK, inner.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """y = W x + 2 B A x."""
        return self.inner(x) + 2 * self.up(self.down(x))


def extrapolate(steps: int) -> dict[str, Any]:
    """Seconds of the whole notebook, from `steps` steps spread over the methods, and two evaluation batches."""
    from transformers import AutoTokenizer
    from transformers.utils import logging

    reviews = resolve_reviews(ROOT, os.environ)
    logging.set_verbosity_error()  # that heads are new is no news
    logging.disable_progress_bar()
    folder = str(prepare_standin_checkpoint(locate_cache(ROOT, os.environ)).weights.parent)
    batches = _batches(read_reviews(reviews.train), AutoTokenizer.from_pretrained(folder))
    shares = {Method.FULL: steps - 2 * (steps // 3), Method.HEAD: steps // 3, Method.LORA: steps // 3}
    samples = {method.value: _time_training(_model(folder, method), batches, share) for method, share in shares.items()}
    shown = _time_evaluation(_model(folder, Method.FULL), batches)
    total_s = sum(s.mean_s * s.needed for s in samples.values()) + len(Method) * shown.mean_s * shown.needed
    return {
        "reviews": reviews.name,
        "steps_measured": sum(s.measured for s in samples.values()),
        "step_s": {name: round(s.mean_s, 3) for name, s in samples.items()},
        "evaluation_step_s": round(shown.mean_s, 3),
        "total_s": round(total_s, 1),
    }


def _batches(texts: Sequence[Review], tokeniser: Any) -> Iterator[Batch]:
    rows = random.Random(0)
    while True:
        drawn = rows.sample(list(texts), BATCH)
        batch = tokeniser([r.text for r in drawn], truncation=True, padding=True, return_tensors="pt")
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        yield {**inputs, "labels": torch.tensor([r.label for r in drawn])}


def _model(folder: str, method: Method) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    model: nn.Module = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    if method is Method.FULL:
        return model
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(("pre_classifier.", "classifier."))
    if method is Method.LORA:
        for name, layer in list(model.named_modules()):
            if name.endswith((".q_lin", ".v_lin")) and isinstance(layer, nn.Linear):
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, Adapter(layer))
    return model


def _time_steps(step: Callable[[Batch], object], batches: Iterator[Batch], count: int) -> float:
    return fmean(measure_time(partial(step, batch))[0] for batch in islice(batches, count))


def _time_training(model: nn.Module, batches: Iterator[Batch], steps: int) -> Sample:
    optimiser = torch.optim.AdamW([p for p in model.train().parameters() if p.requires_grad], lr=5e-5)

    def train(batch: Batch) -> None:
        model(**batch).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return Sample(_time_steps(train, batches, steps), steps, EPOCHS * -(-TRAIN_ROWS // BATCH))


def _time_evaluation(model: nn.Module, batches: Iterator[Batch]) -> Sample:
    """Evaluation batches are twice as large as those of the training."""
    model.eval()
    with torch.no_grad():
        mean_s = 2 * _time_steps(lambda batch: model(**batch), batches, SHOWN_STEPS)
    return Sample(mean_s, SHOWN_STEPS, EVALUATIONS * -(-EVAL_ROWS // EVAL_BATCH))
