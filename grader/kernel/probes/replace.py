"""Calls the student's `replace_layers` on a small model with fresh linear layers."""

from typing import Any

import torch
from torch import Tensor, nn

from grader.kernel import weights
from grader.kernel.probes import toys
from grader.kernel.writing import record_error
from grader.protocol.records import Answers, ReplaceItem


def run(function: Any, request: dict[str, Any]) -> tuple[Answers[ReplaceItem], dict[str, Tensor]]:
    """`request`: `{"models": [{"dim", "seed", "names": [path, ...]}, ...]}`. One item per model."""
    return Answers(items=tuple(_item(function, description) for description in request["models"])), {}


def _item(function: Any, description: dict[str, Any]) -> ReplaceItem:
    names = description["names"]
    model = toys.build_distilbert(description["dim"], description["seed"])
    before = {path: module for path, module in model.named_modules() if path not in names}
    replacements = {path: nn.Linear(description["dim"], description["dim"]) for path in names}
    try:
        answer = function(model, dict(replacements))
        changed = answer if isinstance(answer, nn.Module) else model
        output = changed(input_ids=torch.ones(1, 4, dtype=torch.long)).logits
    except Exception as error:  # whatever it raises is the observation
        return ReplaceItem(error=record_error(error))
    placed = tuple(path for path in names if weights.find(changed, path) is replacements[path])
    others = sum(weights.find(changed, path) is not module for path, module in before.items())
    copied = changed is not model
    return ReplaceItem(placed, others_changed=0 if copied else others, finite=bool(torch.isfinite(output).all()))
