"""Recomputes loss, logits and gradients of a whole model at the start of its training, from its weights alone.

The model is plain DistilBERT (Sanh et al. 2019) with W + s · B A in place of a wrapped layer's W. Nothing is assumed of
how it is written: the chain rule gives the gradients of A and B from that of the matrix (Hu et al. 2021, eq. 3),

    dA = s Bᵀ (dL/dW),   dB = s (dL/dW) Aᵀ.

s is the one factor that fits best; whether it is alpha / rank is asked of the layer alone (`oracle.lora`). Float32 is
enough: a gradient on a wrong path is wrong by half and more, and the tolerance below is that of a GPU's TF32.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from grader import assignment
from grader.protocol.plan import GradientQuestion

HEADS: Final = 12
EPSILON: Final = 1e-12  # of DistilBERT's layer norms
ENCODER: Final = "distilbert."
# Roundoff of TF32, which is the coarsest in which a float32 model computes, and of half precisions.
ROUNDOFF: Final = {torch.float32: 2.0**-11, torch.float64: 2.0**-11, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-9}
PRODUCTS: Final = 6 * assignment.LAYERS  # of matrices, one after the other; their errors add up at worst
SAFETY: Final = 2

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class GradientFit:
    """The relation of a model's answer to the recomputed one. Errors are relative to the largest right number."""

    output_error: float  # of the logits
    head_error: float | None  # of the gradients of the head; None where none were answered
    adapter_errors: Mapping[str, float]  # by path of the wrapped layer
    tolerance: float

    @property
    def output_agrees(self) -> bool:
        """True if the model computes what plain DistilBERT computes."""
        return self.output_error <= self.tolerance

    @property
    def wrong_adapters(self) -> tuple[str, ...]:
        """The wrapped layers whose gradients point elsewhere."""
        return tuple(path for path, error in self.adapter_errors.items() if not error <= self.tolerance)


def compare(answer: Tensors, base: Tensors, question: GradientQuestion) -> GradientFit | None:
    """Compare an answer with what follows from its weights; None where it does not hold a classifier's head."""
    head = {name: answer.get(f"head:{name}") for m in assignment.HEAD_MODULES for name in (f"{m}.weight", f"{m}.bias")}
    logits, width = answer.get("logits"), assignment.WIDTH
    shapes = {"pre_classifier.weight": (width, width), "pre_classifier.bias": (width,)}
    shapes |= {"classifier.weight": (2, width), "classifier.bias": (2,)}
    if logits is None or any(t is None or tuple(t.shape) != shapes[name] for name, t in head.items()):
        return None
    state = {**base, **{name: tensor.float() for name, tensor in head.items() if tensor is not None}}
    expected_logits, gradients = compute(state, question, _list_answered(answer, question))
    return GradientFit(
        output_error=_measure_error(logits, expected_logits),
        head_error=_compare_head(answer, gradients),
        adapter_errors=compare_adapters(answer, gradients),
        tolerance=SAFETY * PRODUCTS * ROUNDOFF.get(logits.dtype, 0.0),
    )


def _list_answered(answer: Tensors, question: GradientQuestion) -> list[str]:
    """Return the tensors whose gradients an answer holds, themselves or as those of an adapter."""
    held = {key.removeprefix("gradient:").removeprefix("adapter:") for key in answer if key.startswith("gradient:")}
    return [name for name in question.names if not held.isdisjoint((name, f"{name.removesuffix('.weight')}:0"))]


