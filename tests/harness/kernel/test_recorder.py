"""Trainings under the budget: what the student's Trainer does, what is recorded, and what is put back."""

import json
import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from transformers.trainer_utils import IntervalStrategy, SchedulerType

from grader.execution import profiles
from grader.kernel.probes.toys import build_distilbert
from grader.kernel.training import budget, epochs, recorder
from grader.kernel.training.figures import read_figure
from grader.kernel.training.recorder import UNSEEN, Recorder, find_encoder
from grader.kernel.training.review_keys import find_least_shared
from grader.kernel.writing import to_plain
from grader.model import Profile
from grader.protocol.plan import Plan
from grader.protocol.records import RowKeys, Training
from tests.harness.kernel.trainings import BUDGET, OTHER_ROWS, SCENARIOS

STEPS, EVAL_ROWS = BUDGET.max_steps, BUDGET.eval_rows
SHAPE = [BUDGET.batch_size, BUDGET.max_tokens]

OTHERS = {"failing_metric", "broken", "broken_half", "many_epochs", "refusing", "as_submitted"}
BUDGETED = [name for name in SCENARIOS if name not in OTHERS]


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("trainings")
    command = [sys.executable, "-m", "tests.harness.kernel.trainings", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "observed.json").read_text(encoding="utf-8"))


def at(seen: Any, path: str) -> Any:
    for key in path.split("."):
        seen = seen[key]
    return seen


