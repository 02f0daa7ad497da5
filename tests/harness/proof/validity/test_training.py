"""The training part: what is planned, stored, resumed and counted. Nothing is trained here."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from grader import pipeline
from grader.errors import GraderError
from grader.execution.job import Setup
from grader.execution.setup import UNSANDBOXED
from grader.judging.calibration import Calibration, compute_threshold
from grader.model import Method, Profile, RunStatus, RunSummary
from tests.proof.validity import repetition, training
from tests.proof.validity.corpus import Base, CorpusCase
from tests.proof.validity.corpus_run import load
from tests.proof.validity.training import MeasuredRun


def measured(name: str, seed: int, accuracy: float, conditions: str = "here") -> MeasuredRun:
    """A run in which every method reaches `accuracy`."""
    return MeasuredRun(case=name, seed=seed, conditions=conditions, accuracies=dict.fromkeys(Method, accuracy))


def calibrated(accuracies: Sequence[float]) -> Calibration:
    """The calibration that the same accuracies of every method give."""
    return Calibration(
        name="", profile=Profile.QUICK, budget="", checkpoint="", checkpoint_sha256="", reviews="", reviews_sha256="",
        precision="", seeds=tuple(range(len(accuracies))), false_fail=0.001,
        methods=dict.fromkeys(Method, compute_threshold(accuracies)),
    )  # fmt: skip


BASE, CORPUS = load()
CASES = {case.id: case for case in CORPUS}
FULL, HEAD, LORA = Method
FEW = calibrated([0.78, 0.80, 0.82, 0.80, 0.80])  # 0.7 and a little
MANY = calibrated([0.80, 0.81] * 10)  # twenty seeds


@pytest.mark.parametrize(
    ("known", "runs_of_the_reference"),
    [
        pytest.param(None, training.REFERENCE_SEEDS, id="no calibration"),
        pytest.param(FEW, training.REFERENCE_SEEDS, id="few seeds"),
        pytest.param(MANY, 0, id="seeds enough"),
    ],
)
def test_plan(known: Calibration | None, runs_of_the_reference: int) -> None:
    planned = [case.id for case, _ in training.plan(CORPUS, known)]
    assert planned.count("reference") == runs_of_the_reference
    assert set(planned) - {"reference"} == {*training.HONEST, *(s.id for s in CORPUS if s.training)}
    assert all(planned.count(name) == seeds for name, seeds in training.HONEST.items())


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("reference", [FULL, HEAD, LORA]),
        ("more_epochs", [FULL, HEAD, LORA]),
        ("rank_6", [LORA]),
        ("lora_parameters", [LORA]),
        ("labels_shuffled", [FULL, HEAD, LORA]),
        ("labels_swapped_lora", [LORA]),
        ("lora_untrained", [LORA]),
        ("head_untrained", [HEAD]),
        ("full_reset_after_training", [FULL]),
    ],
)
def test_only_trainings_that_a_patch_bears_on_are_run(name: str, methods: list[Method]) -> None:
    source = "\n".join(training.reduce_cells(CASES[name], BASE))
    assert list(training.find_affected_methods(CASES[name], BASE)) == methods
    assert [method for method in Method if f'train_and_record("{method.value}"' in source] == methods


def test_runs_are_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, later = (CASES["reference"], 1_001), (CASES["reference"], 1_002)
    store, ran = tmp_path / "deep" / "training.jsonl", list[MeasuredRun]()

    def run(case: CorpusCase, base: Base, used: Setup) -> MeasuredRun:
        where = training.digest_conditions(used, training.reduce_cells(case, base))
        ran.append(measured(case.id, used.seed, 0.8, where))
        return ran[-1]

    monkeypatch.setattr(training, "locate_ledger", lambda name: store)
    monkeypatch.setattr(training, "_measure", run)
    with pipeline.open_setup(Profile.QUICK, 0, UNSANDBOXED) as setup:
        training.measure([planned], BASE, setup, Console(quiet=True))
        store.write_text(store.read_text(encoding="utf-8") + '{"cut off', encoding="utf-8")
        training.measure([planned], BASE, setup, Console(quiet=True))
        assert training.load_known([planned, later], BASE, setup) == tuple(ran)
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("cells", "same"),
    [
        pytest.param(("x = 1  # one", "f(x)"), True, id="a comment"),
        pytest.param(("x = 1", "# Exercise 2", "f( x )"), True, id="a cell that only says something, blanks"),
        pytest.param(("'''One.'''\nx = 1", "f(x)"), True, id="a text"),
        pytest.param(("x = 2", "f(x)"), False, id="another number"),
        pytest.param(("f(x)", "x = 1"), False, id="another order"),
        pytest.param(("x = 1", "%matplotlib inline", "f(x)"), False, id="a command of IPython's"),
    ],
)
def test_a_run_is_known_by_what_its_cells_do(cells: tuple[str, ...], same: bool) -> None:
    assert (training.digest_cells(cells) == training.digest_cells(("x = 1", "f(x)"))) is same


def count(found: Sequence[MeasuredRun], what: str, known: Calibration = FEW) -> tuple[int, int]:
    """The number of times that the thing whose words begin so happened, and of runs in which it could have."""
    rates = training.compute_rates(found, CORPUS, known)
    return next((rate.happened, rate.runs) for rate in rates if rate.what.startswith(what))


def test_rates_count_false_fails_and_false_passes() -> None:
    reached = {"reference": (0.8, 0.6), "labels_shuffled": (0.5, 0.75)}
    found = [measured(name, seed, both[seed]) for name, both in reached.items() for seed in (0, 1)]
    assert count(found, "other runs of the reference that miss the threshold of full,") == (1, 2)
    assert count(found, "labels_shuffled") == (3, 6)


def test_a_run_counts_for_the_methods_it_trained() -> None:
    found = [measured("rank_6", 1, 0.8).model_copy(update={"accuracies": {LORA: None}})]
    assert count(found, "honest variants that miss the threshold of lora,") == (1, 1)
    assert count(found, "honest variants that miss the threshold of full,") == (0, 0)


@pytest.mark.parametrize(
    ("known", "seeds"), [(None, [3, 4, 17]), (FEW, [17])], ids=["no thresholds yet", "seeds 0 to 4 made them"]
)
def test_stored_runs_of_the_reference_count_unless_thresholds_follow_from_them(
    known: Calibration | None, seeds: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {seed: dict.fromkeys(Method, 0.8) for seed in (3, 4, 17)}
    monkeypatch.setattr(training, "load_runs", lambda used: stored)
    later = training.find_later_runs(None, known)  # type: ignore[arg-type]
    assert [run.seed for run in later] == seeds
    assert {run.case for run in later} == {"reference"}


def test_the_reference_is_not_trained_again_where_enough_runs_are_stored() -> None:
    few, enough = ([measured("reference", seed, 0.8) for seed in range(number)] for number in (14, 15))
    assert "reference" in {case.id for case, _ in training.plan(CORPUS, FEW, few)}
    assert "reference" not in {case.id for case, _ in training.plan(CORPUS, FEW, enough)}


def test_a_missing_accuracy_reaches_nothing() -> None:
    nothing = measured("reference", 1, 0.8).model_copy(update={"accuracies": {Method.FULL: None}})
    assert not any(nothing.reaches(method, 0.5) for method in Method)


def test_nothing_is_counted_without_thresholds() -> None:
    assert training.compute_rates([measured("reference", 1, 0.8)], CORPUS, None) == ()


@pytest.mark.parametrize(
    ("accuracies", "missed"),
    [
        pytest.param([0.80, 0.81] * 10, 0, id="alike"),
        pytest.param([0.80, 0.81] * 10 + [0.70], 1, id="one far below"),
        pytest.param([0.80, 0.81] * 10 + [0.90], 0, id="one far above"),
    ],
)
def test_each_run_of_the_reference_is_held_against_the_others(accuracies: list[float], missed: int) -> None:
    what = "runs of the reference that miss the threshold of head that its other runs give"
    assert count([], what, calibrated(accuracies)) == (missed, len(accuracies))


@pytest.mark.parametrize("status", [status for status in RunStatus if status not in training.ENDED])
def test_a_run_that_did_not_end_is_no_false_fail(status: RunStatus) -> None:
    summary = RunSummary(status=status, wall_s=0, peak_memory_mib=0)
    ended = repetition.build_record(0).model_copy(update={"summary": summary, "reason": "the machine was busy"})
    with pytest.raises(GraderError, match="the machine was busy"):
        training.require_ended(CORPUS[0], ended)
