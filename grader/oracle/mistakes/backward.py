"""Mistakes that show only in gradients: what is zero, and which way the gradient of x took."""

from collections.abc import Mapping, Sequence
from typing import Final

from torch import Tensor

from grader.oracle import lora
from grader.oracle.mistakes.causes import Cause
from grader.oracle.mistakes.observations import Observation

DIRECTLY: Final = "Compute the output from x, A and B directly: without `detach()`, `torch.no_grad()` and `.data`."
THROUGH_W: Final = (
    "Call `W(x)` without `torch.no_grad()` and `detach()`: W is frozen by `requires_grad`, and gradients still have to "
    "pass through it."
)
BOTH_ZERO: Final = Cause(
    "both_zero", "both A and B start at zero", "Start only one of A and B at zero, and the other with random values."
)
W_TRAINABLE: Final = Cause(
    "W_trainable",
    "W, or a copy of it, is trainable",
    "Keep W frozen, as it is when it is passed in: only A and B are trainable.",
)
BOTH_CUT: Final = Cause(
    "both_cut", "the update, or what it is made of, is detached (`detach()`, `torch.no_grad()`, `.data`)", DIRECTLY
)
ONE_CUT: Final = Cause(
    "one_cut", "one of them is detached on the way to the output (`detach()`, `torch.no_grad()`, `.data`)", DIRECTLY
)
FULL, W_ONLY, UPDATE_ONLY, NOTHING = "through both", "through W", "through the update", "nothing"
# (A has a gradient, B has one, the way of the gradient of x) -> what cuts it
CUTS: Final[Mapping[tuple[bool, bool, str], Cause]] = {
    (False, True, W_ONLY): Cause(
        "detached", "the result of A is detached before B (`detach()`, `torch.no_grad()`)", DIRECTLY
    ),
    (False, False, W_ONLY): Cause("no_grad", "the update is detached, or computed under `torch.no_grad()`", DIRECTLY),
    (False, False, FULL): Cause("weight_data", "A and B are detached, or read through `.data`", DIRECTLY),
    (False, True, FULL): Cause("A_detached", "A is detached, or read through `.data`", DIRECTLY),
    (True, False, FULL): Cause("B_detached", "B is detached, or read through `.data`", DIRECTLY),
    (True, True, W_ONLY): Cause("x_detached", "x is detached on its way to A", DIRECTLY),
    (True, True, UPDATE_ONLY): Cause(
        "base_no_grad", "W(x) is detached, or computed under `torch.no_grad()`", THROUGH_W
    ),
    (False, False, NOTHING): Cause(
        "all_no_grad", "the whole output is detached, or computed under `torch.no_grad()`", DIRECTLY
    ),
}


def explain(observations: Sequence[Observation], scales: Sequence[float | None], plain: bool) -> Cause | None:
    """Return what cuts the gradients in all challenges; None where nothing fits.

    `plain`: the layer computes W(x) + scale · B(A(x)). Of others, only what is missing is looked at.
    """
    if not plain:
        return _explain_missing(observations)
    found = {_explain(o, scale) for o, scale in zip(observations, scales, strict=True)}
    known = found.pop() if len(found) == 1 else None
    return known or _explain_missing(observations)


def _explain_missing(observations: Sequence[Observation]) -> Cause | None:
    """Return what can be said of any layer whose adapter has no gradients, from which of its two tensors lack one."""
    counts = set()
    for o in observations:
        gradients = [o.answers.get(f"filled_gradient{i}") for i in range(len(o.shapes))]
        counts.add((len(gradients), sum(g is not None and not bool(g.any()) for g in gradients)))
    return {(2, 2): BOTH_CUT, (2, 1): ONE_CUT}.get(counts.pop()) if len(counts) == 1 else None


def _explain(o: Observation, scale: float | None) -> Cause | None:
    """Compare the gradients in one challenge with those of a right layer, cut in each place."""
    tensors = lora.split(o.fill, o.shapes)
    observed = [o.answers.get(f"filled_{name}") for name in ("input_gradient", "gradient0", "gradient1")]
    if scale is None or any(gradient is None for gradient in observed):
        return None
    challenge, x = o.question.challenge, o.question.inputs["x"]
    given = x, o.cotangent, o.question.weight, tensors, scale, challenge
    through_w = lora.compute_input_gradient(o.cotangent, o.question.weight)
    firsts = [i for i in range(2) if _is_a(tensors, i, o)]
    for first, expected in zip(firsts, lora.list_expected_gradients(*given), strict=False):
        ways = {FULL: expected.input, W_ONLY: through_w, UPDATE_ONLY: expected.input - through_w}
        has = [_has(observed[1 + i], expected.adapter[i], o) for i in range(2)]
        way = _find_way(observed[0], ways, o)
        if way and None not in has and (cut := CUTS.get((bool(has[first]), bool(has[1 - first]), way))):
            return cut
    return None


def _is_a(tensors: Sequence[Tensor], index: int, o: Observation) -> bool:
    """Return True if `list_expected_gradients` reads the tensor of this index as A."""
    c = o.question.challenge
    sides = {c.rank, c.in_features}, {c.rank, c.out_features}
    return len(tensors) == 2 and (set(tensors[index].shape), set(tensors[1 - index].shape)) == sides


def _has(observed: Tensor | None, expected: Tensor, o: Observation) -> bool | None:
    """Return True for the right gradient, False for none, None for a wrong one."""
    if observed is None:
        return None
    if not bool(observed.any()):
        return False
    return True if lora.gradients_agree(observed, expected, o.question.challenge) else None


def _find_way(observed: Tensor | None, ways: Mapping[str, Tensor], o: Observation) -> str:
    if observed is None:
        return ""
    if not bool(observed.any()):
        return NOTHING
    return next((way for way, t in ways.items() if lora.gradients_agree(observed, t, o.question.challenge)), "")
