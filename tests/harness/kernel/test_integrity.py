"""The witness notices when it is replaced or called by a notebook, and says nothing of what notebooks may do."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import Trainer

from grader.kernel import integrity, wrapping, writing
from grader.kernel.integrity import Integrity
from grader.kernel.training import figures
from grader.kernel.training.work import Meter
from grader.protocol import events


class Place:
    """Something of a library that the witness wraps."""

    def train(self) -> None:
        return None


def trains(original: Any, place: Place) -> None:
    """Stands for what the witness does in a training."""
    writing.announce("trainings.json", "0" * 64)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What the host is told, by a witness that has just looked around."""
    found: list[tuple[str, bool]] = []

    def publish(event: dict[str, Any]) -> None:
        if event["kind"] == "suspicion":
            found.append((event["words"], event["witness"]))

    monkeypatch.setattr(wrapping, "replacements", [])
    monkeypatch.setattr(Place, "train", Place.train)  # to be undone
    wrapping.wrap(Place, "train", partial(writing_in_its_place))
    meter = Meter()
    watching = Integrity(holders=(meter,), entries=())
    monkeypatch.setattr(events, "_guards", [watching.admit])
    monkeypatch.setattr(events, "_publish", [publish])
    monkeypatch.setattr(Meter, "watching", watching, raising=False)
    return found


# In the name space of the witness, so that its code is one of the witness.
exec(
    compile("def writing_in_its_place(original, place):\n    announce('trainings.json', '0')", "<witness>", "exec"),
    writing.__dict__,
)
writing_in_its_place: Any = vars(writing).pop("writing_in_its_place")


CHANGES: dict[str, tuple[Callable[[pytest.MonkeyPatch], Any], list[tuple[str, bool]]]] = {
    "nothing": (lambda patch: None, []),
    "a subclass": (lambda patch: type("Own", (Trainer,), {"_inner_training_loop": print}), []),
    "a loop of the library": (
        lambda patch: patch.setattr(Trainer, "_inner_training_loop", lambda *a, **k: None),
        [("Trainer._inner_training_loop is replaced", False)],
    ),
    "a step of an optimiser": (lambda patch: patch.setattr(AdamW, "step", print), [("AdamW.step is replaced", False)]),
    "a step that torch has wrapped": (lambda patch: patch.setattr(AdamW, "step", AdamW.step), []),
    "what compares tensors": (
        lambda patch: patch.setattr(torch, "equal", lambda *a: True),
        [("torch.equal is replaced", True)],
    ),
    "what writes": (lambda patch: patch.setattr(json, "dumps", lambda *a: "{}"), [("json.dumps is replaced", True)]),
    "by a function of a library": (lambda patch: patch.setattr(nn.Linear, "forward", nn.Module.forward), []),
    "the witness": (
        lambda patch: patch.setattr(writing, "write_json", print),
        [("grader.kernel.writing.write_json is replaced", True)],
    ),
    "its code": (
        lambda patch: patch.setattr(figures.read_figure, "__code__", (lambda value: True).__code__),
        [("grader.kernel.training.figures.read_figure is replaced", True)],
    ),
}


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_what_is_replaced_is_told_once(
    told: list[tuple[str, bool]], change: Callable[..., Any], expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    watching: Integrity = vars(Meter)["watching"]
    with monkeypatch.context() as patch:
        change(patch)
        watching.examine()
        watching.examine()
    assert told == expected


def test_the_witness_is_called_from_where_it_put_itself(told: list[tuple[str, bool]]) -> None:
    vars(Meter)["watching"].codes.add(writing_in_its_place.__code__)
    Place().train()
    assert told == []
    writing.announce("trainings.json", hashlib.sha256().hexdigest())
    assert told == [("announce of the grader is called from outside", True)]


def test_hooks_that_are_removed_are_missed(told: list[tuple[str, bool]]) -> None:
    meter = Meter()
    meter.hooks = [register_optimizer_step_pre_hook(lambda *a: None)]
    watching = Integrity(holders=(meter,), entries=())
    watching.examine()
    assert told == []
    meter.hooks[0].remove()
    watching.examine()
    assert told == [("a hook of the optimisers is removed", True)]


def test_functions_that_are_relied_on_are_there() -> None:
    """A library that renames one of them would go unwatched."""
    tables = (*integrity.RELIED_ON, *integrity.TRAINING)
    missing = [f"{owner.__name__}.{name}" for owner, names in tables for name in names if not hasattr(owner, name)]
    assert missing == []
