"""Calls the student's parameter-counting function on toy models."""

import contextlib
import io
import numbers
from typing import Any

import torch

from grader.kernel.probes import toys
from grader.kernel.writing import cut, record_error


def run(function: Any, request: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`request`: `{"models": [description, ...]}`. One item per model: value, type and what was printed."""
    return {"items": [_item(function, description) for description in request["models"]]}, {}


def _item(function: Any, description: dict[str, Any]) -> dict[str, Any]:
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            answer = function(toys.build(description))
        seen: dict[str, Any] = {"value": parse_whole_number(answer), "type": type(answer).__name__}
    except Exception as error:  # whatever it, or its answer, raises is the observation
        seen = {"error": record_error(error)}
    return {**seen, "printed": cut(printed.getvalue())}


def parse_whole_number(answer: Any) -> int | None:
    """The answer as an int if it is one in any common form (int, numpy, one-element tensor, 12.0), else None."""
    if isinstance(answer, torch.Tensor) and answer.numel() == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real):
        return None
    value = float(answer)
    return int(value) if value.is_integer() and abs(value) < 2**53 else None
