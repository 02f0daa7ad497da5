"""The right answers of a LoRA layer: equal to PyTorch's, told from every usual mistake, and from the source."""

from math import prod

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from grader import challenges
from grader.challenges import LoraChallenge, list_wrong_scales
from grader.oracle import lora

repeatable = settings(derandomize=True, deadline=None, max_examples=40)
SEEDS = range(6)
sizes = st.integers(1, 40)


def layer(rank: int, width: int, height: int, dtype: str = "float64", alpha: int = 3) -> LoraChallenge:
    return LoraChallenge("c", rank, alpha, dtype, bias=True, in_features=width, out_features=height, graded=True)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Answer:
    """A layer's numbers in one challenge of a draw, as a layer that computes in float32 or better gives them."""

    def __init__(self, challenge: LoraChallenge, given: dict[str, Tensor]) -> None:
        self.challenge = challenge
        self.x, weight, bias, fill = (given[f"{challenge.key}.{name}"] for name in ("x", "weight", "bias", "fill"))
        shapes = (challenge.rank, challenge.in_features), (challenge.out_features, challenge.rank)
        self.tensors = lora.split(fill, shapes)
        a, b = self.tensors
        self.product = self.x.double() @ a.T @ b.T
        self.base = lora.compute_base_output(self.x, weight, bias)

    def fit(self, update: Tensor) -> lora.Fit:
        """Fit the update as it is observed: a difference of two outputs, each rounded."""
        filled, emptied = (self.base + update).float().double(), self.base.float().double()
        magnitude = float(max(filled.abs().max(), emptied.abs().max()))
        return lora.fit(filled - emptied, self.x, self.tensors, self.challenge, magnitude)


ANSWERS = [
    Answer(challenge, drawn.lora_tensors)
    for drawn in map(challenges.draw, SEEDS)
    for challenge in drawn.lora
    if challenge.dtype != "bfloat16"  # too coarse to tell every mistake from the right answer in every draw
]


@repeatable
@given(rows=sizes, width=sizes, height=sizes, bias=st.booleans(), seed=st.integers(0, 99))
def test_the_base_output_is_pytorchs(rows: int, width: int, height: int, bias: bool, seed: int) -> None:
    linear = nn.Linear(width, height, bias=bias, dtype=torch.float64)
    x = normal(seed, rows, width)
    found = lora.compute_base_output(x, linear.weight, linear.bias)
    torch.testing.assert_close(found, linear(x), rtol=1e-12, atol=1e-12)


FORMS = st.tuples(st.booleans(), st.booleans(), st.sampled_from(["float32", "float64", "bfloat16"]))


@repeatable
@given(rank=st.integers(1, 12), width=sizes, height=sizes, alpha=sizes, seed=st.integers(0, 99), form=FORMS)
def test_what_pytorch_computes_fits(
    rank: int, width: int, height: int, alpha: int, seed: int, form: tuple[bool, bool, str]
) -> None:
    """In every precision, with A and B as they are or, where their shapes tell it, transposed, in either order."""
    turned, swapped, dtype = form
    assume(not turned or rank not in (width, height))
    precision = getattr(torch, dtype)
    x, weight, a, b = (
        normal(seed + i, *shape).to(precision)
        for i, shape in enumerate(((8, width), (height, width), (rank, width), (height, rank)))
    )
    emptied = nn.functional.linear(x, weight)
    filled = emptied + alpha / rank * nn.functional.linear(nn.functional.linear(x, a), b)
    tensors = [tensor.double() for tensor in ((a.T, b.T) if turned else (a, b))]
    update = filled.double() - emptied.double()
    magnitude = float(max(filled.abs().max(), emptied.abs().max()))
    challenge = layer(rank, width, height, dtype, alpha)
    found = lora.fit(update, x, tensors[::-1] if swapped else tensors, challenge, magnitude)
    assert (found.matches, found.unreadable) == (True, False)


@pytest.mark.parametrize("mistake", list_wrong_scales(2, 3))
def test_every_wrong_scale_is_told_from_the_right_one(mistake: str) -> None:
    for answer in ANSWERS:
        challenge = answer.challenge
        wrong = list_wrong_scales(challenge.rank, challenge.alpha)[mistake]
        if wrong == challenge.scale:  # at rank 1, several mistakes are none
            assert challenge.rank == 1
            continue
        found = answer.fit(wrong * answer.product)
        assert not found.matches, (str(challenge), mistake)
        assert found.observed_scale == pytest.approx(wrong, rel=1e-3, abs=1e-3)
        assert mistake in lora.name_scale(found.observed_scale, challenge)


