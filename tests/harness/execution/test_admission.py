"""What counts of a kernel's announcements, by what the host asked for before."""

from collections.abc import Sequence
from typing import Any

import pytest

from grader.execution.admission import MAX_FILES, Admission, Stage

KEY, DIGEST, OTHER = "of this run", "0" * 64, "1" * 64
Event = dict[str, Any]


def event(kind: str, **fields: Any) -> Event:
    return {"kind": kind, "key": KEY, "sha256": DIGEST, **fields}


def written(name: str, **fields: Any) -> Event:
    return event("written", name=name, **fields)


BEGIN, END = event("training_begin", index=0, method="full"), event("training_end", index=0)
STEP = event("training_step", index=0, step=1, steps=2)
WEIGHTS, GRADIENTS = written("training-0.safetensors"), written("gradients-0.safetensors")


def follow(stage: Stage, events: Sequence[Event]) -> Admission:
    admission = Admission(KEY, stage)
    for each in events:
        admission.take(each)
    return admission


@pytest.mark.parametrize(
    ("stage", "events", "refused"),
    [
        pytest.param(Stage.CELLS, [BEGIN, GRADIENTS, WEIGHTS, END, written("trainings.json")], 0, id="as asked"),
        pytest.param(Stage.CELLS, [BEGIN, STEP, STEP, END], 0, id="steps"),
        pytest.param(Stage.CELLS, [STEP], 1, id="a step of no training"),
        pytest.param(Stage.CELLS, [BEGIN, END, STEP], 1, id="a step after the end"),
        pytest.param(Stage.CELLS, [BEGIN, END, {**BEGIN, "index": 1}], 0, id="the next training"),
        pytest.param(Stage.CELLS, [{**BEGIN, "index": 1}], 1, id="not the next number"),
        pytest.param(Stage.CELLS, [BEGIN, BEGIN], 1, id="begins twice"),
        pytest.param(Stage.CELLS, [END], 1, id="ends without a beginning"),
        pytest.param(Stage.CELLS, [BEGIN, END, {**END, "sha256": OTHER}], 1, id="ends again, as another"),
        pytest.param(Stage.CELLS, [WEIGHTS], 1, id="weights of no training"),
        pytest.param(Stage.CELLS, [BEGIN, END, WEIGHTS], 1, id="weights after the end"),
        pytest.param(Stage.CELLS, [written("probe-count.json")], 1, id="an answer before the question"),
        pytest.param(Stage.CELLS, [written("environment.json")], 1, id="environment of another process"),
        pytest.param(Stage.CELLS, [written("run.json"), written("../x.json")], 2, id="files that no kernel writes"),
        pytest.param(Stage.CELLS, [{**BEGIN, "key": ""}, {**BEGIN, "key": None}], 2, id="without the key"),
        pytest.param(Stage.CELLS, [{**BEGIN, "sha256": "x"}, {**WEIGHTS, "sha256": [0]}], 2, id="no digest"),
        pytest.param(Stage.CELLS, [{**BEGIN, "index": True}, {**BEGIN, "index": "0"}, {}], 3, id="other types"),
        pytest.param(Stage.BOOTSTRAP, [written("trainings.json"), written("environment.json")], 0, id="prepared"),
        pytest.param(Stage.BOOTSTRAP, [BEGIN, WEIGHTS], 2, id="a training before the first cell"),
    ],
)
def test_what_the_host_did_not_ask_for_is_refused(stage: Stage, events: list[Event], refused: int) -> None:
    assert follow(stage, events).refused == refused


@pytest.mark.parametrize(("answered", "kept"), [(True, 2), (False, 0)])
def test_answers_count_once_the_kernel_has_answered(answered: bool, kept: int) -> None:
    admission = Admission(KEY, Stage.CELLS)
    admission.ask("lora")
    for name in ("probe-lora.json", "probe-lora.safetensors", "probe-count.json"):
        admission.take(written(name))
    admission.settle(answered)
    assert (len(admission.written), admission.refused) == (kept, 1)
    assert admission.take(written("probe-lora.json")) == ""


def test_all_methods_are_trained_when_each_has_ended() -> None:
    methods = ("full", "head", "lora")
    begun = [event("training_begin", index=i, method=method) for i, method in enumerate(methods)]
    ended = [event("training_end", index=i) for i in range(3)]
    assert not follow(Stage.CELLS, [*begun, *ended[:2]]).complete
    assert follow(Stage.CELLS, [*begun, *ended]).complete


def test_files_are_bounded() -> None:
    many = [written("trainings.json", sha256=f"{i:064}") for i in range(MAX_FILES + 1)]
    assert len(follow(Stage.CELLS, many).written) == MAX_FILES
