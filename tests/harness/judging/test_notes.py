"""What staff are told about a notebook's trainings."""

from types import SimpleNamespace
from typing import Any

import pytest

from grader.judging.staff_notes import find_training_notes
from grader.model import Method
from grader.oracle.exposure import Exposure
from grader.protocol.records import Raised, RowKeys

LEARNED = [f"t{number}" for number in range(10)]
OTHERS = [f"e{number}" for number in range(10)]
UNKNOWN = [f"x{number}" for number in range(10)]


class Shelf:
    """A library of made-up keys."""

    def recognise(self, seen: RowKeys | None) -> Exposure | None:
        if seen is None or seen.keys[0].startswith("x"):
            return None
        of_training = sum(key.startswith("t") for key in seen.keys) / len(seen.keys)
        return Exposure(train=of_training, eval=1 - of_training)


def seen(keys: list[str]) -> RowKeys:
    return RowKeys(rows=len(keys), kind="text", keys=tuple(keys))


def case(*evaluations: list[str] | None, learned: list[str] = LEARNED) -> Any:
    judged = [seen(keys) if keys else None for keys in evaluations]
    data = SimpleNamespace(train=seen(learned))
    training = SimpleNamespace(via="Trainer", data=data, evaluations=judged, unrecorded=None)
    evidence = SimpleNamespace(trainings=[training])
    return SimpleNamespace(placed={Method.LORA: training}, evidence=evidence, library=Shelf(), idle={})


@pytest.mark.parametrize(
    ("notebook", "flagged"),
    [
        pytest.param(case(LEARNED), True, id="on training reviews only"),
        pytest.param(case(LEARNED, LEARNED), True, id="and again"),
        pytest.param(case(LEARNED, OTHERS), False, id="on both, to compare"),
        pytest.param(case(OTHERS), False, id="on evaluation reviews"),
        pytest.param(case(), False, id="not at all"),
        pytest.param(case(LEARNED[8:], learned=LEARNED[:8]), False, id="on training reviews that were held back"),
        pytest.param(case(UNKNOWN), False, id="on texts of its own"),
        pytest.param(case(None), False, id="on what cannot be read"),
    ],
)
def test_a_model_that_is_evaluated_on_what_it_learned(notebook: Any, flagged: bool) -> None:
    note = "After training, the notebook evaluates on training reviews only: lora."
    assert list(find_training_notes(notebook)) == ([note] if flagged else [])


def test_a_training_that_could_not_be_recorded_is_named() -> None:
    broken = case()
    broken.evidence.trainings[0].unrecorded = Raised(type="TypeError", message="it refuses")
    broken.idle = {0: "it takes no optimiser steps"}
    assert list(find_training_notes(broken)) == [
        "Training 1 is not recorded in full: TypeError: it refuses",
        "Training 1 does not count: it takes no optimiser steps.",
    ]
