"""A check ends when its reader interrupts it, whatever runs at that moment, and computes on the CPU."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from grader.kernel.compat import devices
from grader.student.guards import compute_on_cpu, keep_interrupts


def forgive() -> None:
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigtimedwait([], 5)


def pass_on() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def as_in_a_terminal() -> Iterator[None]:
    """What a shell starts in the background ignores ctrl-C, and so do the processes that run the tests there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("as_in_a_terminal")
@pytest.mark.parametrize("work", [forgive, pass_on])
def test_an_interrupt_is_not_lost(work: Callable[[], None]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), keep_interrupts():
        work()
    assert signal.getsignal(signal.SIGINT) is before


def test_nothing_is_raised_without_one() -> None:
    with keep_interrupts():
        pass


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> str:
    """An accelerator that torch says is there, on which this machine can make tensors."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(devices, "ELSEWHERE", (*devices.ELSEWHERE, "meta"))
    return "meta"


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: torch.zeros(2, device="cuda"), id="device="),
        pytest.param(lambda: torch.zeros(2, device="meta:0"), id="device= with a number"),
        pytest.param(lambda: nn.Parameter(torch.zeros(2).to(torch.device("cuda"))), id="to a device"),
        pytest.param(lambda: torch.zeros(2).cuda(), id="cuda()"),
        pytest.param(lambda: nn.Linear(2, 2, device="cuda").weight, id="a layer made there"),
        pytest.param(lambda: nn.Linear(2, 2).to("cuda").weight, id="a layer moved there"),
        pytest.param(lambda: nn.Linear(2, 2).cuda().weight, id="a layer's cuda()"),
    ],
)
def test_what_names_an_accelerator_is_on_the_cpu(make: Callable[[], Tensor]) -> None:
    with compute_on_cpu({}):
        assert make().device.type == "cpu"


def test_the_notebooks_tensors_and_later_cells_keep_their_device(accelerator: str) -> None:
    model = nn.Linear(2, 2, device=accelerator)
    with contextlib.suppress(ValueError), compute_on_cpu({"device": accelerator}):
        assert model.to(accelerator).weight.to(accelerator).device.type == accelerator
        raise ValueError
    assert (model.weight.device.type, torch.zeros(2, device=accelerator).device.type) == (accelerator, accelerator)


def test_without_an_accelerator_one_that_is_named_fails_as_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with compute_on_cpu({}):
        assert torch.zeros(2, device="meta").device.type == "meta"
