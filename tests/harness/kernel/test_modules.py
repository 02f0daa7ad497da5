"""Models that keep things of their own under names of torch's methods, or whose numbers do not exist."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from grader.kernel import fence, modules
from grader.kernel.probes.toys import build_distilbert
from grader.kernel.training import loops, observation
from grader.kernel.training.recorder import Recorder
from grader.kernel.training.work import Sample
from grader.protocol.plan import Plan

TAKEN = ("parameters", "named_parameters", "modules", "children", "state_dict", "eval", "to")


@pytest.fixture
def model() -> Any:
    return build_distilbert(8, seed=1)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The faults of a test."""
    found: list[str] = []
    monkeypatch.setattr(fence, "_faults", found)
    monkeypatch.setattr(fence.events, "emit", lambda kind, **fields: None)
    return found


@pytest.mark.parametrize("name", TAKEN)
def test_names_that_a_module_has_taken(name: str) -> None:
    layer = nn.Linear(2, 3)
    whole, names = [layer.weight, layer.bias], ["weight", "bias"]
    vars(layer)[name] = [layer.weight]
    assert list(map(id, modules.list_parameters(layer))) == list(map(id, whole))
    assert [found for found, _ in modules.name_parameters(layer)] == names
    assert (modules.list_modules(layer), list(modules.read_state(layer))) == ([layer], names)
    if name != "children":  # torch itself asks for it where it changes a module: so no model with such a layer trains
        modules.evaluate(modules.convert(layer, torch.float64))
        assert (layer.training, layer.weight.dtype) == (False, torch.float64)


def test_methods_that_a_class_overrides_are_its_own() -> None:
    class Merging(nn.Linear):
        merged = False

        def eval(self) -> Any:
            self.merged = True
            return super().eval()

    layer = Merging(2, 2)
    modules.evaluate(layer)
    assert (layer.merged, layer.training) == (True, False)


def put_lazy(model: Any) -> None:
    model.pre_classifier = nn.LazyLinear(8)


def put_nowhere(model: Any) -> None:
    model.classifier = nn.Linear(8, 2, device="meta")


@pytest.mark.parametrize(("put", "numbers"), [(put_lazy, 8 * 8 + 8), (put_nowhere, 8 * 2 + 2)], ids=["lazy", "nowhere"])
def test_what_has_no_numbers_counts_as_none(model: Any, put: Any, numbers: int) -> None:
    base = dict(model.state_dict())
    whole = observation.describe_entry(model, base)
    put(model)
    entry = observation.describe_entry(model, base)
    assert (whole.trainable - entry.trainable, whole.total - entry.total) == (numbers, numbers)
    assert (len(entry.head), len(whole.head), entry.head_sha256 != whole.head_sha256) == (2, 4, True)
    assert len(Sample.of(model).parameters) > 0


class Unmade(nn.Module):
    def __init__(self) -> None:
        self.A = nn.Linear(1, 1)  # before torch's own


def test_a_module_whose_making_failed_is_no_model(model: Any) -> None:
    """It lives on in the traceback that a notebook keeps of its last error."""
    kept = Unmade.__new__(Unmade)
    with contextlib.suppress(AttributeError):
        kept.__init__()  # type: ignore[misc]
    assert loops.find_owner(torch.optim.SGD(model.parameters())) is model


RATES = {"huge": (10**400, None), "a tensor": (torch.tensor(0.5), 0.5), "usual": (0.25, 0.25)}


@pytest.mark.parametrize(("rate", "read"), RATES.values(), ids=RATES)
def test_learning_rates(rate: Any, read: float | None) -> None:
    assert loops._read_learning_rate(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=rate)) == read


class Refusing(nn.Module):
    """A module that torch cannot list: neither a Trainer nor an optimiser gets far with it."""

    def __init__(self) -> None:
        super().__init__()
        vars(self)["named_modules"] = []


def test_a_model_that_torch_cannot_list_has_no_optimiser(model: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters())
    model.dropout = Refusing()
    assert loops.find_owner(optimizer) is not model


def test_a_model_that_cannot_be_read_is_no_fault(model: Any, told: list[str], tmp_path: Path) -> None:
    save_file({"distilbert.x": torch.ones(1)}, tmp_path / "base.safetensors")
    plan = Plan(seed=0, evidence=str(tmp_path), inputs={}, base_weights=str(tmp_path / "base.safetensors"), names={})
    model.dropout = Refusing()
    entry, unrecorded = Recorder(plan).describe(model)
    assert (entry.trainable, unrecorded and unrecorded.type, told) == (0, "TypeError", [])
