"""A check goes on where one thing cannot be looked at, and says what a dead GPU is."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from grader.kernel.probes.toys import build_distilbert
from grader.student import commands, guards, overview
from tests.harness.student.test_live import COUNT, run

DEAD = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"
PROXY = """class Lazy:
    @property
    def __class__(self): raise RuntimeError('not connected')
proxy = Lazy()"""


def die(*_: object, **__: object) -> Any:
    raise RuntimeError(DEAD)


class Dead(nn.Parameter):
    """A parameter whose numbers cannot be read."""

    cpu = numpy = to = float = detach = die


def build_dead() -> nn.Module:
    model = build_distilbert(8, 0)
    model.classifier.weight = Dead(model.classifier.weight.data)
    return model


def build_frozen() -> nn.Module:
    model = build_distilbert(8, 0)
    model.distilbert.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("names", "broken"),
    [
        pytest.param(("is_available", "is_initialized", "get_rng_state_all"), "get_rng_state_all", id="saved"),
        pytest.param(("is_available", "is_initialized", "set_rng_state_all"), "set_rng_state_all", id="put back"),
    ],
)
def test_a_generator_that_cannot_be_read_costs_no_other(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], broken: str
) -> None:
    for name in {*names, "get_rng_state_all"}:
        monkeypatch.setattr(torch.cuda, name, die if name == broken else lambda: True)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with guards.keep_random_states():
        torch.rand(1)
    assert torch.equal(torch.rand(1), expected)


def test_an_object_that_cannot_be_read_costs_no_other(shell: InteractiveShell) -> None:
    run(shell, COUNT, PROXY)
    shell.user_ns["head_model"] = build_frozen()
    marks = {row.mark.value for part in commands._check(None).parts for row in part.rows}
    assert "error" not in marks
    assert commands._check("2.1").parts[0].rows[0].title == "`head_model` would train the right parameters"


@pytest.mark.parametrize(
    ("models", "title", "said"),
    [
        pytest.param({"model": build_dead}, "`model` could not be looked at", guards.STOPPED_GPU, id="alone"),
        pytest.param(
            *({"model": build_dead, "head_model": build_frozen}, "`head_model` would train the right parameters", ""),
            id="beside another",
        ),
    ],
)
def test_a_model_that_cannot_be_read_costs_no_other(
    shell: InteractiveShell, models: dict[str, Callable[[], nn.Module]], title: str, said: str
) -> None:
    shell.user_ns.update({name: build() for name, build in models.items()})
    row = commands._check("2.1").parts[0].rows[0]
    assert (row.title, said in row.rationale) == (title, True)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(RuntimeError(DEAD), guards.STOPPED_GPU, id="after an error on the GPU"),
        pytest.param(RuntimeError("CUDA error: out of memory"), "The check itself failed", id="no memory"),
        pytest.param(ValueError("x"), "The check itself failed (ValueError: x)", id="another error"),
    ],
)
def test_what_ends_a_check_is_said(
    shell: InteractiveShell,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    said: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(overview, "find_out", fail)
    commands.check("1.3")
    assert said in capsys.readouterr().out


def test_several_exercises_are_one_report(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, COUNT)
    commands.check("3.1", "1.3")
    shown = capsys.readouterr().out
    assert 0 <= shown.index("1.3 Load") < shown.index("3.1 Find")
