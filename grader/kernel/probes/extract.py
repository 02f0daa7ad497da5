"""Calls the student's layer extraction on small models that are not the notebook's own."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from grader.kernel.probes import toys
from grader.kernel.writing import cut, record_error
from grader.protocol.records import Answers, ExtractItem, LayerEntry

MAX_ENTRIES = 200


def run(function: Any, request: dict[str, Any]) -> tuple[Answers[ExtractItem], dict[str, Tensor]]:
    """`request`: `{"models": [{"dim", "seed"}, ...]}`. One item per model: entries with their identity and type."""
    return Answers(items=tuple(_item(function, description) for description in request["models"])), {}


def _item(function: Any, description: dict[str, Any]) -> ExtractItem:
    model = toys.build_distilbert(**description)
    try:
        return _describe(function(model), model)
    except Exception as error:  # whatever it, or its answer, raises is the observation
        return ExtractItem(error=record_error(error))


def _describe(answer: Any, model: nn.Module) -> ExtractItem:
    if not isinstance(answer, Mapping):
        return ExtractItem(type=type(answer).__name__)
    places = {id(module): path for path, module in model.named_modules()}
    entries = tuple(_entry(key, value, places) for key, value in list(answer.items())[:MAX_ENTRIES])
    return ExtractItem(type=type(answer).__name__, mapping=True, entries=entries)


def _entry(key: Any, value: Any, places: dict[int, str]) -> LayerEntry:
    return LayerEntry(
        name=cut(key),
        type=type(value).__name__,
        linear=type(value) is nn.Linear,
        place=places.get(id(value)) if isinstance(value, nn.Module) else None,
    )
