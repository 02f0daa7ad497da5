"""Mistakes in the tensors that a layer registers, told from their shapes in all challenges together."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from grader.challenges import LoraChallenge
from grader.oracle.mistakes.causes import Cause
from grader.oracle.mistakes.table import NO_BIAS

Shape = tuple[int, ...]

ASSIGN: Final = "Assign A and B to `self` as `nn.Parameter` or `nn.Linear(..., bias=False)`, with sizes from `rank`."
FROM_RANK: Final = "Use the argument `rank` for the size of A and B, not a number."
FROM_W: Final = "Use `W.in_features` and `W.out_features` for the sizes of A and B, not a number."
LAZY: Final = Cause(
    "lazy_adapter",
    "they are created in the first forward pass, when an optimiser already has its list of parameters",
    "Create A and B in `__init__`; `forward` only uses them.",
)
FROZEN: Final = Cause(
    "adapter_frozen",
    "A and B are frozen (`requires_grad` is False)",
    "Freeze only W: A and B need `requires_grad` True.",
)
PLAIN: Final = Cause("not_registered", "plain tensors and items of a list are not registered", ASSIGN)
A_BIAS: Final = Cause("adapter_bias_A", "A has a bias", NO_BIAS)
B_BIAS: Final = Cause("adapter_bias_B", "B has a bias", NO_BIAS)
BOTH_BIASES: Final = Cause("adapter_biases", "A and B have a bias", NO_BIAS)
MAGNITUDE: Final = Cause(
    "magnitude",
    "the lengths of W's rows or columns are trained as well, as in DoRA",
    "Leave the magnitude of DoRA out: plain LoRA trains A and B only.",
)
SCALE: Final = Cause(
    "scale_trainable",
    "a single number is trainable besides A and B",
    "Keep alpha / rank as a plain number: it is not trained.",
)
SECOND_W: Final = Cause(
    "second_W",
    "one trainable matrix is as large as W's weight",
    "Keep the given W frozen, and make no second matrix of its size.",
)
SQUARE: Final = Cause(
    "square_adapter",
    "one matrix as large as W's weight takes the place of A and B",
    "Make A and B thin: one side of each has the size `rank`.",
)
ONLY_ONE: Final = Cause("only_one", "only one of the two matrices is registered", ASSIGN)
RANK_IS_ALPHA: Final = Cause("rank_is_alpha", "A and B have the rank alpha, not `rank`", FROM_RANK)
MOVED: Final = Cause(
    "parameter_moved",
    "returns a plain tensor, which is not trained",
    "Move the tensor first: `nn.Parameter(torch.randn(..., device=device))`.",
)


@dataclass(frozen=True)
class Registered:
    """What one layer registers that is trainable and none of W's tensors."""

    challenge: LoraChallenge
    shapes: tuple[Shape, ...]
    frozen: bool  # it registers more tensors than W's own, none of them trainable
    later: bool  # it registers more of them in its first forward pass


def explain(found: Sequence[Registered]) -> tuple[Cause, ...]:
    """Return the causes that explain the trainable tensors in all challenges; none where nothing explains them."""
    if not found:
        return ()
    possible = [list(_list_possible(one)) for one in found]
    common = [causes for causes in possible[0] if all(causes in others for others in possible[1:])]
    return common[0] if common else ()


def _list_possible(one: Registered) -> Iterator[tuple[Cause, ...]]:
    if not one.shapes:
        yield (LAZY,) if one.later else (FROZEN,) if one.frozen else (PLAIN,)
        return
    width, height = one.challenge.in_features, one.challenge.out_features
    for k in sorted({side for shape in one.shapes for side in shape}):
        for rank in _explain_rank(k, one.challenge):
            for extra in _explain_rest(one.shapes, k, width, height):
                yield (*rank, *extra)
    yield from _list_without_pair(one)


def _explain_rank(k: int, challenge: LoraChallenge) -> Iterator[tuple[Cause, ...]]:
    """Yield what makes the rank k: it is the rank asked for, alpha, or written as a number."""
    if k == challenge.rank:
        yield ()
    if k == challenge.alpha:
        yield (RANK_IS_ALPHA,)
    yield (Cause("rank_hard_coded", f"that is rank {k}, whatever `rank` is", FROM_RANK),)


def _explain_rest(shapes: Sequence[Shape], k: int, width: int, height: int) -> Iterator[tuple[Cause, ...]]:
    """Yield what there is besides one A and one B of rank k."""
    for a in ((k, width), (width, k)):
        for b in ((height, k), (k, height)):
            rest = Counter(shapes)
            rest.subtract((a, b))
            if all(count >= 0 for count in rest.values()):
                yield from _name_rest(sorted(rest.elements()), k, width, height)


def _name_rest(rest: Sequence[Shape], k: int, width: int, height: int) -> Iterator[tuple[Cause, ...]]:
    known: list[tuple[list[Shape], tuple[Cause, ...]]] = [
        ([], ()),
        ([(k,)], (A_BIAS,)),
        ([(height,)], (B_BIAS,)),
        (sorted([(k,), (height,)]), (BOTH_BIASES,)),
        ([(height, 1)], (MAGNITUDE,)),
        ([(1, width)], (MAGNITUDE,)),
        ([(height,)], (MAGNITUDE,)),
        ([()], (SCALE,)),
        ([(1,)], (SCALE,)),
        ([(height, width)], (SECOND_W,)),
        (sorted([(height,), (height, width)]), (SECOND_W,)),
    ]
    yield from (causes for shapes, causes in known if shapes == list(rest))


def _list_without_pair(one: Registered) -> Iterator[tuple[Cause, ...]]:
    """Yield what explains tensors among which there is no A with its B."""
    challenge, shapes = one.challenge, one.shapes
    rank, width, height = challenge.rank, challenge.in_features, challenge.out_features
    if len(shapes) == 1 and shapes[0] in ((rank, width), (width, rank), (height, rank), (rank, height)):
        yield (ONLY_ONE,)
    if shapes[0] in ((height, width), (width, height)) and len(shapes) <= 2 and all(len(s) == 1 for s in shapes[1:]):
        yield (SQUARE,)
    numbers = sorted({side for shape in shapes for side in shape} - {rank, width, height})
    if len(shapes) == 2 and all(len(shape) == 2 for shape in shapes) and numbers:
        written = " and ".join(map(str, numbers))
        yield (Cause("size_hard_coded", f"A or B has the size {written}, whatever W's size is", FROM_W),)
