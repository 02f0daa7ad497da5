"""Calls the student's parameter-counting function on toy models."""

import contextlib
import io
import numbers
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from grader.kernel.probes import toys
from grader.kernel.writing import cut, record_error
from grader.protocol.records import Answers, CountItem


def run(function: Any, request: dict[str, Any]) -> tuple[Answers[CountItem], dict[str, Tensor]]:
    """`request`: `{"models": [description, ...]}`. One item per model: value, type and what was printed."""
    return Answers(items=tuple(_item(function, description) for description in request["models"])), {}


def _item(function: Any, description: dict[str, Any]) -> CountItem:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            answer = function(toys.build(description))
        item = CountItem(value=parse_whole_number(answer), type=type(answer).__name__)
    except Exception as error:  # whatever it, or its answer, raises is the observation
        item = CountItem(error=record_error(error))
    return replace(item, printed=cut(printed.getvalue()))


def parse_whole_number(answer: Any) -> int | None:
    """The answer as an int if it is one in any common form (int, numpy, one-element tensor, 12.0), else None."""
    if isinstance(answer, torch.Tensor) and answer.numel() == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real):
        return None
    value = float(answer)
    return int(value) if value.is_integer() and abs(value) < 2**53 else None