@pytest.mark.parametrize("name", BUDGETED)
def test_budget_holds(trainings: dict[str, Any], name: str) -> None:
    seen = trainings[name]
    assert (seen["raised"], seen["record"]["finished"], seen["record"]["steps"]) == ("", True, STEPS)
    assert seen["files"] == ["training-0.safetensors"]
    assert all(shape == SHAPE for shape in seen["learned"])
    assert all(shape == [EVAL_ROWS, SHAPE[1]] or shape == SHAPE for shape in seen["evaluated"])
    assert not any("optimizer" in name for name in seen["checkpoint_files"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_host_reads_what_is_recorded_and_everything_is_put_back(trainings: dict[str, Any], name: str) -> None:
    record = trainings[name]["record"]
    assert to_plain(TypeAdapter(Training).validate_json(json.dumps(record), strict=True)) == record
    assert trainings[name]["restored"] or name in ("many_epochs", "refusing")


def failed(error: str) -> dict[str, Any]:
    return {"raised": error, "record.error.type": error, "record.finished": False, "files": []}


SEEN: dict[str, tuple[str, dict[str, Any]]] = {
    "a checkpoint every so many steps is nobody's wish": ("plain", {"checkpoints": [], "best": None}),
    "the best, to go on with": ("early_stopping", {"checkpoints": ["checkpoint-6"], "best": "checkpoint-6"}),
    "without a budget it trains as submitted": (
        "as_submitted",
        {"checkpoints": [], "best": None, "record.steps": 4, "learned": [[8, 14]] * 3 + [[6, 14]]},  # 30 rows
    ),
    "more epochs than the budget has steps": ("many_epochs", {"record.steps": 8}),
    "cannot be exported": (
        "refusing",
        {"raised": "", "record.finished": True, "record.unrecorded.type": "TypeError", "files": []},
    ),
    "metric": ("failing_metric", failed("ZeroDivisionError")),
    "layer": ("broken", failed("RuntimeError")),
    "layer in bfloat16": ("broken_half", failed("RuntimeError")),
    "float32": ("plain", {"record.precision": "float32"}),
    "bfloat16": ("half", {"record.precision": "bfloat16 autocast"}),
    "a metric that needs float32 costs no training": ("numpy_metric", {"record.precision": "bfloat16 autocast"}),
    "a layer that needs float32": ("float32_only", {"record.precision": "float32"}),
    "other reviews are what counts": ("overfitting_shown", {"record.data.eval.rows": OTHER_ROWS - 5}),
}


@pytest.mark.parametrize(("name", "expected"), SEEN.values(), ids=SEEN)
def test_what_is_seen_of(trainings: dict[str, Any], name: str, expected: dict[str, Any]) -> None:
    assert {path: at(trainings[name], path) for path in expected} == expected


THREE = dict.fromkeys(("plain", "early_stopping", "half", "float32_only", "numpy_metric"), 3)


@pytest.mark.parametrize(("name", "asked"), {**THREE, "uneven": 4, "diary": 4, "many_epochs": 8}.items())
def test_every_epoch_has_its_evaluation_and_its_loss(trainings: dict[str, Any], name: str, asked: int) -> None:
    log = trainings[name]["log"][:-2]  # the last two are the scenario's own calls of evaluate()
    assert sum("eval_accuracy" in entry for entry in log) == asked
    assert sum("loss" in entry for entry in log) >= asked
    for figure in ("eval_accuracy", "loss") if asked > 3 else ():  # of three epochs losses are logged by steps
        assert [entry["epoch"] for entry in log if figure in entry] == list(range(1, asked + 1))


def test_the_log_is_recorded_and_what_is_evaluated_on_afterwards(trainings: dict[str, Any]) -> None:
    seen, record = trainings["plain"], trainings["plain"]["record"]
    recorded = [e["eval_accuracy"] for e in record["log"] if e["eval_accuracy"] is not None]
    assert recorded == [e["eval_accuracy"] for e in seen["log"] if "eval_accuracy" in e][:3]
    own, other = record["evaluations"]  # `evaluate()` and `evaluate(other)`: none of those within the training
    assert (own, other["rows"]) == (record["data"]["eval"], OTHER_ROWS)


def test_what_is_recorded_of_several_evaluations_and_of_a_metric_that_is_no_number(trainings: dict[str, Any]) -> None:
    seen = trainings["overfitting_shown"]["record"]["data"]
    assert not set(seen["eval"]["keys"]) & set(seen["train"]["keys"])
    log = trainings["nested_metric"]["record"]["log"]
    assert any(entry["loss"] is not None for entry in log)
    assert all(entry["eval_accuracy"] is None for entry in log)


@pytest.mark.parametrize("value", [1, 0.875, np.float32(0.875)], ids=["whole", "share", "numpy"])
def test_what_counts_as_a_figure(value: Any) -> None:
    assert read_figure(value) == value


class Raises(float):
    def __float__(self) -> float:
        raise KeyError("no float")


NO_FIGURES = {
    **{str(value): value for value in (True, float("nan"), float("inf"), "87.5%", {"accuracy": 0.875}, None)},
    "too large": 10**400,
    "a fraction that is too large": Fraction(10**400),
    "several": torch.ones(2),
    "one that raises": Raises(1),
}


@pytest.mark.parametrize("value", NO_FIGURES.values(), ids=NO_FIGURES)
def test_what_does_not(value: Any) -> None:
    assert read_figure(value) is None


def test_an_optimiser_of_the_students_learns_at_the_budgets_rate(trainings: dict[str, Any]) -> None:
    # At its own rate of a million the first step would take weights of size 1 to 1e5 and beyond.
    assert trainings["own_optimizer"]["largest"] < 10


@pytest.mark.parametrize("name", ["plain", "own_optimizer", "two_rates", "class_of_optimizer", "warming_up"])
def test_every_step_learns_at_the_budgets_rate(trainings: dict[str, Any], name: str) -> None:
    rates = [[BUDGET.learning_rates["full"] * ((STEPS - step) / STEPS)] for step in range(STEPS)]
    assert [[*dict.fromkeys(groups)] for groups in trainings[name]["rates"]] == rates


def test_those_of_an_ordinary_training_are_what_its_schedule_computes(trainings: dict[str, Any]) -> None:
    scheduled = {entry["step"]: entry["learning_rate"] for entry in trainings["plain"]["log"] if "loss" in entry}
    assert {step: trainings["plain"]["rates"][step - 1][0] for step in scheduled} == scheduled


def test_the_head_alone_is_seen_as_such(trainings: dict[str, Any]) -> None:
    entry = trainings["head_only"]["record"]["entry"]
    assert {name.split(".")[0] for name in entry["trainable_names"]} == {"pre_classifier", "classifier"}
    assert entry["changed"]  # the scenario's model does not come from the base file


def arguments(**values: Any) -> Any:
    epoch = IntervalStrategy.EPOCH
    given = {"eval_strategy": epoch, "logging_strategy": epoch, "save_strategy": epoch, "logging_steps": 500}
    schedule = {"num_train_epochs": 3.0, "lr_scheduler_type": SchedulerType.COSINE}
    return SimpleNamespace(**{**given, **schedule, **values})


@pytest.mark.parametrize("asked", [1, 2, 3, 5, 10, 20])
@pytest.mark.parametrize("profile", [Profile.STRUCTURE, Profile.QUICK])
def test_as_many_entries_as_epochs(asked: int, profile: Profile) -> None:
    limits = profiles.BUDGETS[profile]
    given = arguments(num_train_epochs=float(asked))
    steps = budget.build_arguments(given, limits, "full", seed=0)["max_steps"]
    ends = epochs.Epochs(given, steps).ends
    assert list(ends.values()) == pytest.approx(range(1, asked + 1))
    assert max(ends) == steps == max(limits.max_steps, asked)


def test_callbacks_see_every_epoch_and_end_none_of_them_early(trainings: dict[str, Any]) -> None:
    # six steps in four epochs; a callback reads all six rows at the end of each
    begins, ends = (0, 2, 3, 5), (2, 3, 5, 6)
    pairs = zip(begins, enumerate(ends, 1), strict=True)
    seen = [entry for begin, (n, end) in pairs for entry in (["begin", begin], ["end", end, n, True, 6])]
    assert trainings["diary"]["diary"] == seen


def test_as_many_losses_as_evaluations_where_their_intervals_are_equal(trainings: dict[str, Any]) -> None:
    log = trainings["by_steps"]["log"][:-2]
    assert [entry["step"] for entry in log if "loss" in entry] == [3, 6]
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [3, 6]


@pytest.mark.parametrize(
    ("asked", "equal", "expected"),
    [(3.0, True, (8, 8)), (3.0, False, (8, 5)), (18.0, True, (6, 6)), (20.0, True, (5, 5))],
)
def test_intervals(asked: float, equal: bool, expected: tuple[int, int]) -> None:
    steps = IntervalStrategy.STEPS
    given = arguments(
        num_train_epochs=asked, eval_strategy=steps, logging_strategy=steps, eval_steps=500 if equal else 250
    )
    values = budget.build_arguments(given, profiles.BUDGETS[Profile.QUICK], "full", seed=0)
    assert (values["eval_steps"], values["logging_steps"]) == expected


@pytest.mark.parametrize(
    ("batches", "sizes", "expected"),
    [
        pytest.param(list("abcdef"), [2, 1, 2], [["a", "b"], ["c"], ["d", "e"]], id="one pass is enough"),
        pytest.param(list("ab"), [1, 2, 2], [["a"], ["b", "a"], ["b", "a"]], id="several passes"),
        pytest.param([], [1, 1], [[], []], id="nothing to read"),
        pytest.param(["a"], [1], [["a"], []], id="more epochs than planned"),
    ],
)
def test_an_epoch_reads_on_where_the_one_before_stopped(batches: Any, sizes: Any, expected: Any) -> None:
    portions = epochs.Portions(batches, sizes)
    for portion in expected:
        portions.begin_epoch()
        assert list(portions) == portion
        assert list(portions) == batches  # whoever else reads it


@pytest.mark.parametrize(("asked", "said"), [(20.0, ""), (50.0, "20 epochs instead of 50"), (20.5, "instead of 20.5")])
def test_more_epochs_than_a_budget_has_are_told(asked: float, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    epochs.tell_most(arguments(num_train_epochs=asked))
    out = capsys.readouterr().out
    assert said in out
    assert bool(out) is bool(said)


SEEN = RowKeys(rows=500, kind="text", keys=("a",))
NOTED = {
    "known reviews": ([("own", "data", 5)], [SEEN]),
    "twice": ([("own", "data", 500)] * 2, [SEEN]),
    "a look at some predictions": ([("own", None, 5)] * 3, []),
    "many unknown reviews, a few at a time": ([("own", None, 60)] * 3, [None]),
    "a copy, which no training is known of": ([("copy", "data", 500)], [None]),
    "a copy, for a look": ([("copy", "data", 5)], []),
    "another training's model": ([("other", "data", 500)], []),
}


@pytest.mark.parametrize(("passes", "expected"), NOTED.values(), ids=NOTED)
def test_an_evaluation_by_the_notebook_itself(
    passes: list[tuple[str, Any, int]], expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "load_base_tensors", lambda path: {})
    monkeypatch.setattr(Recorder, "write", lambda self: None)
    monkeypatch.setattr(Recorder, "keys", lambda self, dataset, learned=None: SEEN)
    models = {name: build_distilbert(8, 0) for name in ("own", "other", "copy")}
    recording = Recorder(Plan(seed=0, evidence="", inputs={}, base_weights="", names={}))
    for name in ("own", "other"):
        record = Training(len(recording.records), "Trainer", finished=True, entry=UNSEEN)
        recording.know(record, models[name])
    for name, data, rows in passes:
        recording.note_evaluation(find_encoder(models[name]), data, rows)
    assert [*recording.records[0].evaluations] == expected


def test_no_evaluation_stays_none() -> None:
    given = arguments(eval_strategy=IntervalStrategy.NO, logging_strategy=IntervalStrategy.STEPS)
    assert "eval_strategy" not in budget.build_arguments(given, profiles.BUDGETS[Profile.QUICK], "full", seed=0)


def seen_rows(*keys: str) -> RowKeys:
    return RowKeys(len(keys), "tokens", keys)


LEARNED = seen_rows("a", "b", "c", "d")
SAME, HALF, OTHER, EMPTY = seen_rows("a", "b"), seen_rows("a", "x"), seen_rows("x", "y", "z"), seen_rows()
SEVERAL: dict[str, tuple[list[Any], Any, Any]] = {
    "the training reviews first": ([SAME, OTHER], LEARNED, OTHER),
    "the training reviews last": ([OTHER, SAME], LEARNED, OTHER),
    "one in part": ([SAME, HALF], LEARNED, HALF),
    "nothing else": ([SAME], LEARNED, SAME),
    "the first of equals": ([OTHER, seen_rows("u", "v")], LEARNED, OTHER),
    "training unreadable": ([SAME, OTHER], None, SAME),
    "others unreadable or empty": ([None, SAME, EMPTY], LEARNED, SAME),
    "none readable": ([None, EMPTY], LEARNED, None),
}


@pytest.mark.parametrize(("found", "learned", "expected"), SEVERAL.values(), ids=SEVERAL)
def test_of_several_data_sets_the_fairest_counts(found: list[Any], learned: Any, expected: Any) -> None:
    assert find_least_shared(found, learned) is expected
