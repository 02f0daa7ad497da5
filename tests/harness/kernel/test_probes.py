"""What a student's function or layer answers, however odd, is an observation: never a fault of the grader."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from grader.kernel import fence
from grader.kernel.probes import functions, lora

TOY = {"sizes": [3, 2]}
BERT = {"dim": 8, "seed": 1}
PLACES = {**BERT, "names": ["distilbert.transformer.layer.0.attention.q_lin"]}


@pytest.fixture(autouse=True)
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """None is told by the end of a test."""
    found: list[str] = []
    monkeypatch.setattr(fence, "_faults", found)
    monkeypatch.setattr(fence.events, "emit", lambda kind, **fields: None)
    yield found
    assert found == []


class Hostile:
    """Raises at whatever it is asked."""

    def refuse(self, *args: Any) -> Any:
        raise ZeroDivisionError("hostile")

    __eq__ = __bool__ = __len__ = __hash__ = __format__ = __float__ = __str__ = __repr__ = __getattr__ = refuse


class HostileNumber(float):
    """A number that is none."""

    def __float__(self) -> float:
        raise ZeroDivisionError("hostile")

    __eq__ = __float__  # type: ignore[assignment]
    __hash__ = float.__hash__


class HostileText(str):
    """A text whose methods return something else."""

    def encode(self, *args: Any) -> Any:
        return Hostile()

    def __str__(self) -> str:
        return self


class HostileError(Exception):
    """Raises at whatever it is asked."""

    __getattr__ = __str__ = Hostile.refuse  # type: ignore[assignment]


def fail(*args: Any) -> Any:
    raise HostileError()


def mapping(*found: Any) -> Any:
    """Return a mapping whose items are these."""

    class Found(dict[Any, Any]):
        def items(self) -> Any:
            return found

    assert issubclass(Found, Mapping)
    return Found()


ANSWERS = {
    "10 to the 400": 10**400,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "hostile": Hostile(),
    "a hostile number": HostileNumber(3),
    "a tensor on no device": torch.ones((), device="meta"),
    "a complex tensor": torch.ones((), dtype=torch.complex64),
    "several numbers": torch.ones(2),
    "nothing": None,
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_counts(answer: Any) -> None:
    item = functions.count(lambda model: answer, TOY)
    assert item.value in (None, 3)
    assert bool(item.error) is (item.type == "")


FOUND = {
    "hostile": Hostile(),
    "items that are no pairs": mapping(5),
    "hostile keys and values": mapping((Hostile(), Hostile())),
    "hostile text": mapping((HostileText("x"), nn.Linear(1, 1))),
    "a huge number": 10**400,
}


@pytest.mark.parametrize("answer", FOUND.values(), ids=FOUND)
def test_extractions(answer: Any) -> None:
    item = functions.extract(lambda model: answer, BERT)
    assert all(isinstance(entry.name, str) for entry in item.entries)


def put(model: Any, layers: Any) -> Any:
    for path, layer in layers.items():
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, layer)
    return model


class NoScores(nn.Module):
    def forward(self, **inputs: Any) -> Any:
        return Hostile()


RETURNED = {
    "nothing": (lambda model, layers: put(model, layers) and None, True),
    "the model": (put, True),
    "the encoder": (lambda model, layers: put(model, layers).base_model, True),
    "the last layer": (lambda model, layers: put(model, layers) and list(layers.values())[-1], True),
    "another module": (lambda model, layers: put(model, layers) and NoScores(), True),
    "hostile": (lambda model, layers: put(model, layers) and Hostile(), True),
    "the encoder of an unchanged model": (lambda model, layers: model.base_model, False),
}


@pytest.mark.parametrize(("function", "is_placed"), RETURNED.values(), ids=RETURNED)
def test_replacements(function: Any, is_placed: bool) -> None:
    item = functions.replace(function, PLACES)
    assert (item.error, bool(item.placed), item.finite) == (None, is_placed, True)


@pytest.mark.parametrize("probe", [functions.count, functions.extract], ids=["count", "extract"])
def test_errors_that_raise(probe: Any) -> None:
    error = probe(fail, TOY if probe is functions.count else BERT).error
    assert (error.type, error.message) == ("HostileError", "<HostileError>")


class Layer(nn.Module):
    """A right one."""

    def __init__(self, W: nn.Linear, rank: int = 12, alpha: float = 24) -> None:
        super().__init__()
        self.W, self.scale = W, alpha / rank
        self.A = nn.Linear(W.in_features, rank, bias=False)
        self.B = nn.Linear(rank, W.out_features, bias=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.W(x) + self.scale * self.B(self.A(x))


class Named(Layer):
    """Keeps things of its own under names of torch's methods."""

    def __init__(self, W: nn.Linear, rank: int = 12, alpha: float = 24) -> None:
        super().__init__(W, rank, alpha)
        own = [self.A.weight, self.B.weight]
        vars(self).update(dict.fromkeys(("parameters", "modules", "eval", "to", "state_dict", "weight"), own))


class Lazy(Layer):
    def __init__(self, W: nn.Linear, rank: int = 12, alpha: float = 24) -> None:
        super().__init__(W, rank, alpha)
        self.A = nn.LazyLinear(rank, bias=False)


class Nowhere(Layer):
    def __init__(self, W: nn.Linear, rank: int = 12, alpha: float = 24) -> None:
        super().__init__(W, rank, alpha)
        self.C = nn.Parameter(torch.ones(2, device="meta"))

    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x).to("meta")


def answering(change: Any) -> type[Layer]:
    """Return a layer that answers something else."""

    class Other(Layer):
        def forward(self, x: torch.Tensor) -> Any:
            return change(self, super().forward(x), x)

    return Other


LAYERS: dict[str, tuple[Any, bool]] = {
    "right": (Layer, True),
    "names of torch's methods": (Named, True),
    "lazy": (Lazy, False),
    "on no device": (Nowhere, False),
    "another shape": (answering(lambda layer, y, x: layer.A(x)), False),
    "one number": (answering(lambda layer, y, x: y.sum()), True),
    "sparse": (answering(lambda layer, y, x: y.to_sparse()), False),
    "complex": (answering(lambda layer, y, x: y.to(torch.complex64)), False),
    "no layer": (lambda W, rank, alpha: Hostile(), False),
}


@pytest.mark.parametrize(("cls", "is_answered"), LAYERS.values(), ids=LAYERS)
def test_layers(cls: Any, is_answered: bool) -> None:
    given = {"c.weight": torch.randn(4, 3), "c.bias": torch.randn(4), "c.fill": torch.randn(7)}
    inputs = {"c.x": torch.randn(5, 3), "c.x3": torch.randn(2, 5, 3), "c.cotangent": torch.randn(5, 4)}
    challenge = {"key": "c", "rank": 2, "alpha": 4.0, "bias": True, "dtype": "float32"}
    answers, tensors = lora.ask(cls, {"tensors": given | inputs, "challenges": [challenge]})
    assert (answers.items[0].error is None) is is_answered, answers.items[0]
    assert all(tensor.device.type == "cpu" for tensor in tensors.values())


def leave(*args: Any) -> Any:
    raise SystemExit("no GPU")


ASKED = [
    pytest.param(lambda: functions.count(leave, TOY).error, id="count"),
    pytest.param(lambda: functions.extract(leave, BERT).error, id="extract"),
    pytest.param(lambda: functions.replace(leave, PLACES).error, id="replace"),
]


@pytest.mark.parametrize("ask", ASKED)
def test_a_function_that_leaves_the_program_is_answered_by_its_error(ask: Any) -> None:
    assert (ask().type, ask().message) == ("SystemExit", "no GPU")
