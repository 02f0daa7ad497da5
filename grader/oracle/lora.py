"""The right answers of a LoRA layer, in float64, whatever its tensors are called and however they lie.

y = W x + b + (alpha / rank) · B A x  (Hu et al. 2021, eq. 3). The host knows W, x and the values it had the adapter
filled with. A is (rank, in) and B is (out, rank), or their transposes, in either order: all readings that the shapes
admit are tried, and one has to explain the output.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import prod

import torch
from torch import Tensor

from grader.challenges import ROWS, LoraChallenge, list_wrong_scales
from grader.protocol.source import UNPARSABLE

# Unit roundoff: the largest relative error of one rounded operation. A layer may compute in float32 when it is given
# float64: the assignment's model is float32, and no mistake of a student's is smaller than that.
ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-24, "bfloat16": 2.0**-9}
FINE = 1e-6  # a roundoff below which even the smallest singular value of a random update is no rounding
# Errors of a sum of n products add up like sqrt(n) · roundoff (Higham 2002, section 4.2, rounding errors as
# independent); x A^T, then B, then scaling and adding are four roundings on top. 4 covers them, with 2 for the tail.
SAFETY = 8.0
# alpha / rank may be kept as a float32 tensor: cast to float64 with the layer, it stays rounded. The update is a
# difference of two outputs, hence 2.
ROUNDED_SCALE = 2 * 2.0**-24
MAX_FILLED = 2**24  # numbers in an adapter; challenges have a thousand
SCALE_MATCH = 0.02  # a scale is recognised within 2 %: scales in a draw are 10 % apart


@dataclass(frozen=True)
class Fit:
    """The relation of an observed update to the right one."""

    matches: bool
    unreadable: bool  # the tensors are not one A and one B of the rank asked for
    observed_scale: float | None  # factor in front of B A x, if the update is a multiple of it
    error: float  # largest deviation from the best reading, relative to the tolerance


def compute_tolerance(challenge: LoraChallenge, magnitude: float) -> float:
    """Compute the largest deviation that rounding in the challenge's dtype can cause in outputs of this magnitude."""
    terms = challenge.in_features + challenge.rank
    relative = SAFETY * ROUNDOFF[challenge.dtype] * terms**0.5 + ROUNDED_SCALE
    return relative * max(magnitude, 1e-30)


