"""Mutants that no check fails: equivalent for a reason, or survivors.

A reason has two halves. The evidence: the mutant answers every question as its program does, bit for bit, or differs
only in what the handout leaves open. And the edit: it touches nothing but such a freedom.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.proof.generated.bench import Finding
from tests.proof.generated.mutation import Edit

START: Final = frozenset({"layer at the start", "trained weights", "trainings.json"})
TRAINED: Final = frozenset({"trained weights", "trainings.json"})
NOTHING: Final[frozenset[str]] = frozenset()
TEXTS: Final = ("another text", "half of a condition", "another operator", "an item is missing", "another constant")
NAMED: Final = ("extract-qv-layers", "freeze-encoder", "wrap-layers")


@dataclass(frozen=True)
class Reason:
    """Why a mutant is as right as its program."""

    words: str
    may_differ: frozenset[str]  # parts of evidence
    touches: Callable[[Edit], bool]
    advised: bool = False  # a check passes with advice


def _is_of_layer(edit: Edit) -> bool:
    return edit.cell == "lora-layer"


def _touches_placement(edit: Edit) -> bool:
    return any(word in edit.before for word in ("device", "dtype", "placement"))


def _touches_rank(edit: Edit) -> bool:
    return edit.cell == "wrap-layers" and any(word in edit.before for word in ("RANK", "ALPHA"))


def _freezes_again(edit: Edit) -> bool:
    return _is_of_layer(edit) and any(word in edit.before for word in ("requires_grad", "parameters()"))


def _touches_test(edit: Edit) -> bool:
    return edit.cell in NAMED and (edit.kind in TEXTS or "condition" in edit.kind)


def _says_the_same(edit: Edit) -> bool:
    return edit.kind in ("another constant", "another attribute", "another name", "a call is missing")


def _returns_number(edit: Edit) -> bool:
    return edit.cell == "load-model" and edit.kind == "a call is missing"


def _begins_merged(edit: Edit) -> bool:
    return edit.before.startswith("self.merged = ")


def _merges_otherwise(edit: Edit) -> bool:
    return edit.inside.endswith(".train") and "self.merged" in edit.before


def _is_left_over(edit: Edit) -> bool:
    return edit.inside == "the cell" and edit.before.startswith("qv_layers = ")


REASONS: Final = (
    Reason("it works for square W only, and is advised", START | {"layer", "probe-lora.json"}, _is_of_layer, True),
    Reason("a line fails on which nothing depends, and is advised", frozenset({"ended.json"}), _is_left_over, True),
    Reason("a line is missing on which nothing depends", NOTHING, _is_left_over),
    Reason("another rank or alpha for the model of step 3, which is the student's choice", TRAINED, _touches_rank),
    Reason("a layer that begins as merged: its update is zero then", START, _begins_merged),
    Reason("a layer that never merges computes the same, but for rounding", START | {"layer"}, _merges_otherwise),
    Reason("another random start: with given values in A and B, the layer computes the same", START, _is_of_layer),
    Reason("another test that finds the same layers and parameters in every model", NOTHING, _touches_test),
    Reason("the same number as a number of NumPy or PyTorch", frozenset({"probe-count.json"}), _returns_number),
    Reason("device and precision, which are those of W anyway", NOTHING, _touches_placement),
    Reason("W is frozen by the layer as well as before, and once is enough", NOTHING, _freezes_again),
    Reason("another expression with the same value, or a value that nothing uses", NOTHING, _says_the_same),
    Reason("a statement on which nothing depends", NOTHING, lambda edit: edit.kind == "a statement is missing"),
)


def find_reason(edit: Edit, original: Finding, mutant: Finding) -> str | None:
    """Return why a mutant that no check fails is equivalent to its program, or None."""
    differs = frozenset(mutant.list_differences(original))
    if mutant.failed:
        return None
    advised = not set(mutant.advised) <= set(original.advised)  # of what the edit changed
    fitting = (r for r in REASONS if differs <= r.may_differ and r.touches(edit))
    return next((r.words for r in fitting if advised is r.advised), None)
