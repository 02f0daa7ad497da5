"""Trainings under the budget: what the student's Trainer does, what is recorded, and what is put back."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from transformers.trainer_utils import IntervalStrategy, SchedulerType

from grader.execution import profiles
from grader.kernel.training import budget
from grader.kernel.training.recorder import is_figure
from grader.kernel.writing import to_plain
from grader.model import Profile
from grader.protocol.records import Training
from tests.harness.kernel.trainings import BUDGET, OTHER_ROWS, SCENARIOS

STEPS, EVAL_ROWS = BUDGET.max_steps, BUDGET.eval_rows
SHAPE = [BUDGET.batch_size, BUDGET.max_tokens]

FAILING = ["failing_metric", "broken", "broken_half"]
BUDGETED = [name for name in SCENARIOS if name not in (*FAILING, "many_epochs", "refusing", "as_submitted")]


@pytest.fixture(scope="session")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened in each scenario of trainings.py."""
    folder = tmp_path_factory.mktemp("trainings")
    command = [sys.executable, "-m", "tests.harness.kernel.trainings", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "observed.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", BUDGETED)
def test_budget_holds(trainings: dict[str, Any], name: str) -> None:
    seen = trainings[name]
    assert seen["raised"] == ""
    assert seen["record"]["finished"]
    assert seen["record"]["steps"] == STEPS
    assert seen["files"] == ["training-0.safetensors"]
    assert all(shape == SHAPE for shape in seen["learned"])
    assert all(shape == [EVAL_ROWS, SHAPE[1]] or shape == SHAPE for shape in seen["evaluated"])
    assert not any("optimizer" in name for name in seen["checkpoint_files"])


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_host_reads_what_is_recorded(trainings: dict[str, Any], name: str) -> None:
    record = trainings[name]["record"]
    assert to_plain(TypeAdapter(Training).validate_json(json.dumps(record), strict=True)) == record


@pytest.mark.parametrize(
    ("name", "kept", "best"),
    [
        pytest.param("plain", [], None, id="every so many steps: nobody's wish"),
        pytest.param("early_stopping", ["checkpoint-6"], "checkpoint-6", id="the best, to go on with"),
        pytest.param("as_submitted", [], None, id="without a budget"),
    ],
)
def test_checkpoints(trainings: dict[str, Any], name: str, kept: list[str], best: str | None) -> None:
    assert (trainings[name]["checkpoints"], trainings[name]["best"]) == (kept, best)


@pytest.mark.parametrize("name", [*BUDGETED, *FAILING, "as_submitted"])
def test_everything_is_put_back(trainings: dict[str, Any], name: str) -> None:
    assert trainings[name]["restored"]


@pytest.mark.parametrize("name", ["plain", "early_stopping", "half", "float32_only", "numpy_metric"])
def test_three_epochs_show_three_evaluations_and_a_loss_each(trainings: dict[str, Any], name: str) -> None:
    log = trainings[name]["log"][:-2]  # the last two are the scenario's own calls of evaluate()
    assert sum("eval_accuracy" in entry for entry in log) == 3
    assert sum("loss" in entry for entry in log) >= 3


@pytest.mark.parametrize(
    ("name", "epochs", "steps"),
    [
        pytest.param("uneven", 4, STEPS, id="steps that are no multiple of the epochs"),
        pytest.param("many_epochs", 8, 8, id="more epochs than the budget has steps"),
    ],
)
def test_every_epoch_has_its_evaluation_and_its_loss(
    trainings: dict[str, Any], name: str, epochs: int, steps: int
) -> None:
    seen = trainings[name]
    log = seen["log"][:-2]  # the last two are the scenario's own calls of evaluate()
    for figure in ("eval_accuracy", "loss"):
        assert [entry["epoch"] for entry in log if figure in entry] == list(range(1, epochs + 1))
    assert seen["record"]["steps"] == steps


def test_the_log_is_recorded(trainings: dict[str, Any]) -> None:
    kept = trainings["plain"]["record"]["log"]
    recorded = [e["eval_accuracy"] for e in kept if e["eval_accuracy"] is not None]
    assert recorded == [e["eval_accuracy"] for e in trainings["plain"]["log"] if "eval_accuracy" in e][:3]


def test_what_a_notebook_evaluates_on_afterwards_is_noted(trainings: dict[str, Any]) -> None:
    record = trainings["plain"]["record"]
    own, other = record["evaluations"]  # `evaluate()` and `evaluate(other)`: none of those within the training
    assert own == record["data"]["eval"]
    assert other["rows"] == OTHER_ROWS


def test_of_several_evaluations_the_one_on_other_reviews_counts(trainings: dict[str, Any]) -> None:
    seen = trainings["overfitting_shown"]["record"]["data"]
    assert seen["eval"]["rows"] == OTHER_ROWS - 5
    assert not set(seen["eval"]["keys"]) & set(seen["train"]["keys"])


