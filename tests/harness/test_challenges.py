"""The questions of the probes: the same for a seed, others for another, and none that a mistake answers rightly."""

import ast
import json

import pytest

from grader import challenges
from grader.challenges import ADVISORY, DISTINCT, DTYPES, ROWS, Challenges, list_wrong_scales
from grader.kernel.probes import toys

DRAWS = [challenges.draw(seed) for seed in range(40)]
LORA = [(drawn, challenge) for drawn in DRAWS for challenge in drawn.lora]


def describe(drawn: Challenges) -> str:
    numbers = {name: tensor.tolist() for name, tensor in drawn.lora_tensors.items()}
    return json.dumps([drawn.build_requests("given.safetensors"), list(map(str, drawn.lora)), numbers])


def test_a_seed_draws_the_same_again_and_every_seed_something_else() -> None:
    described = [describe(drawn) for drawn in DRAWS[:10]]
    assert described == [describe(challenges.draw(seed)) for seed in range(10)]
    assert len(set(described)) == 10


@pytest.mark.parametrize("part", ["lora", "toys", "models"])
def test_every_part_differs_between_seeds(part: str) -> None:
    assert len({str(getattr(drawn, part)) for drawn in DRAWS}) == len(DRAWS)


def test_no_wrong_scale_is_near_the_right_one() -> None:
    """But at rank 1, where several are right: another challenge of the draw tells them."""
    for _, challenge in LORA:
        wrong = list_wrong_scales(challenge.rank, challenge.alpha).values()
        near = [scale for scale in wrong if abs(scale - challenge.scale) <= DISTINCT * challenge.scale]
        assert not near or (challenge.rank, set(near)) == (1, {challenge.scale}), str(challenge)


@pytest.mark.parametrize("drawn", DRAWS[:10], ids=range(10))
def test_every_draw_covers_what_layers_differ_in(drawn: Challenges) -> None:
    graded = [challenge for challenge in drawn.lora if challenge.graded]
    assert [challenge.dtype for challenge in graded] == list(DTYPES)
    assert {challenge.bias for challenge in graded} == {True, False}
    assert graded[0].rank == 1
    assert all(challenge.in_features == challenge.out_features for challenge in graded)
    advisory = [challenge for challenge in drawn.lora if not challenge.graded]
    assert len(advisory) == ADVISORY
    assert all(challenge.in_features < challenge.out_features for challenge in advisory)


def test_tensors_have_the_shapes_of_their_challenge() -> None:
    for drawn, c in LORA:
        shapes = {
            "weight": (c.out_features, c.in_features),
            "bias": (c.out_features,),
            "x": (ROWS, c.in_features),
            "x3": (2, 3, c.in_features),
            "cotangent": (ROWS, c.out_features),
        }
        assert {name: tuple(drawn.lora_tensors[f"{c.key}.{name}"].shape) for name in shapes} == shapes
        assert drawn.lora_tensors[f"{c.key}.fill"].numel() > c.rank * (c.in_features + c.out_features)


def test_the_call_in_words_is_python() -> None:
    for _, challenge in LORA:
        call, _, precision = str(challenge).removeprefix("`").partition("`")
        assert ast.parse(call, mode="eval")
        assert ("bias=False" in call) is not challenge.bias
        assert precision == ("" if challenge.dtype == "float32" else f" in {challenge.dtype}")


def test_toy_models_are_counted_as_pytorch_counts_them() -> None:
    for toy in (toy for drawn in DRAWS for toy in drawn.toys):
        parameters = list(toys.build(toy.description).parameters())
        assert toy.trainable == sum(p.numel() for p in parameters if p.requires_grad), toy.words
        assert [(p.shape, p.size, p.trainable) for p in toy.tensors] == [
            (tuple(p.shape), p.numel(), p.requires_grad) for p in parameters
        ], toy.words


def test_a_seed_is_secret_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges.secrets, "randbelow", lambda below: below - 1)
    assert (challenges.choose_seed(7), challenges.choose_seed(None)) == (7, 2**31 - 1)
    assert (challenges.derive_training_seed(7), challenges.derive_training_seed(2**31 - 1)) == (7, 4095)
