"""Which training is judged as which method."""

from dataclasses import dataclass

import pytest

from grader.model import Method
from grader.oracle.methods import attribute


@dataclass(frozen=True)
class Seen:
    """What placing a training needs to know of it."""

    wrapped: bool
    encoder_frozen: bool
    finished: bool = True


F, H = Seen(wrapped=False, encoder_frozen=False), Seen(wrapped=False, encoder_frozen=True)
L, M = Seen(wrapped=True, encoder_frozen=False), Seen(wrapped=True, encoder_frozen=True)
f, h, m = (Seen(s.wrapped, s.encoder_frozen, finished=False) for s in (F, H, L))
FULL, HEAD, LORA = Method


@pytest.mark.parametrize(
    ("trainings", "placed"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([F], {FULL: 0}, id="step 1 only"),
        pytest.param([H], {HEAD: 0}, id="step 2 only"),
        pytest.param([L], {LORA: 0}, id="step 3 only"),
        pytest.param([F, H], {FULL: 0, HEAD: 1}, id="no LoRA"),
        pytest.param([F, H, L], {FULL: 0, HEAD: 1, LORA: 2}, id="as asked"),
        pytest.param([F, H, M], {FULL: 0, HEAD: 1, LORA: 2}, id="wrapped with frozen adapters"),
        pytest.param([L, H, F], {FULL: 2, HEAD: 1, LORA: 0}, id="in reverse"),
        pytest.param([F, F, H, L], {FULL: 1, HEAD: 2, LORA: 3}, id="step 1 twice"),
        pytest.param([F, H, H, L], {FULL: 0, HEAD: 2, LORA: 3}, id="step 2 twice"),
        pytest.param([F, H, L, L], {FULL: 0, HEAD: 1, LORA: 3}, id="step 3 twice"),
        pytest.param([F, H, L, m], {FULL: 0, HEAD: 1, LORA: 2}, id="step 3 again, broken off"),
        pytest.param([f, F, H, L], {FULL: 1, HEAD: 2, LORA: 3}, id="step 1 broken off, then whole"),
        pytest.param([F, h, L], {FULL: 0, HEAD: 1, LORA: 2}, id="step 2 broken off"),
        pytest.param([F, F, L], {FULL: 0, HEAD: 1, LORA: 2}, id="nothing frozen in step 2"),
        pytest.param([F, F], {FULL: 0, HEAD: 1}, id="nothing frozen in step 2, no LoRA"),
        pytest.param([H, H, L], {FULL: 0, HEAD: 1, LORA: 2}, id="all frozen in step 1"),
        pytest.param([F, F, F], {FULL: 0, HEAD: 1, LORA: 2}, id="nothing ever frozen or wrapped"),
        pytest.param([F, H, H], {FULL: 0, HEAD: 1, LORA: 2}, id="adapters never put in, encoder frozen"),
    ],
)
def test_placement(trainings: list[Seen], placed: dict[Method, int]) -> None:
    assert attribute(trainings) == placed


@pytest.mark.parametrize("trainings", [[F, H, F], [F, H, F, F], [L, F, H, F]], ids=["last", "two last", "after LoRA"])
def test_no_training_is_placed_twice(trainings: list[Seen]) -> None:
    placed = attribute(trainings)
    assert len(set(placed.values())) == len(placed)