def compute(state: Tensors, question: GradientQuestion, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute logits (rows, 2) of the question, and the gradients of its mean cross-entropy by the named tensors."""
    asked = {name: state[name].float().detach().requires_grad_() for name in names}
    logits = run_distilbert({**state, **asked}, torch.tensor(question.input_ids), torch.tensor(question.attention_mask))
    loss = functional.cross_entropy(logits, torch.tensor(question.labels))
    found = torch.autograd.grad(loss, list(asked.values())) if asked else ()
    return logits.detach(), dict(zip(asked, found, strict=True))


def run_distilbert(state: Tensors, ids: Tensor, mask: Tensor) -> Tensor:
    """Compute logits (rows, labels) in evaluation mode from weights by name. ids, mask (rows, tokens)."""

    def linear(x: Tensor, path: str) -> Tensor:
        return functional.linear(x, state[f"{path}.weight"], state[f"{path}.bias"])

    def norm(x: Tensor, path: str) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], state[f"{path}.weight"], state[f"{path}.bias"], EPSILON)

    def attend(x: Tensor, path: str) -> Tensor:
        q, k, v = (linear(x, f"{path}.{kind}_lin").unflatten(-1, (HEADS, -1)).transpose(1, 2) for kind in "qkv")
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :].bool())
        return linear(mixed.transpose(1, 2).flatten(2), f"{path}.out_lin")

    embeddings = f"{ENCODER}embeddings"
    words = state[f"{embeddings}.word_embeddings.weight"][ids]
    x = norm(words + state[f"{embeddings}.position_embeddings.weight"][: ids.shape[1]], f"{embeddings}.LayerNorm")
    for number in range(assignment.LAYERS):
        layer = f"{ENCODER}transformer.layer.{number}"
        x = norm(x + attend(x, f"{layer}.attention"), f"{layer}.sa_layer_norm")
        inner = functional.gelu(linear(x, f"{layer}.ffn.lin1"))
        x = norm(x + linear(inner, f"{layer}.ffn.lin2"), f"{layer}.output_layer_norm")
    return linear(functional.relu(linear(x[:, 0], "pre_classifier")), "classifier")


def _compare_head(answer: Tensors, gradients: Tensors) -> float | None:
    answered = {name: answer.get(f"gradient:{name}") for name in gradients if not name.startswith(ENCODER)}
    found = [(t, gradients[name][: len(t)]) for name, t in answered.items() if t is not None and t.ndim]
    return max((_measure_error(observed, expected) for observed, expected in found), default=None)


def compare_adapters(answer: Tensors, gradients: Tensors) -> dict[str, float]:
    """Compare the gradients of adapters of two matrices each, one of them zero; others are left out."""
    readings = [list(_list_readings(answer, path, gradients)) for path in assignment.QV_LAYER_NAMES]
    if not all(len(found) == 2 for found in readings):
        return {}
    orders = [[found[order] for found in readings] for order in range(2)]  # every layer is written in the same way
    errors = min((_fit_scale(order) for order in orders), key=max)
    return dict(zip(assignment.QV_LAYER_NAMES, errors, strict=True))


Pair = tuple[Tensor, Tensor]  # gradients of A and B, observed and expected, as one vector each


def _list_readings(answer: Tensors, path: str, gradients: Tensors) -> Iterator[Pair]:
    """Yield observed and expected gradients of one layer with a scale of 1, for either tensor taken as A."""
    tensors = [answer.get(f"adapter:{path}:{i}") for i in range(3)]
    observed = [answer.get(f"gradient:adapter:{path}:{i}") for i in range(2)]
    if tensors[2] is not None or any(t is None or t.ndim != 2 for t in (*tensors[:2], *observed)):
        return  # not two matrices
    whole = gradients.get(f"{path}.weight", torch.empty(0))
    for first, second in permutations(range(2)):
        a, b = _orient(tensors[first], whole.shape[1]), _orient(tensors[second], whole.shape[0])
        da, db = _orient(observed[first], whole.shape[1]), _orient(observed[second], whole.shape[0])
        if a is None or b is None or da is None or db is None or len(a) != len(b) or (a.any() and b.any()):
            return
        if len(a) > len(whole):  # of no rank; products would take any amount of memory
            return
        expected = torch.cat([(b @ whole).flatten(), (a @ whole.T).flatten()])
        yield torch.cat([da.flatten(), db.flatten()]), expected


def _orient(tensor: Tensor | None, width: int) -> Tensor | None:
    """Return a matrix as (rank, width), or None if no side is so wide."""
    if tensor is None or tensor.ndim != 2 or width not in tensor.shape:
        return None
    return (tensor if tensor.shape[1] == width else tensor.T).float()


def _fit_scale(pairs: list[Pair]) -> list[float]:
    """Return each layer's error under the scale that fits the last block best; infinite where that is zero.

    In the last block, gradients come straight from the head: they are right even if none passes through a W.
    """
    if any(observed.shape != expected.shape for observed, expected in pairs):
        return [float("inf")] * len(pairs)
    last = pairs[-2:]
    scale = sum(float(o @ e) for o, e in last) / max(sum(float(e @ e) for _, e in last), 1e-300)
    largest = max(float(expected.abs().max()) for _, expected in pairs) * abs(scale)
    return [
        _measure_error(observed, scale * expected, 0.05 * largest) if scale else float("inf")
        for observed, expected in pairs
    ]


def _measure_error(observed: Tensor, expected: Tensor, floor: float = 0.0) -> float:
    """Return the largest difference relative to the largest right number; infinite where shapes differ."""
    if observed.shape != expected.shape or not bool(observed.isfinite().all()):
        return float("inf")
    return float((observed.float() - expected).abs().max() / max(float(expected.abs().max()), floor, 1e-30))
