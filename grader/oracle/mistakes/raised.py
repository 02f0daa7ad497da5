"""Mistakes that make a layer raise an error, told from Python's and PyTorch's messages and the sizes in them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import nn

from grader.challenges import ROWS, LoraChallenge
from grader.oracle.mistakes.causes import Cause
from grader.protocol.records import Raised

PRODUCT: Final = re.compile(r"shapes cannot be multiplied \((\d+)x(\d+) and (\d+)x(\d+)\)")
RETURNED: Final = re.compile(r"\w+ returns (\w+)")  # the probe's words
SIZE_HARD_CODED: Final = "size_hard_coded"
ENOUGH: Final = 3  # challenges of different sizes, in all of which the same number does not fit
NO_FORWARD: Final = Cause(
    "no_forward",
    "the class has no method `forward`",
    "Define `forward(self, x)` in the class, indented like `__init__`.",
)
UNWRITTEN: Final = Cause(
    "unfinished",
    "this is the template's error: the method is not written yet",
    "Write `__init__` and `forward`: the template raises this error until you do.",
)
THREE_DIMENSIONS: Final = Cause(
    "three_dimensions_only",
    "`forward` takes for granted that x has three dimensions",
    "Accept x of shape (batch, in) and of shape (batch, tokens, in): change only the last dimension.",
)
COMPUTED_ONCE: Final = Cause(
    "computed_once",
    "a tensor that is computed from A and B once, in `__init__`, is used in every forward pass",
    "Compute the product of A and B in `forward`: it changes in training.",
)
A_UNTRANSPOSED: Final = Cause(
    "A_untransposed", "x is multiplied by A as it is, and not by its transpose", "Use `x @ A.T`."
)
B_FIRST: Final = Cause("B_first", "B is applied before A", "Apply A to x first, then B to the result.")
EITHER: Final = Cause(
    "A_untransposed_or_B_first",
    "x is multiplied by a matrix that has `rank` rows: A is not transposed, or B is applied before A",
    "Apply A first, then B. As tensors of shapes (rank, in) and (out, rank): `x @ A.T @ B.T`.",
)
B_UNTRANSPOSED: Final = Cause("B_untransposed", "B is not transposed", "Use `x @ A.T @ B.T`.")
REVERSED: Final = Cause(
    "product_reversed", "A and B are multiplied in the wrong order", "The product is B A: `x @ (B @ A).T`."
)
BIAS_REQUIRED: Final = Cause(
    "bias_required",
    "`W.bias` is used although this W has none",
    "Call `W(x)` instead of using `W.bias`, or test `W.bias is not None`: without a bias it is None.",
)
BIAS_AS_TRUTH: Final = Cause(
    "bias_tested_as_truth",
    "a tensor of several numbers is neither true nor false",
    "Test `W.bias is not None`: a tensor of several numbers is neither true nor false.",
)
NO_SUPER: Final = Cause(
    "no_super_init",
    "`super().__init__()` is not called first",
    "Call `super().__init__()` before anything else in `__init__`.",
)
SIGNATURE: Final = Cause(
    "no_rank_parameters",
    "`__init__` takes other arguments than W, rank and alpha",
    "Write `def __init__(self, W, rank=12, alpha=24)`: the call is `LoRALayer(W, rank, alpha)`.",
)
NO_MODULE: Final = Cause(
    "not_a_module", "the class is not derived from nn.Module", "Write `class LoRALayer(nn.Module)`."
)
MESSAGES: Final[Mapping[str, Cause]] = {  # words in messages of Python, PyTorch and the probe -> cause
    "is not an nn.Module": NO_MODULE,
    "Module.__init__() call": NO_SUPER,
    "values to unpack (expected 3, got 2)": THREE_DIMENSIONS,
    "backward through the graph a second time": COMPUTED_ONCE,
    "is ambiguous": BIAS_AS_TRUTH,
}


@dataclass(frozen=True)
class Failure:
    """A challenge in which a layer raised an error."""

    challenge: LoraChallenge
    error: Raised
    class_name: str


def find_returned(error: Raised | None) -> str | None:
    """Return the type of what a layer returned in place of a tensor, which the probe raised as an error; None else."""
    found = RETURNED.fullmatch(error.message) if error and error.type == TypeError.__name__ else None
    return found[1] if found else None


def explain(failures: Sequence[Failure], works_with_bias: bool) -> Cause | None:
    """Return the one cause that explains the errors in all challenges that raised one; None where none does.

    `works_with_bias`: no challenge in which W has a bias raised an error.
    """
    if not failures:
        return None
    possible = [{cause.words: cause for cause in _list_possible(one, works_with_bias)} for one in failures]
    common = [cause for key, cause in possible[0].items() if all(others.get(key) == cause for others in possible[1:])]
    alike = [cause for cause in common if cause.id != SIZE_HARD_CODED or len(failures) >= ENOUGH]
    return alike[0] if alike else None


def _list_possible(one: Failure, works_with_bias: bool) -> Iterator[Cause]:
    message, kind = one.error.message, one.error.type
    if kind == NotImplementedError.__name__:
        yield NO_FORWARD if 'missing the required "forward"' in message else UNWRITTEN
    yield from (cause for words, cause in MESSAGES.items() if words in message)
    if "__init__() takes" in message or "__init__() got an unexpected" in message:
        yield SIGNATURE
    if "NoneType" in message and not one.challenge.bias and works_with_bias:
        yield BIAS_REQUIRED
    if missing := re.fullmatch(r"'(\w+)' object has no attribute '(\w+)'", message):
        yield from _name_attribute(missing[1], missing[2], one.class_name)
    if kind == NameError.__name__ and (name := re.match(r"name '(\w+)' is not defined", message)):
        words = f"`{name[1]}` is not defined where the layer uses it"
        yield Cause(
            "name_missing", words, "Keep arguments of `__init__` as attributes of `self` to use them in `forward`."
        )
    if sizes := PRODUCT.search(message):
        yield from _explain_product(one.challenge, *map(int, sizes.groups()))


def _name_attribute(owner: str, name: str, class_name: str) -> Iterator[Cause]:
    if owner == "Linear":
        yield Cause(
            "W_as_tensor",
            f"W is used as if it had `{name}`: it is an `nn.Linear`, not a tensor",
            "Its matrix is `W.weight`.",
        )
    elif owner == class_name and hasattr(nn.Module, name):
        yield NO_MODULE
    elif owner == class_name:
        words = f"the layer uses `self.{name}`, which `__init__` does not set"
        yield Cause("attribute_missing", words, f"Set `self.{name}` in `__init__`, or use the name that is set there.")


def _explain_product(c: LoraChallenge, rows: int, inner: int, other: int, columns: int) -> Iterator[Cause]:
    """Yield what explains a product of (rows, inner) and (other, columns) that do not fit."""
    square = c.in_features == c.out_features
    if inner == c.in_features and other == c.rank and columns != c.rank:
        if columns == c.in_features and square:
            yield EITHER
        elif columns == c.in_features:
            yield A_UNTRANSPOSED
        elif columns == c.out_features:
            yield B_FIRST
    if other == columns == c.rank and inner == c.in_features:
        yield REVERSED
    if (rows, inner, other, columns) == (c.rank, c.in_features, c.out_features, c.rank):
        yield REVERSED
    elif inner == c.rank and (other, columns) == (c.out_features, c.rank):
        yield B_UNTRANSPOSED
    for number in sorted({inner, other, columns} - {ROWS}):  # of all challenges alike, which no size of theirs is
        yield Cause(
            SIZE_HARD_CODED,
            f"a size of the layer is written as a number ({number})",
            "Use `W.in_features`, `W.out_features` and `rank` for all sizes, not numbers.",
        )
