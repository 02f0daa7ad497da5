"""What is said of a training whose weights cannot be looked at."""

import importlib.util
from types import SimpleNamespace
from typing import Any

import pytest

from grader import paths
from grader.evidence.reader import ErrorRecord
from grader.judging.suite import Blocked
from grader.model import Method

SUITE = paths.HIDDEN_TESTS / "test_training.py"


@pytest.fixture(scope="module")
def suite() -> Any:
    spec = importlib.util.spec_from_file_location("_hidden_training", SUITE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("training", "words"),
    [
        pytest.param(None, "has no finished training", id="none"),
        pytest.param(SimpleNamespace(finished=False, exported=False), "has no finished training", id="broken off"),
        pytest.param(
            SimpleNamespace(finished=True, exported=False, unrecorded=None), "are missing", id="after too many others"
        ),
        pytest.param(
            SimpleNamespace(
                finished=True, exported=False, unrecorded=ErrorRecord(type="TypeError", message="'NoneType' object")
            ),
            "the model raises TypeError",
            id="the model cannot be asked",
        ),
    ],
)
def test_no_weights_block(training: Any, words: str, suite: Any) -> None:
    case: Any = SimpleNamespace(
        training=lambda method: training, certificate=lambda method: None, threshold=lambda method: 0.5
    )
    with pytest.raises(Blocked, match=words):
        suite.certificate_of(case, Method.LORA)
    with pytest.raises(Blocked, match=words):
        suite.expect_accuracy(case, Method.LORA, "")