def test_a_metric_that_is_no_number_is_left_out_of_the_log(trainings: dict[str, Any]) -> None:
    log = trainings["nested_metric"]["record"]["log"]
    assert any(entry["loss"] is not None for entry in log)
    assert all(entry["eval_accuracy"] is None for entry in log)


def test_a_training_that_cannot_be_exported_has_ended_all_the_same(trainings: dict[str, Any]) -> None:
    seen = trainings["refusing"]
    assert seen["raised"] == ""
    assert seen["record"]["finished"]
    assert seen["record"]["unrecorded"]["type"] == "TypeError"
    assert seen["files"] == []


FIGURES = [
    pytest.param(1, True, id="whole"),
    pytest.param(0.875, True, id="share"),
    pytest.param(np.float32(0.875), True, id="numpy"),
    pytest.param(True, False, id="truth"),
    pytest.param(float("nan"), False, id="nan"),
    pytest.param(float("inf"), False, id="infinite"),
    pytest.param("87.5%", False, id="text"),
    pytest.param({"accuracy": 0.875}, False, id="nested"),
    pytest.param(None, False, id="nothing"),
]


@pytest.mark.parametrize(("value", "kept"), FIGURES)
def test_what_counts_as_a_figure(value: Any, kept: bool) -> None:
    assert is_figure(value) is kept


def test_an_optimiser_of_the_students_learns_at_the_budgets_rate(trainings: dict[str, Any]) -> None:
    # At its own rate of a million the first step would take weights of size 1 to 1e5 and beyond.
    assert trainings["own_optimizer"]["largest"] < 10


@pytest.mark.parametrize(
    ("name", "error"),
    [
        pytest.param("failing_metric", "ZeroDivisionError", id="metric"),
        pytest.param("broken", "RuntimeError", id="layer"),
        pytest.param("broken_half", "RuntimeError", id="layer in bfloat16"),
    ],
)
def test_an_error_is_raised_and_recorded(trainings: dict[str, Any], name: str, error: str) -> None:
    seen = trainings[name]
    assert seen["raised"] == error
    assert seen["record"]["error"]["type"] == error
    assert not seen["record"]["finished"]
    assert seen["files"] == []


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param("plain", "float32", id="float32"),
        pytest.param("half", "bfloat16 autocast", id="bfloat16"),
        pytest.param("numpy_metric", "bfloat16 autocast", id="a metric that needs float32 costs no training"),
        pytest.param("float32_only", "float32", id="a layer that needs float32"),
    ],
)
def test_precision_is_recorded(trainings: dict[str, Any], name: str, precision: str) -> None:
    assert trainings[name]["record"]["precision"] == precision


def test_without_a_budget_it_trains_as_submitted(trainings: dict[str, Any]) -> None:
    seen = trainings["as_submitted"]
    assert seen["record"]["steps"] == 4  # 30 rows in batches of 8
    assert seen["learned"][0] == [8, 14]


def test_the_head_alone_is_seen_as_such(trainings: dict[str, Any]) -> None:
    entry = trainings["head_only"]["record"]["entry"]
    assert {name.split(".")[0] for name in entry["trainable_names"]} == {"pre_classifier", "classifier"}
    assert entry["changed"]  # the scenario's model does not come from the base file


def arguments(**values: Any) -> Any:
    """The training arguments that the budget reads."""
    given = {
        "num_train_epochs": 3.0,
        "eval_strategy": IntervalStrategy.EPOCH,
        "logging_strategy": IntervalStrategy.STEPS,
        "save_strategy": IntervalStrategy.EPOCH,
        "logging_steps": 500,
        "lr_scheduler_type": SchedulerType.COSINE,
    }
    return SimpleNamespace(**{**given, **values})


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 10, 20])
@pytest.mark.parametrize("profile", [Profile.STRUCTURE, Profile.QUICK])
def test_as_many_entries_as_epochs(epochs: int, profile: Profile) -> None:
    limits = profiles.BUDGETS[profile]
    given = arguments(num_train_epochs=float(epochs), logging_strategy=IntervalStrategy.EPOCH)
    steps = budget.build_arguments(given, limits, "full", seed=0)["max_steps"]
    ends = budget.Epochs(given, steps).ends
    assert list(ends.values()) == pytest.approx(range(1, epochs + 1))
    assert max(ends) == steps == max(limits.max_steps, epochs)


def test_no_evaluation_stays_none() -> None:
    values = budget.build_arguments(
        arguments(eval_strategy=IntervalStrategy.NO), profiles.BUDGETS[Profile.QUICK], "full", seed=0
    )
    assert "eval_strategy" not in values
