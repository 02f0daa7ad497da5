"""The training part: what is planned, stored, resumed and counted. Nothing is trained here."""

from pathlib import Path

import pytest
from rich.console import Console

from grader import grading
from grader.model import Method, Profile
from grader.sandbox import Backend
from grader.validation import training
from grader.validation.training import Measured
from grader.validation.validating import load


def measured(name: str, seed: int, accuracy: float, circumstances: str = "here") -> Measured:
    """A run in which every method reaches `accuracy`; 0.7 is asked for."""
    return Measured(
        specimen=name,
        seed=seed,
        circumstances=circumstances,
        accuracies=dict.fromkeys(Method, accuracy),
        thresholds=dict.fromkeys(Method, 0.7),
    )


def test_plan_has_the_reference_honest_variants_and_accuracy_mutants() -> None:
    _, corpus = load()
    planned = [specimen.id for specimen, _ in training.plan(corpus)]
    assert planned.count("reference") == training.REFERENCE_SEEDS
    assert set(planned) == {"reference", *training.HONEST, *(s.id for s in corpus if s.training)}


def test_runs_are_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, corpus = load()
    reference = next(s for s in corpus if s.id == "reference")
    store, ran = tmp_path / "deep" / "training.jsonl", []

    def run(specimen: object, used: object) -> Measured:
        ran.append(used)
        return measured("reference", 1_000 + len(ran), 0.8, training.circumstances(setup))

    monkeypatch.setattr(training, "store", lambda: store)
    monkeypatch.setattr(training, "_measured", run)
    with grading.setup(Profile.QUICK, 0, Backend.NONE) as setup:
        first = training.measure([(reference, 1_001)], setup, Console(quiet=True))
        store.write_text(store.read_text(encoding="utf-8") + '{"cut off', encoding="utf-8")
        again = training.measure([(reference, 1_001)], setup, Console(quiet=True))
        assert training.known([(reference, 1_001), (reference, 1_002)], setup) == first
    assert len(ran) == 1
    assert first == again


def test_rates_count_false_fails_and_false_passes() -> None:
    _, corpus = load()
    found = [
        measured("reference", 1, 0.8),
        measured("reference", 2, 0.6),
        measured("labels_shuffled", 1, 0.5),
        measured("labels_shuffled", 2, 0.75),
    ]
    rates = {rate.what.split(":")[0]: (rate.happened, rate.runs) for rate in training.rates(found, corpus)}
    assert rates["honest solutions that miss the threshold of full"] == (1, 2)
    assert rates["labels_shuffled"] == (3, 6)


def test_runs_without_thresholds_are_not_counted() -> None:
    _, corpus = load()
    found = measured("reference", 1, 0.8).model_copy(update={"thresholds": dict.fromkeys(Method)})
    assert {rate.runs for rate in training.rates([found], corpus)} == {0}
