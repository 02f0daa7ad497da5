"""What is said of a training whose weights cannot be looked at."""

import runpy
from types import SimpleNamespace
from typing import Any

import pytest

from grader import paths
from grader.judging.suite import Blocked
from grader.model import Method
from grader.protocol.records import Entry, Exit, Raised, Training

REFUSES = Raised("TypeError", "'NoneType' object")


@pytest.fixture(scope="module")
def suite() -> Any:
    return SimpleNamespace(**runpy.run_path(str(paths.HIDDEN_TESTS / "test_training.py")))


def training(finished: bool = True, unrecorded: Raised | None = None) -> Training:
    """One that left no weights."""
    entry = Entry("M", trainable=1, total=1)
    return Training(0, "Trainer", finished, entry, exit=Exit(), unrecorded=unrecorded)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        pytest.param(None, "has no finished training", id="none"),
        pytest.param(training(finished=False), "has no finished training", id="broken off"),
        pytest.param(training(), "are missing", id="after too many others"),
        pytest.param(training(unrecorded=REFUSES), "the model raises TypeError", id="the model cannot be asked"),
    ],
)
def test_no_weights_block(seen: Training | None, words: str, suite: Any) -> None:
    nothing: Any = {"certificate": lambda method: None, "threshold": lambda method: 0.5, "explain_absence": str}
    case = SimpleNamespace(training=lambda method: seen, **nothing)
    with pytest.raises(Blocked, match=words):
        suite.certificate_of(case, Method.LORA)
    with pytest.raises(Blocked, match=words):
        suite.expect_accuracy(case, Method.LORA, "")
