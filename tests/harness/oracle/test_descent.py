"""Whether weights moved along gradients: trained for a few steps, or made up."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from grader.oracle import descent
from grader.oracle.gradients import run_distilbert
from tests.harness.oracle.test_gradients import WIDTH, build

STATE = {name: tensor.detach() for name, tensor in build().state_dict().items()}
BASE = {name: tensor for name, tensor in STATE.items() if name.startswith("distilbert.")}
HEAD = {name: tensor for name, tensor in STATE.items() if name not in BASE}
QV = descent.QUERIES_AND_VALUES
DICE = torch.Generator().manual_seed(0)
SAMPLE = torch.randint(4, 50, (8, 6), generator=DICE), torch.ones(8, 6, dtype=torch.long)
MADE_UP = {name: torch.randn(tensor.shape, generator=DICE) * 0.3 for name, tensor in HEAD.items()}

Left = dict[str, Tensor]


@pytest.fixture(autouse=True)
def _bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance has a larger share in layers that are 24 wide than in those of 768."""
    monkeypatch.setattr(descent, "ENCODER_SHARE", 2.0)


def train(trained: list[str], rate: float = 0.1, labels: Callable[[], Tensor] | None = None, rank: int = 0) -> Left:
    """Train some tensors, or adapters of a rank beside query and value layers and the head."""
    dice, (ids, mask) = torch.Generator().manual_seed(1), SAMPLE  # in a network this small, others have other gradients
    weights = {name: STATE[name].clone().requires_grad_() for name in trained}
    adapters = {
        name: (torch.randn(rank, WIDTH, generator=dice).requires_grad_(), torch.zeros(WIDTH, rank).requires_grad_())
        for name in (QV if rank else ())
    }
    optimizer = torch.optim.SGD([*weights.values(), *(one for pair in adapters.values() for one in pair)], lr=rate)
    for _ in range(4):
        state = {**STATE, **weights, **{name: STATE[name] + b @ a for name, (a, b) in adapters.items()}}
        wanted = torch.arange(8) // 4 if labels is None else labels()
        optimizer.zero_grad()
        functional.cross_entropy(run_distilbert(state, ids, mask), wanted).backward()
        optimizer.step()
    left = {f"w:{name}": tensor.detach() for name, tensor in {**HEAD, **weights}.items()}
    return left | {f"d:{name}": (b @ a).detach() for name, (a, b) in adapters.items()}


def name_head(tensors: Left) -> Left:
    return {f"w:{name}": tensor for name, tensor in tensors.items()}


def invent_encoder(head: Left) -> Left:
    return head | {f"w:{name}": BASE[name] + 0.01 * torch.randn(WIDTH, WIDTH, generator=DICE) for name in QV}


def invent_adapters(head: Left) -> Left:
    thin = {name: torch.randn(WIDTH, 3, generator=DICE) @ torch.randn(3, WIDTH, generator=DICE) for name in QV}
    return head | {f"d:{name}": 0.01 * tensor for name, tensor in thin.items()}


def swap_labels() -> Tensor:
    return 1 - torch.arange(8) // 4


def take_ones() -> Tensor:
    """With both labels, the steps of a network that knows nothing cancel each other in its main direction."""
    return torch.ones(8, dtype=torch.long)


ENTRY = {f"head:{name}": tensor for name, tensor in HEAD.items()}
CASES = [
    pytest.param(lambda: train(list(STATE), labels=take_ones), True, id="everything trained"),
    pytest.param(lambda: train(list(HEAD)), True, id="the head trained"),
    pytest.param(lambda: train(list(HEAD), rank=3), True, id="adapters trained"),
    pytest.param(lambda: train(list(HEAD), labels=swap_labels), True, id="the head trained on swapped labels"),
    pytest.param(lambda: name_head(MADE_UP), False, id="a head made up"),
    pytest.param(lambda: invent_encoder(name_head(MADE_UP)), False, id="everything made up"),
    pytest.param(lambda: invent_adapters(name_head(MADE_UP)), False, id="adapters made up"),
    pytest.param(lambda: invent_encoder(train(list(HEAD))), False, id="an encoder made up beside a trained head"),
    pytest.param(lambda: {}, None, id="no head"),
    pytest.param(lambda: name_head(HEAD | {"classifier.weight": torch.zeros(40, 1, 1)}), None, id="another head"),
]


@pytest.mark.parametrize(("leave", "expected"), CASES)
def test_descent(leave: Callable[[], Left], expected: bool | None) -> None:
    assert descent.moves_along_gradients(leave(), ENTRY, BASE, *SAMPLE) is expected


def test_other_shapes_than_the_checkpoints_are_left_out() -> None:
    left = train(list(HEAD)) | {f"d:{QV[0]}": torch.zeros(40, 1, 1), "d:pre_classifier.weight": torch.zeros(3)}
    assert descent.moves_along_gradients(left, {}, BASE, *SAMPLE) is None


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_no_training(number: float) -> None:
    left = {name: torch.full_like(tensor, number) for name, tensor in train(list(STATE)).items()}
    assert descent.moves_along_gradients(left, {}, BASE, *SAMPLE) is False
