"""The ways in which a LoRA layer can be written, right and wrong, and what each of them returns, in float64.

    y = output( base(x)  joined with  scale · outer(B inner(A read(x))) )

`Form()` is the right one. A mistake changes one field of it, so that mistakes of different fields can be combined.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from grader.challenges import LoraChallenge, list_wrong_scales
from grader.oracle.lora import compute_tolerance

RIGHT_SCALE: Final = "alpha / rank"
ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "ReLU": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "GELU": functional.gelu,
    "SiLU": functional.silu,
    "LeakyReLU": functional.leaky_relu,
    "ELU": functional.elu,
    "softmax": lambda t: torch.softmax(t, -1),
}


@dataclass(frozen=True)
class Form:
    """How a layer is written."""

    weight: str = "transposed"  # or "as it is", "none", "identity"
    bias: float = 1.0  # how often W's bias is added
    scaled_bias: bool = False
    residual: bool = False  # x is added as well
    base_factor: str = "1"
    base_activation: str = ""
    read: str = "x"  # what A is applied to; or "W(x)", or an activation of x
    inner: str = ""  # activation between A and B
    outer: str = ""  # activation after B, before the scale
    late: str = ""  # activation after the scale
    scale: str = RIGHT_SCALE
    constant: float = 1.0  # a further factor of the update
    sign: int = 1
    joined: str = "+"  # or "*"
    output: str = ""  # activation of the sum
    output_factor: str = "1"
    adapter: str = "product"  # or "unused", "magnitude"


@dataclass(frozen=True)
class Adapter:
    """One reading of the trainable tensors: A (k, in), B (out, k), and what else is there."""

    a: Tensor
    b: Tensor
    a_bias: Tensor | None = None  # (k,)
    b_bias: Tensor | None = None  # (out,)
    magnitude: Tensor | None = None  # (out, 1) or (1, in): one number for each row or column of W


@dataclass(frozen=True)
class Question:
    """What one challenge gives a layer, as the layer sees it, in float64: x (…, in), weight (out, in), bias (out)."""

    challenge: LoraChallenge
    weight: Tensor
    bias: Tensor | None
    inputs: Mapping[str, Tensor]  # "x" and "x3"


def compute_scale(name: str, challenge: LoraChallenge) -> float:
    """Return the value of a factor that is written as an expression of alpha and rank."""
    if name == RIGHT_SCALE:
        return challenge.scale
    return float(list_wrong_scales(challenge.rank, challenge.alpha)[name])


def read_adapters(tensors: Sequence[Tensor], challenge: LoraChallenge) -> Iterator[Adapter]:
    """Yield what the trainable tensors can be read as, of any rank; nothing where they are not two matrices."""
    width, height = challenge.in_features, challenge.out_features
    matrices = [t for t in tensors if t.ndim == 2]
    if len(matrices) > 2:  # one of them may be the column or row of numbers of DoRA; at rank 1, any may
        matrices = [t for t in matrices if 1 not in t.shape]
    extra = [t for t in tensors if not any(t is matrix for matrix in matrices)]
    if len(matrices) != 2:
        return
    for first, second in permutations(matrices):
        a, b = _orient(first, width), _orient(second, height)
        if a is None or b is None or len(a) != len(b):
            continue
        yield from _attach(Adapter(a, b.T), extra)


def _orient(matrix: Tensor, width: int) -> Tensor | None:
    """Return a matrix as (k, width)."""
    if matrix.shape[1] == width:
        return matrix
    return matrix.T if matrix.shape[0] == width else None


def _attach(plain: Adapter, extra: Sequence[Tensor]) -> Iterator[Adapter]:
    """Yield the adapter with its biases, or with the magnitude of DoRA."""
    (rank, width), height = plain.a.shape, len(plain.b)
    sizes = [tuple(t.shape) for t in extra]
    if not extra:
        yield plain
    elif len(set(sizes)) == len(sizes) and set(sizes) <= {(rank,), (height,)}:
        by_size = dict(zip(sizes, extra, strict=True))
        yield Adapter(plain.a, plain.b, by_size.get((rank,)), by_size.get((height,)))
    if len(extra) == 1 and sizes[0] in ((height,), (height, 1)):
        yield Adapter(plain.a, plain.b, magnitude=extra[0].reshape(height, 1))
    elif len(extra) == 1 and sizes[0] in ((1, width), (width,)):
        yield Adapter(plain.a, plain.b, magnitude=extra[0].reshape(1, width))


def fill_with_ones(adapter: Adapter, value: float = 1.0) -> Adapter:
    """Return an adapter of the same shapes with one number everywhere."""
    parts = (adapter.a, adapter.b, adapter.a_bias, adapter.b_bias, adapter.magnitude)
    a, b, a_bias, b_bias, magnitude = (None if t is None else torch.full_like(t, value) for t in parts)
    assert a is not None
    assert b is not None
    return Adapter(a, b, a_bias, b_bias, magnitude)


def compute_base(form: Form, question: Question, x: Tensor) -> Tensor | None:
    """Compute the path without A and B; None where the shapes do not allow it."""
    height, width = question.weight.shape
    if height != width and (form.weight in ("as it is", "identity") or form.residual):
        return None
    ways = {"transposed": lambda: x @ question.weight.T, "as it is": lambda: x @ question.weight, "identity": lambda: x}
    base = ways[form.weight]() if form.weight in ways else x.new_zeros(*x.shape[:-1], height)
    if question.bias is not None:
        scale = question.challenge.scale if form.scaled_bias else 1.0
        base = base + form.bias * scale * question.bias
    base = _activate(form.base_activation, _scale(form.base_factor, question.challenge) * base)
    return base + x if form.residual else base


def _scale(name: str, challenge: LoraChallenge) -> float:
    return 1.0 if name == "1" else compute_scale(name, challenge)


def _activate(name: str, tensor: Tensor) -> Tensor:
    return ACTIVATIONS[name](tensor) if name else tensor


def compute_update(form: Form, question: Question, x: Tensor, adapter: Adapter) -> Tensor | None:
    """Compute what is added to the base; None where the shapes do not allow it."""
    if form.adapter == "unused":
        return x.new_zeros(())
    read = x
    if form.read == "W(x)":
        right = compute_base(Form(), question, x)
        if right is None or right.shape[-1] != adapter.a.shape[1]:
            return None
        read = right
    elif form.read != "x":
        read = _activate(form.read, x)
    inner = read @ adapter.a.T
    inner = _activate(form.inner, inner if adapter.a_bias is None else inner + adapter.a_bias)
    update = inner @ adapter.b.T
    update = _activate(form.outer, update if adapter.b_bias is None else update + adapter.b_bias)
    return form.sign * _activate(form.late, form.constant * compute_scale(form.scale, question.challenge) * update)


def predict(form: Form, question: Question, x: Tensor, adapter: Adapter) -> Tensor | None:
    """Compute the output of a layer that is written in this form; None where the shapes do not allow it."""
    if (form.adapter == "magnitude") is not (adapter.magnitude is not None):
        return None
    if form.adapter == "magnitude":
        return _predict_with_magnitude(form, question, x, adapter)
    base, update = compute_base(form, question, x), compute_update(form, question, x, adapter)
    if base is None or update is None or (update.ndim and update.shape != base.shape):
        return None
    joined = base * update if form.joined == "*" else base + update
    return _scale(form.output_factor, question.challenge) * _activate(form.output, joined)


def _predict_with_magnitude(form: Form, question: Question, x: Tensor, adapter: Adapter) -> Tensor | None:
    """DoRA (Liu et al. 2024): the directions of W + scale · B A, each with a length of its own that is trained."""
    assert adapter.magnitude is not None
    scale = form.sign * form.constant * compute_scale(form.scale, question.challenge)
    whole = question.weight + scale * adapter.b @ adapter.a
    norm = whole.norm(dim=1 if adapter.magnitude.shape[1] == 1 else 0, keepdim=True)
    output = x @ (adapter.magnitude * whole / norm.clamp_min(1e-12)).T
    return output if question.bias is None else output + form.bias * question.bias


def agrees(predicted: Tensor | None, observed: Tensor, magnitude: float, challenge: LoraChallenge) -> bool:
    """Return True if a prediction is what was observed, up to rounding in the challenge's dtype.

    4: besides the sum, activations and factors are rounded, and differences of outputs are taken.
    """
    if predicted is None or predicted.shape != observed.shape:
        return False
    largest = max(magnitude, float(predicted.abs().max()), float(observed.abs().max()))
    return float((predicted - observed).abs().max()) <= 4 * compute_tolerance(challenge, largest)