def test_the_right_scale_is_recognised_in_every_draw() -> None:
    for answer in ANSWERS:
        found = answer.fit(answer.challenge.scale * answer.product)
        assert found.matches
        assert found.observed_scale == pytest.approx(answer.challenge.scale, rel=1e-3)
        if answer.challenge.rank > 1:
            assert lora.name_scale(answer.challenge.scale, answer.challenge) == []


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param([], id="none"),
        pytest.param([(2, 8)], id="one"),
        pytest.param([(2, 8), (8, 2), (2,)], id="three"),
        pytest.param([(3, 8), (8, 3)], id="another rank"),
        pytest.param([(2, 8), (2, 8)], id="two of A, where W is not square"),
    ],
)
def test_tensors_of_other_shapes_are_unreadable(shapes: list[tuple[int, ...]]) -> None:
    challenge = layer(rank=2, width=8, height=9)
    tensors = [normal(0, *shape) for shape in shapes]
    found = lora.fit(torch.zeros(4, 9), torch.ones(4, 8), tensors, challenge, 1.0)
    assert (found.unreadable, found.matches, found.observed_scale) == (True, False, None)


@pytest.mark.parametrize(("factor", "agrees"), [(1.0, True), (1.001, False), (0.0, False)])
def test_an_adapter_full_of_ones_tells_the_scale_of_any_layer(factor: float, agrees: bool) -> None:
    challenge = layer(rank=2, width=8, height=9, alpha=6)
    x, emptied = normal(0, 4, 8), normal(1, 4, 9)
    tensors = {"c.emptied": emptied, "c.ones": emptied + factor * challenge.alpha * x.sum(-1, keepdim=True)}
    assert lora.ones_agree(tensors, x, challenge) is agrees
    assert not lora.ones_agree({"c.ones": tensors["c.ones"]}, x, challenge)


@repeatable
@given(shapes=st.lists(st.lists(st.integers(0, 6), max_size=3).map(tuple), max_size=5), size=st.integers(1, 300))
def test_values_are_handed_out_in_order_and_from_the_start_again(shapes: list[tuple[int, ...]], size: int) -> None:
    parts = lora.split(torch.arange(size), shapes)
    assert [tuple(part.shape) for part in parts] == shapes
    flat = [int(value) for part in parts for value in part.flatten()]
    assert flat == [number % size for number in range(sum(map(prod, shapes)))]
    assert lora.split(torch.ones(size), [(2**13, 2**13)]) == []  # absurd


# Parameters that are moved after they are made: wrong on a GPU only, so the source is read.

CLASS = """
class LoRALayer(nn.Module):
    def __init__(self, W, rank=12, alpha=24, device=None, dtype=None):
        super().__init__()
        self.A = {}
"""
PARAMETER = "nn.Parameter(torch.randn(2, 3))"


STAYS = ".float() .to(torch.float32) .to(dtype=torch.float) .to(W.weight.dtype) .to(dtype) .type(torch.float32)"
STAYS += " .to(dtype=W.weight.dtype,non_blocking=flag) .to(torch.get_default_dtype())"
MADE_THERE = ["nn.Parameter(torch.randn(2, 3).to(device))", "nn.Linear(2, 3).to(device)"]


@pytest.mark.parametrize("made", [PARAMETER, *(PARAMETER + call for call in STAYS.split()), *MADE_THERE])
def test_parameters_that_stay(made: str) -> None:
    assert lora.find_moved_parameter([CLASS.format(made)], "LoRALayer") is None


MOVES = "to(device) to(device=device) to('cuda') to(W.weight.device) to(W.weight) to(W.weight.device,W.weight.dtype)"
MOVES += " to(**placement) type(torch.cuda.FloatTensor) cuda() half() double()"


@pytest.mark.parametrize("call", MOVES.split())
def test_parameters_that_are_moved(call: str) -> None:
    found = lora.find_moved_parameter([CLASS.format(f"{PARAMETER}.{call}")], "LoRALayer")
    assert found == f"nn.Parameter(...).{call.partition('(')[0]}(...)"


def test_the_last_definition_counts() -> None:
    moving, right = CLASS.format("Parameter(t).cuda()"), CLASS.format("nn.Parameter(t)")
    assert lora.find_moved_parameter([moving, "%magic", right], "LoRALayer") is None
    assert lora.find_moved_parameter([right, moving], "LoRALayer") == "Parameter(...).cuda(...)"
    assert lora.find_moved_parameter([moving], "Other") is None


@pytest.mark.parametrize("seed", range(10))
def test_a_right_update_has_its_rank_and_a_single_number_has_rank_1(seed: int) -> None:
    drawn = challenges.draw(seed)
    for question in (question for question in drawn.lora if question.graded):
        dtype = getattr(torch, question.dtype)
        x, fill = (drawn.lora_tensors[f"{question.key}.{name}"].to(dtype) for name in ("x", "fill"))
        split = question.rank * question.in_features
        a = fill[:split].view(question.rank, -1)
        b = fill[split : split + question.rank * question.out_features].view(-1, question.rank)
        update, mean = question.scale * x @ a.T @ b.T, fill.mean() * x.sum(-1, keepdim=True)
        assert lora.has_its_rank(update, question, float(update.abs().max()))
        if dtype != torch.bfloat16 and question.rank > 1:
            assert not lora.has_its_rank(mean.expand(-1, question.out_features), question, float(update.abs().max()))
