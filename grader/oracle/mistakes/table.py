"""The table of mistakes in what a LoRA layer computes: each with its words, a hint, and the field that it changes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from grader.challenges import list_wrong_scales
from grader.oracle.mistakes.causes import Cause
from grader.oracle.mistakes.forms import ACTIVATIONS, RIGHT_SCALE, Form


class Part(StrEnum):
    """The part of a layer that a mistake is in; it decides which check speaks of it."""

    BASE = "base"
    UPDATE = "update"
    WHOLE = "whole"


@dataclass(frozen=True)
class Mistake:
    """A cause, and the fields of the right form that it changes."""

    cause: Cause
    part: Part
    changes: Mapping[str, Any]


KEEP_W: Final = "Keep the given W and call it as `W(x)`: the update is added to that, unchanged."
SCALE_ONCE: Final = "Compute `alpha / rank` in `__init__`, from its arguments, and multiply the update by it once."
NOTHING_BETWEEN: Final = "Apply A, then B, and nothing before, between or after them but the factor `alpha / rank`."
NO_FACTOR: Final = ("0", "1", "-alpha / rank")
ADD: Final = "Return the sum of `W(x)` and the scaled update, and nothing else."
PRODUCT: Final = "Compute the update from A and B in `forward`, every time: they change in training."
NO_BIAS: Final = "Give A and B no bias: `nn.Linear(..., bias=False)`."


def list_mistakes() -> Iterator[Mistake]:
    """Yield all mistakes of the table; of two that explain the same answers, the likelier comes first."""
    yield from _list_update()
    yield from _list_base()
    yield from _list_whole()


def apply(*mistakes: Mistake) -> Form | None:
    """Return the form with these mistakes; None where two of them change the same field."""
    changes = [change for mistake in mistakes for change in mistake.changes.items()]
    names = [name for name, _ in changes]
    return replace(Form(), **dict(changes)) if len(set(names)) == len(names) else None


def _base(id: str, words: str, hint: str = KEEP_W, **changes: Any) -> Mistake:
    return Mistake(Cause(id, words, hint), Part.BASE, changes)


def _list_base() -> Iterator[Mistake]:
    yield _base("bias_dropped", "W's bias is missing", bias=0.0)
    yield _base("bias_twice", "W's bias is added twice", bias=2.0)
    yield _base("bias_scaled", "W's bias is multiplied by alpha / rank", scaled_bias=True)
    yield _base("weight_untransposed", "x is multiplied by W.weight instead of its transpose", weight="as it is")
    yield _base("input_instead_of_W", "the layer uses x in place of W(x)", weight="identity", bias=0.0)
    yield _base("weight_missing", "W's bias is added, but x is not multiplied by W.weight", weight="none")
    yield _base("update_alone", "the layer returns only the update, without W(x)", ADD, weight="none", bias=0.0)
    yield _base("residual", "x is added to W(x)", residual=True)
    for factor in (RIGHT_SCALE, *(name for name in list_wrong_scales(2, 3) if name not in NO_FACTOR)):
        words = f"W(x) is multiplied by {factor}, and only the update should be"
        yield _base(f"base_times_{_slug(factor)}", words, base_factor=factor)
    for name in ACTIVATIONS:
        yield _base(f"base_{name}", f"an activation ({name}) follows W(x)", base_activation=name)


def _update(id: str, words: str, hint: str = NOTHING_BETWEEN, **changes: Any) -> Mistake:
    return Mistake(Cause(id, words, hint), Part.UPDATE, changes)


def _list_update() -> Iterator[Mistake]:
    for name in list_wrong_scales(2, 3):
        if name != "0":
            yield make_scale_mistake(name)
    yield _update(
        "product_unused",
        "the output does not depend on A and B; filling them changes nothing",
        PRODUCT,
        adapter="unused",
    )
    yield _update(
        "magnitude",
        "the lengths of W's rows or columns are trained as well, as in DoRA",
        "Leave the magnitude of DoRA out: plain LoRA trains A and B only.",
        adapter="magnitude",
    )
    yield _update("read_W", "A is applied to W(x) instead of x", "Apply A to x, the input of the layer.", read="W(x)")
    for name in ACTIVATIONS:
        yield _update(f"before_{name}", f"there is an activation before A ({name})", read=name)
        yield _update(f"between_{name}", f"there is an activation between A and B ({name})", inner=name)
        yield _update(f"after_{name}", f"there is an activation after B ({name})", outer=name)
        yield _update(f"after_{name}", f"there is an activation after B ({name})", late=name)


def list_either(mistakes: Sequence[Mistake]) -> tuple[Cause, ...]:
    """Return the causes of mistakes in the base where nothing is known of the update.

    An empty adapter shows the same, whether W(x) or the sum is multiplied, and whether W(x) is left out or a factor.
    """
    return tuple(_make_either(mistake) for mistake in mistakes)


def _make_either(mistake: Mistake) -> Cause:
    changes = mistake.changes
    if "base_factor" in changes:
        words = f"W(x), alone or with the update, is multiplied by {changes['base_factor']}"
        return Cause(f"either_times_{_slug(changes['base_factor'])}", words, ADD)
    if "base_activation" in changes:
        words = f"an activation ({changes['base_activation']}) follows W(x), or the sum with the update"
        return Cause(f"either_{changes['base_activation']}", words, ADD)
    if mistake.cause.id == "update_alone":
        return Cause("W_not_added", "W(x) is not added: with zeros in A and B, the output is zero", ADD)
    return mistake.cause


def make_scale_mistake(name: str) -> Mistake:
    """Return the mistake of a wrong factor, which is written as an expression of alpha and rank."""
    if name.startswith("-"):
        return _update(f"scale_{_slug(name)}", "the update is subtracted", ADD, sign=-1)
    words = f"the update is multiplied by {name} instead of {RIGHT_SCALE}"
    return _update(f"scale_{_slug(name)}", words, SCALE_ONCE, scale=name)


def _whole(id: str, words: str, hint: str = ADD, **changes: Any) -> Mistake:
    return Mistake(Cause(id, words, hint), Part.WHOLE, changes)


def _list_whole() -> Iterator[Mistake]:
    yield _whole("multiplied", "W(x) and the update are multiplied instead of added", joined="*")
    for factor in ("alpha / rank", "alpha", "1 / rank", "2"):
        words = f"the whole output is multiplied by {factor}"
        yield _whole(f"output_times_{_slug(factor)}", words, output_factor=factor)
    for name in ACTIVATIONS:
        yield _whole(f"output_{name}", f"there is an activation on the output ({name})", output=name)


def _slug(expression: str) -> str:
    words = {"/": "over", "*": "times", "-": "minus", "²": "squared", "//": "floor", "(": "", ")": ""}
    for sign in ("//", "²", "/", "*", "-", "(", ")"):
        expression = expression.replace(sign, f" {words[sign]} ")
    return "_".join(expression.split())
