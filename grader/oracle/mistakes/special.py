"""Mistakes whose outputs cannot be computed beforehand, but which leave a trace that nothing else leaves."""

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from grader.oracle import lora
from grader.oracle.mistakes.causes import Cause
from grader.oracle.mistakes.forms import Form, agrees, compute_base, compute_update
from grader.oracle.mistakes.observations import Observation

W_WRITTEN: Final = Cause(
    "W_overwritten",
    "W.weight is written to while the layer is used, so that one call changes the next one",
    "Do not write to W, neither in `forward` nor in `train` or `eval`: compute the update beside it.",
)
OTHER_W: Final = Cause(
    "fresh_linear",
    "another linear map than W takes the place of W(x), as with a new `nn.Linear`",
    "Keep the given W and call it as `W(x)`; a new `nn.Linear` has other weights.",
)
DROPOUT: Final = Cause(
    "dropout_always",
    "dropout on the way through A and B is active in evaluation, too",
    "Use dropout only as `nn.Dropout`, made in `__init__`, which `model.eval()` turns off.",
)
UNLIKE: Final = 0.5  # correlation with W(x) of outputs that are not made of it: about 0.1 by chance
ROUNDED: Final = 1e-3  # of a ratio of two float32 numbers, the smaller of which is left out below SMALL
SMALL: Final = 1e-2


def writes_to_w(observations: Sequence[Observation]) -> bool:
    """Return True if W has other values after the forward passes, beyond the rounding of an update merged into it."""
    return any(_is_written(observation) for observation in observations)


def _is_written(observation: Observation) -> bool:
    question, after = observation.question, observation.answers.get("weight_after")
    if after is None or after.shape != question.weight.shape:
        return False
    challenge = question.challenge
    added = challenge.alpha * float(observation.fill.abs().max()) ** 2  # no number in (alpha / rank) · B A is larger
    allowed = lora.SAFETY * lora.ROUNDOFF[challenge.dtype] * (float(question.weight.abs().max()) + added)
    return float((after - question.weight).abs().max()) > allowed


def uses_other_w(observations: Sequence[Observation]) -> bool:
    """Return True if the path without A and B is a linear map that has nothing to do with W.

    With an unknown map W' and b': Y = X W'ᵀ + b' and D = G W' of the same W' give G Yᵀ - D Xᵀ = (G b') 1ᵀ, whose
    columns are all the same.
    """
    exact = [o for o in observations if o.question.challenge.dtype != "bfloat16"]
    return bool(exact) and all(_is_other_map(o) for o in exact)


def _is_other_map(o: Observation) -> bool:
    x, g = o.question.inputs["x"], o.cotangent
    y, d = (o.answers.get(name) for name in ("emptied", "emptied_training_input_gradient"))
    base = compute_base(Form(), o.question, x)
    if y is None or d is None or base is None or y.shape != base.shape or d.shape != x.shape or not bool(d.any()):
        return False
    correlation = float((y * base).sum() / (y.norm() * base.norm()).clamp_min(1e-300))
    one, other = g @ y.T, d @ x.T
    rest = (one - other) - (one - other)[:, :1]
    terms = o.question.challenge.in_features + o.question.challenge.out_features
    allowed = (
        4 * lora.SAFETY * lora.ROUNDOFF["float32"] * terms**0.5 * float(torch.maximum(one.abs(), other.abs()).max())
    )
    return abs(correlation) < UNLIKE and float(rest.abs().max()) <= allowed


def find_dropout(readable: Sequence[Observation]) -> tuple[Cause, ...]:
    """Return the cause if numbers on the way through A and B are either zero or enlarged, all by the same factor."""
    exact = [o for o in readable if o.question.challenge.dtype != "bfloat16"]
    for traces in zip(*(list(_list_traces(o)) for o in exact), strict=False) if exact else ():
        if all(t is not None and _has_two_values(t) for t in traces) and any(bool((t == 0).any()) for t in traces):
            return (DROPOUT,)
    return ()


def _list_traces(o: Observation) -> Iterator[Tensor | None]:
    """Yield what dropout may have multiplied with, for each place: after A, after B, and x."""
    for adapter in o.adapters[:1]:
        x = o.question.inputs["x"]
        right = compute_update(Form(), o.question, x, adapter)
        filled, emptied = (o.answers.get(name) for name in ("filled", "emptied"))
        if right is None or filled is None or emptied is None or not right.shape == filled.shape == emptied.shape:
            return
        update = filled - emptied
        inner = o.question.challenge.scale * x @ adapter.a.T
        found = torch.linalg.lstsq(adapter.b, update.T).solution.T
        fits = agrees(found @ adapter.b.T, update, float(filled.abs().max()), o.question.challenge)
        yield _divide(found, inner) if fits else None
        yield _divide(update, right)
        yield _divide_gradients(o, adapter.b @ adapter.a)


def _divide_gradients(o: Observation, product: Tensor) -> Tensor | None:
    observed = o.answers.get("filled_input_gradient")
    through_w = o.cotangent @ o.question.weight
    if observed is None or observed.shape != through_w.shape:
        return None
    return _divide(observed - through_w, o.question.challenge.scale * o.cotangent @ product)


def _divide(observed: Tensor, right: Tensor) -> Tensor | None:
    """Return the ratios where the right number is large enough to divide by; rounded to zero where it is none.

    None where all that is kept has one sign, as after a ReLU.
    """
    large = right.abs() > SMALL * right.abs().max()
    ratio = observed[large] / right[large]
    ratio = torch.where(ratio.abs() < ROUNDED, torch.zeros_like(ratio), ratio)
    kept = right[large][ratio != 0]
    return ratio if bool((kept > 0).any() and (kept < 0).any()) else None


def _has_two_values(ratio: Tensor) -> bool:
    """Return True if every number is zero or one and the same other."""
    kept = ratio[ratio != 0]
    return bool(kept.numel()) and float((kept - kept[0]).abs().max()) <= 10 * ROUNDED * float(kept[0].abs())
