"""The work of a training is what torch's optimisers, passes and gradients did, whatever a notebook says of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW
from transformers.models.distilbert.modeling_distilbert import Embeddings

from grader.kernel.probes.toys import build_distilbert
from grader.kernel.training.work import Meter
from grader.model import Profile
from grader.oracle.work import ENOUGH_COMPARED, explain_idleness, is_replaced_at_end
from grader.protocol.records import Entry, Training, Work

ROWS, STEPS, RATE = 4, 3, 1e-3


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    """A meter of this process, until the test is over."""
    monkeypatch.setattr(Embeddings, "forward", Embeddings.forward)  # to be undone
    monkeypatch.setattr(torch.autograd, "backward", torch.autograd.backward)
    measuring = Meter()
    measuring.install()
    yield measuring
    for hook in measuring.hooks:
        hook.remove()


class Noise(AdamW):
    """Moves weights at random."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    p.add_(RATE * torch.randn_like(p))


class Still(SGD):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        return None


def learn(net: nn.Module) -> None:
    labels = torch.arange(ROWS) % 2
    net(input_ids=torch.randint(5, 50, (ROWS, 6)), labels=labels).loss.backward()


def shake(net: nn.Module) -> None:
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))


def set_gradients(net: nn.Module) -> None:
    for p in net.parameters():
        p.grad = torch.randn_like(p)


Parts = tuple[type[torch.optim.Optimizer], Callable[[nn.Module], Any], Callable[[nn.Module], Any]]
# The optimiser, what comes before a step, and after it.
TRAININGS: dict[str, tuple[Parts, str]] = {
    "AdamW": ((AdamW, learn, lambda net: None), ""),
    "SGD": ((SGD, learn, lambda net: None), ""),
    "reads nothing": ((AdamW, set_gradients, lambda net: None), "reads no review"),
    "no gradients": ((Noise, lambda net: None, lambda net: None), "finds a gradient"),
    "a step that is noise": ((Noise, learn, lambda net: None), "against their gradients"),
    "noise beside the steps": ((AdamW, learn, shake), "more than the optimiser steps explain"),
    "noise and no step": ((Still, learn, shake), "more than the optimiser steps explain"),
    "nothing moves": ((Still, learn, lambda net: None), ""),
}


@pytest.mark.parametrize(("parts", "words"), TRAININGS.values(), ids=TRAININGS)
def test_work_is_told_from_none(meter: Meter, parts: Parts, words: str) -> None:
    optimiser, before, after = parts
    net = build_distilbert(16, 0)
    steps = optimiser(net.parameters(), lr=RATE)
    meter.begin(0, lambda: net, lambda: STEPS)
    for _ in range(STEPS):
        before(net)
        steps.step()
        steps.zero_grad()
        after(net)
    work = meter.end(0)
    assert work is not None
    assert work.steps == STEPS
    said = explain_idleness(training(work), Profile.STRUCTURE) or ""
    assert words in said
    assert bool(words) == bool(said)


def test_random_moves_of_a_head_do_not_pass_by_its_small_tensors(meter: Meter) -> None:
    net = build_distilbert(64, 0)
    net.distilbert.requires_grad_(False)
    for index in range(20):
        steps = Noise([p for p in net.parameters() if p.requires_grad], lr=RATE)
        meter.begin(index, lambda: net, lambda: STEPS)
        for _ in range(STEPS):
            learn(net)
            steps.step()
            steps.zero_grad()
        work = meter.end(index)
        assert work is not None
        assert "against their gradients" in (explain_idleness(training(work), Profile.STRUCTURE) or ""), work


def test_nothing_is_counted_in_a_pause_and_of_other_models(meter: Meter) -> None:
    net, other = build_distilbert(16, 0), build_distilbert(16, 1)
    meter.begin(0, lambda: net, lambda: STEPS)
    with meter.pause():
        learn(net)
    AdamW(other.parameters()).step()
    assert meter.end(0) == Work()
    assert meter.end(0) is None


def training(work: Work | None, via: str = "Trainer", finished: bool = True, epochs: float = 1) -> Training:
    entry = Entry("M", trainable=1, total=1)
    return Training(0, via, finished, entry, arguments={"num_train_epochs": epochs}, work=work)


DONE = {"steps": 2, "gradients": 2, "reviews": 8, "moved": 1e-3}
MOVES = {"compared": ENOUGH_COMPARED, "against": ENOUGH_COMPARED // 2}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(training(Work(**DONE)), None, id="work"),
        pytest.param(training(Work(**{**DONE, "steps": 1})), "takes 1 of at least 2", id="too few steps"),
        pytest.param(training(Work(**{**DONE, "steps": 1}), epochs=3), None, id="stopped after an epoch"),
        pytest.param(training(Work(**{**DONE, "steps": 1}), via="loop"), None, id="a short loop"),
        pytest.param(training(Work()), "takes no optimiser steps", id="no step"),
        pytest.param(training(None), "cannot be seen", id="not recorded"),
        pytest.param(training(Work(), finished=False), None, id="broken off: it may have had no time"),
        pytest.param(training(Work(**DONE, **MOVES)), "against their gradients", id="random moves"),
        pytest.param(training(Work(**DONE, compared=20, against=9)), None, id="too few to tell"),
        pytest.param(training(Work(**{**DONE, "moved": None}, apart=None)), None, id="diverged"),
        pytest.param(
            training(Work(**{**DONE, "moved": 0.0}, after=0.1)), "no optimiser step changes", id="set at the end"
        ),
        pytest.param(training(Work(**DONE, after=0.1)), None, id="the best epoch loaded at the end"),
    ],
)
def test_what_a_training_lacks(given: Training, words: str | None) -> None:
    said = explain_idleness(given, Profile.STRUCTURE)
    assert said is None if words is None else words in (said or "")


@pytest.mark.parametrize(
    ("moved", "after", "replaced"),
    [
        pytest.param(0.01, 0.0, False, id="left as the last step left it"),
        pytest.param(0.01, 0.008, False, id="the best epoch, or an average of steps"),
        pytest.param(0.01, 0.03, True, id="made anew"),
        pytest.param(None, 0.03, False, id="diverged: nothing to compare with"),
        pytest.param(0.01, None, False, id="not finite at the end"),
    ],
)
def test_weights_that_no_step_leads_to(moved: float | None, after: float | None, replaced: bool) -> None:
    assert is_replaced_at_end(Work(steps=STEPS, moved=moved, after=after)) is replaced
