"""Calls the student's three functions on small models that are not the notebook's own."""

import contextlib
import dataclasses
import io
import numbers
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from grader.kernel import weights
from grader.kernel.fence import ask
from grader.kernel.probes import toys
from grader.kernel.writing import RAISED, cut, record_error
from grader.protocol.records import CountItem, ExtractItem, LayerEntry, ReplaceItem

MAX_ENTRIES = 200


def count(function: Any, description: dict[str, Any]) -> CountItem:
    """Have the trainable parameters of a toy model counted: value, type and what was printed."""
    printed, model = io.StringIO(), toys.build(description)
    try:
        with contextlib.redirect_stdout(printed):
            answer = ask(function, model)
        item = CountItem(value=ask(parse_whole_number, answer), type=type(answer).__name__)
    except RAISED as error:  # whatever it, or its answer, raises is the observation
        item = CountItem(error=record_error(error))
    return dataclasses.replace(item, printed=cut(printed.getvalue()))


def parse_whole_number(answer: Any) -> int | None:
    """Return the answer as an int if it is one in any form (int, numpy, one-element tensor, 12.0), else None."""
    if isinstance(answer, torch.Tensor) and answer.numel() == 1:
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real):
        return None
    try:
        value = float(answer)
    except OverflowError:  # a whole number of more digits than a float has
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else None


def extract(function: Any, description: dict[str, Any]) -> ExtractItem:
    """Have the layers of a small model extracted: entries with their identity and type."""
    model = toys.build_distilbert(**description)
    places = {id(module): path for path, module in model.named_modules()}
    try:
        answer = ask(function, model)
        if not isinstance(answer, Mapping):
            return ExtractItem(type=type(answer).__name__)
        return ExtractItem(type=type(answer).__name__, mapping=True, entries=ask(_describe_entries, answer, places))
    except RAISED as error:  # whatever it, or its answer, raises is the observation
        return ExtractItem(error=record_error(error))


def _describe_entries(answer: Mapping[Any, Any], places: dict[int, str]) -> tuple[LayerEntry, ...]:
    """Describe the entries of an answer, which may be any object that calls itself a mapping."""
    return tuple(_describe(key, value, places) for key, value in list(answer.items())[:MAX_ENTRIES])


def _describe(key: Any, value: Any, places: dict[int, str]) -> LayerEntry:
    place = places.get(id(value)) if isinstance(value, nn.Module) else None
    return LayerEntry(cut(key), type=type(value).__name__, linear=type(value) is nn.Linear, place=place)


def replace(function: Any, description: dict[str, Any]) -> ReplaceItem:
    """Have the layers at `names` in a small model replaced by new linear ones."""
    dim, names = description["dim"], description["names"]
    model = toys.build_distilbert(dim, description["seed"])
    before = {path: module for path, module in model.named_modules() if path not in names}
    replacements = {path: nn.Linear(dim, dim) for path in names}
    try:
        answer = ask(function, model, dict(replacements))
        changed = ask(_choose_changed, answer, model)
        finite = ask(_has_finite_logits, changed)
        placed = tuple(path for path in names if ask(weights.find, changed, path) is replacements[path])
        others = sum(ask(weights.find, changed, path) is not module for path, module in before.items())
    except RAISED as error:  # whatever it, or its answer, raises is the observation
        return ReplaceItem(error=record_error(error))
    return ReplaceItem(placed, others_changed=0 if changed is not model else others, finite=finite)


def _choose_changed(answer: Any, model: nn.Module) -> nn.Module:
    """Return the classifier that a function returns, often a copy; else the one that it was given.

    It may return something else of what it was given: the encoder, or the last layer that it replaced.
    """
    if isinstance(answer, type(model)):
        return answer
    if not isinstance(answer, nn.Module):
        return model
    try:
        _has_finite_logits(answer)
    except Exception:  # no classifier, or an object that raises anything
        return model
    return answer


def _has_finite_logits(model: nn.Module) -> bool:
    """Return True if the model computes finite scores. Raises what the model raises, and where there are no scores."""
    logits = model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits
    return bool(torch.isfinite(logits).all())
