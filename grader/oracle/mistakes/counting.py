"""What mistakes in the counting function would have answered for the toy models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod
from typing import Any, Final

from grader.challenges import Parameter, ToyModel
from grader.oracle.mistakes.causes import Cause
from grader.protocol.records import CountItem


@dataclass(frozen=True)
class Way:
    """How a function counts; `Way()` is right."""

    which: str = "trainable"  # or "all", "frozen"
    measure: str = "numbers"  # of each tensor
    kept: str = "tensors"  # or "matrices", "biases"
    first: str = ""  # or "tensor", "layer": what it stops after
    buffers: bool = False
    shared_again: bool = False


MEASURES: Final[Mapping[str, Callable[[tuple[int, ...]], int]]] = {
    "numbers": lambda shape: prod(shape),
    "one": lambda shape: 1,
    "rows": lambda shape: shape[0],
    "columns": lambda shape: shape[-1],
    "sides": lambda shape: sum(shape),
}
KEPT: Final[Mapping[str, Callable[[Parameter], bool]]] = {
    "tensors": lambda p: True,
    "matrices": lambda p: p.matrix,
    "biases": lambda p: not p.matrix,
}
COUNTED: Final[Mapping[str, Callable[[Parameter], bool]]] = {
    "trainable": lambda p: p.trainable,
    "all": lambda p: True,
    "frozen": lambda p: not p.trainable,
}
# Mistakes: id, words, fields of the right way that they change.
TABLE: Final[tuple[tuple[str, str, Mapping[str, Any]], ...]] = (
    ("count_ignores_requires_grad", "it counts all parameters, frozen or not", {"which": "all"}),
    ("count_frozen_only", "it counts only the frozen parameters", {"which": "frozen"}),
    ("count_tensors", "it counts tensors, not the numbers in them", {"measure": "one"}),
    ("count_matrices_only", "it leaves out the biases", {"kept": "matrices"}),
    ("count_biases_only", "it counts only the biases", {"kept": "biases"}),
    ("count_rows", "it adds up the first sizes of the tensors, not their numbers", {"measure": "rows"}),
    ("count_columns", "it adds up the last sizes of the tensors, not their numbers", {"measure": "columns"}),
    ("count_sides", "it adds up the sizes of the tensors instead of multiplying them", {"measure": "sides"}),
    ("count_shared_twice", "it counts a layer that is used twice two times", {"shared_again": True}),
    ("count_buffers", "it counts buffers, which are no parameters", {"buffers": True}),
    ("count_first_module_only", "it stops after the first tensor", {"first": "tensor"}),
    ("count_first_layer_only", "it stops after the first layer", {"first": "layer"}),
    (
        "count_state_dict",
        "it adds up the state dict, with frozen tensors, buffers, and shared tensors a second time",
        {"which": "all", "buffers": True, "shared_again": True},
    ),
)
NOTHING: Final = Cause(
    "count_nothing",
    "it counts nothing, whatever the model",
    "Decide by `p.requires_grad`: `p.grad` is None until a backward pass. Add up `p.numel()`, and return the sum.",
)
SAME: Final = Cause(
    "count_same",
    "the same number for every model",
    "Use only the argument: `model.parameters()`, not a model of the notebook.",
)
DIVIDED: Final = Cause(
    "count_millions",
    "the number is divided by something, as for millions",
    "Return the number itself, as an `int`.",
)
SHARE: Final = Cause(
    "count_share", "it is the share of the parameters that are trainable", "Return the number, not the share."
)
ADD_UP: Final = "Add up `p.numel()` for every `p` in `model.parameters()` whose `p.requires_grad` is True."


def predict(way: Way, toy: ToyModel) -> int | None:
    """Return what a function that counts in this way answers; None where it returns nothing."""
    own = list(toy.tensors)
    if way.first:
        if not own:
            return None if way.first == "tensor" else 0
        own = own[: 1 if way.first == "tensor" or len(own) == 1 or own[1].matrix else 2]
    if way.shared_again and toy.description.get("shared"):
        own += toy.tensors[:2]
    counted = [p for p in own if COUNTED[way.which](p) and KEPT[way.kept](p)]
    buffers = toy.description.get("buffers", 0) if way.buffers and not way.first else 0
    extra = MEASURES[way.measure]((buffers,)) if buffers else 0
    return sum(MEASURES[way.measure](p.shape) for p in counted) + extra


def explain(toys: Sequence[ToyModel], answers: Sequence[CountItem]) -> tuple[Cause, ...]:
    """Return the fewest mistakes that explain the answers for all toy models; none where nothing does."""
    values = [item.value for item in answers]
    if len(values) < len(toys):
        return ()
    if None not in values and len(set(values)) == 1:
        return (SAME,) if any(values) else (NOTHING,)
    if causes := _explain_float(toys, answers):
        return causes
    for count in (1, 2):
        for entries in combinations(TABLE, count):
            way = _combine([changes for _, _, changes in entries])
            if way is not None and [predict(way, toy) for toy in toys] == values:
                return tuple(Cause(id, words, ADD_UP) for id, words, _ in entries)
    return ()


def _combine(changes: Sequence[Mapping[str, Any]]) -> Way | None:
    names = [name for change in changes for name in change]
    found = Way()
    for change in changes:
        found = replace(found, **change)
    return found if len(set(names)) == len(names) else None


def _explain_float(toys: Sequence[ToyModel], answers: Sequence[CountItem]) -> tuple[Cause, ...]:
    """Explain numbers that are not whole; of these the record holds only the type."""
    pairs = list(zip(toys, answers, strict=False))
    broken = [toy for toy, item in pairs if item.value is None]
    if not broken or any(item.type != "float" for _, item in pairs if item.error is None):
        return ()
    whole = {item.value for toy, item in pairs if toy.tensors and all(p.trainable for p in toy.tensors)}
    if whole in ({1}, {100}):
        return (SHARE,)
    some = [toy for toy, _ in pairs if toy.trainable]
    return (DIVIDED,) if all(toy in broken for toy in some) and set(_list_rest(pairs)) <= {0} else ()


def _list_rest(pairs: Sequence[tuple[ToyModel, CountItem]]) -> Iterator[int | None]:
    """Yield the answers for models of which nothing is trainable."""
    return (item.value for toy, item in pairs if not toy.trainable)