def compute_base_output(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Compute W(x) in float64. x (..., in), weight (out, in), bias (out)."""
    output = x.double() @ weight.double().T
    return output if bias is None else output + bias.double()


def split(fill: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return the values that each trainable tensor was filled with, in the layer's order; none for absurd shapes.

    The probe starts again from the first value when an adapter is larger than what it was given.
    """
    sizes = [prod(shape) for shape in shapes]
    needed = sum(sizes)
    if needed > MAX_FILLED:
        return []
    values = fill.repeat(max(1, -(-needed // fill.numel())))[:needed].double()
    return [part.view(tuple(shape)) for part, shape in zip(values.split(sizes), shapes, strict=True)]


def list_readings(tensors: Sequence[Tensor], challenge: LoraChallenge) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all (A (rank, in), B (out, rank)) that two tensors can be read as."""
    yield from ((a, b) for _, a, b in _list_placed_readings(tensors, challenge))


def _list_placed_readings(
    tensors: Sequence[Tensor], challenge: LoraChallenge
) -> Iterator[tuple[tuple[int, int], Tensor, Tensor]]:
    """Yield each reading, and before it the positions of the tensors that are read as A and as B."""
    for first, second in permutations(range(2)) if len(tensors) == 2 else ():
        a = _orient(tensors[first], challenge.rank, challenge.in_features)
        b = _orient(tensors[second], challenge.out_features, challenge.rank)
        if a is not None and b is not None:
            yield (first, second), a, b


def _orient(tensor: Tensor, rows: int, columns: int) -> Tensor | None:
    if tuple(tensor.shape) == (rows, columns):
        return tensor
    return tensor.T if tuple(tensor.shape) == (columns, rows) else None


def fit(update: Tensor, x: Tensor, tensors: Sequence[Tensor], challenge: LoraChallenge, magnitude: float) -> Fit:
    """Compare an update (n, out) on x (n, in) with (alpha / rank) · B A x under every reading, and keep the best.

    The best is the right one, else one of which the update is a multiple, else the nearest. Where W is square, either
    tensor can be read as A; both are right, since B A with its factors exchanged is a low-rank update as well.
    """
    found = [
        _fit(update.double(), x.double() @ a.T @ b.T, challenge, magnitude)
        for a, b in list_readings(tensors, challenge)
    ]
    nothing = Fit(matches=False, unreadable=True, observed_scale=None, error=float("inf"))
    return min(found, key=lambda f: (not f.matches, f.observed_scale is None, f.error), default=nothing)


def _fit(update: Tensor, product: Tensor, challenge: LoraChallenge, magnitude: float) -> Fit:
    allowed = compute_tolerance(challenge, magnitude)
    error = float((update - challenge.scale * product).abs().max()) / allowed
    factor = float((update * product).sum() / product.square().sum().clamp_min(1e-300))
    is_multiple = float((update - factor * product).abs().max()) <= 4 * allowed
    return Fit(matches=error <= 1, unreadable=False, observed_scale=factor if is_multiple else None, error=error)


def ones_agree(tensors: Mapping[str, Tensor], x: Tensor, challenge: LoraChallenge) -> bool:
    """Return True if an adapter full of ones adds scale · rank · Σx = alpha · Σx to every output, in any form."""
    ones, emptied = (tensors.get(f"{challenge.key}.{name}") for name in ("ones", "emptied"))
    if ones is None or emptied is None or ones.shape != emptied.shape:
        return False
    expected = challenge.alpha * x.double().sum(-1, keepdim=True)
    magnitude = float(torch.maximum(ones.abs().max(), emptied.abs().max()))
    return float(((ones - emptied).double() - expected).abs().max()) <= compute_tolerance(challenge, magnitude)


def has_its_rank(update: Tensor, challenge: LoraChallenge, magnitude: float) -> bool:
    """Return True if the update (n, out) of a random adapter on random x has the rank that B A has, no lower one.

    Half precision does not tell: rounding there is as large as the smallest singular values. Independent errors of size
    e in an m-by-n matrix have a largest singular value of about e (sqrt(m) + sqrt(n)).
    """
    if ROUNDOFF[challenge.dtype] > FINE:
        return True
    noise = compute_tolerance(challenge, magnitude) * sum(side**0.5 for side in update.shape)
    return int((torch.linalg.svdvals(update.double()) > noise).sum()) >= min(challenge.rank, *update.shape)


@dataclass(frozen=True)
class Gradients:
    """The gradients of sum(cotangent · layer(x)): of x (n, in), and of the adapter's tensors in the layer's order."""

    input: Tensor
    adapter: tuple[Tensor, ...]


def compute_input_gradient(cotangent: Tensor, weight: Tensor) -> Tensor:
    """Compute the gradient of x (n, in) that W alone passes on. cotangent (n, out), weight (out, in)."""
    return cotangent.double() @ weight.double()


def list_expected_gradients(
    x: Tensor, cotangent: Tensor, weight: Tensor, tensors: Sequence[Tensor], scale: float, challenge: LoraChallenge
) -> Iterator[Gradients]:
    """Yield the gradients of y = W x + scale · B A x in float64, by the chain rule, under every reading of the tensors.

    With g = cotangent: dx = g (W + scale B A), dA = scale (g B)ᵀ x, dB = scale gᵀ (x Aᵀ).
    """
    g, x = cotangent.double(), x.double()
    for (first, second), a, b in _list_placed_readings(tensors, challenge):
        factors = {first: scale * (g @ b).T @ x, second: scale * g.T @ (x @ a.T)}
        found = (factors[i] if factors[i].shape == tensors[i].shape else factors[i].T for i in range(2))
        yield Gradients(compute_input_gradient(g, weight) + scale * g @ b @ a, tuple(found))


def gradients_agree(observed: Tensor, expected: Tensor, challenge: LoraChallenge) -> bool:
    """Return True if a gradient is right up to rounding in the challenge's dtype."""
    if observed.shape != expected.shape:
        return False
    terms = challenge.in_features + challenge.out_features + challenge.rank + ROWS  # of all the sums on the way
    relative = SAFETY * ROUNDOFF[challenge.dtype] * terms**0.5 + ROUNDED_SCALE
    return float((observed.double() - expected).abs().max()) <= relative * max(float(expected.abs().max()), 1e-30)


def name_scale(observed: float, challenge: LoraChallenge) -> list[str]:
    """Return the expressions of the usual mistakes that give this scale; likely ones first."""
    wrong = list_wrong_scales(challenge.rank, challenge.alpha)
    return [
        name for name, value in wrong.items() if abs(observed - value) <= SCALE_MATCH * abs(value or challenge.scale)
    ]


def find_moved_parameter(sources: Sequence[str], class_name: str) -> str | None:
    """Return code in the last definition of a class that moves an `nn.Parameter` after making it, or None.

    `nn.Parameter(t).to(device)` is the same object on the CPU, and a plain tensor on a GPU: only the source shows it.
    A parameter that is converted to the precision it has, as by `.float()`, stays the same object on every device.
    """
    definition = _last_class(sources, class_name)
    for node in ast.walk(definition) if definition else ():
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _can_move(node, node.func.attr):
            made = node.func.value
            if isinstance(made, ast.Call) and ast.unparse(made.func).split(".")[-1] == "Parameter":
                return f"{ast.unparse(made.func)}(...).{node.func.attr}(...)"
    return None


MULTIPLIERS = ("matmul", "mm", "einsum", "linear", "outer", "addmm")


def multiplies_in_init(sources: Sequence[str], class_name: str) -> bool:
    """Return True if `__init__` in the last definition of a class forms a product of matrices."""
    definition = _last_class(sources, class_name)
    functions = [n for n in ast.walk(definition) if isinstance(n, ast.FunctionDef)] if definition else []
    made = [node for function in functions if function.name == "__init__" for node in ast.walk(function)]
    return any(
        (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult))
        or (isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in MULTIPLIERS)
        for node in made
    )


MOVES = ("cuda", "double", "half", "bfloat16")
MAY_MOVE = ("to", "type")  # to a device or to a precision, by what is given
NO_DEVICE = ("dtype", "non_blocking", "copy", "memory_format")  # keywords of `to`


def _can_move(call: ast.Call, method: str) -> bool:
    """Return True if a call of this method of a tensor can give another tensor, on some device."""
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg not in NO_DEVICE)]
    return method in MOVES or (method in MAY_MOVE and not all(map(_is_precision, given)))


def _is_precision(argument: ast.expr) -> bool:
    """Return True if an expression reads as a dtype: `torch.float32`, `W.weight.dtype`, `dtype`."""
    name = ast.unparse(argument).split(".")[-1].removesuffix("()")
    return name.endswith("dtype") or isinstance(getattr(torch, name, None), torch.dtype)


def _last_class(sources: Sequence[str], name: str) -> ast.ClassDef | None:
    found = None
    for source in sources:
        try:
            tree = ast.parse(source)
        except UNPARSABLE:
            continue
        found = next((n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name), found)
    return found
