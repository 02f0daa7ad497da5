"""Calls the student's layer extraction on small models that are not the notebook's own."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from grader.kernel.probes import toys
from grader.kernel.writing import cut, record_error

MAX_ENTRIES = 200


def run(function: Any, request: dict[str, Any], name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`request`: `{"models": [{"dim", "seed"}, ...]}`. One item per model: entries with their identity and type."""
    return {"items": [_item(function, description) for description in request["models"]]}, {}


def _item(function: Any, description: dict[str, Any]) -> dict[str, Any]:
    model = toys.build_distilbert(**description)
    try:
        return _describe(function(model), model)
    except Exception as error:  # whatever it, or its answer, raises is the observation
        return {"error": record_error(error)}


def _describe(answer: Any, model: nn.Module) -> dict[str, Any]:
    if not isinstance(answer, Mapping):
        return {"type": type(answer).__name__, "mapping": False, "entries": []}
    places = {id(module): path for path, module in model.named_modules()}
    entries = [_entry(key, value, places) for key, value in list(answer.items())[:MAX_ENTRIES]]
    return {"type": type(answer).__name__, "mapping": True, "entries": entries}


def _entry(key: Any, value: Any, places: dict[int, str]) -> dict[str, Any]:
    return {
        "name": cut(key),
        "type": type(value).__name__,
        "linear": type(value) is nn.Linear,
        "place": places.get(id(value)) if isinstance(value, nn.Module) else None,
    }
