"""A check ends when its reader interrupts it, whatever runs at that moment."""

import contextlib
import os
import signal
from collections.abc import Callable

import pytest

from grader.student.guards import keep_interrupts


def forgive() -> None:
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigtimedwait([], 5)


def pass_on() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("work", [forgive, pass_on])
def test_an_interrupt_is_not_lost(work: Callable[[], None]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), keep_interrupts():
        work()
    assert signal.getsignal(signal.SIGINT) is before


def test_nothing_is_raised_without_one() -> None:
    with keep_interrupts():
        pass
