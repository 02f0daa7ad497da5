"""Thresholds from accuracies, and finding the one that fits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, t

from grader.errors import GraderError
from grader.judging import calibration
from grader.judging.calibration import FALSE_FAIL, MIN_DEVIATION, MIN_SEEDS, Calibration
from grader.model import Method, Profile

ACCURACIES = (0.81, 0.83, 0.82, 0.80, 0.84, 0.82, 0.81, 0.83)


def made(**changes: Any) -> Calibration:
    given: dict[str, Any] = {
        "name": "quick",
        "profile": Profile.QUICK,
        "budget": "b" * 16,
        "checkpoint": "stand-in",
        "checkpoint_sha256": "c" * 64,
        "reviews": "real",
        "reviews_sha256": "d" * 64,
        "precision": "float32",
        "seeds": tuple(range(8)),
        "false_fail": FALSE_FAIL,
        "methods": {method: calibration.compute_threshold(ACCURACIES) for method in Method},
    }
    return Calibration(**{**given, **changes})


def test_the_threshold_is_the_prediction_bound() -> None:
    n, mean, s = len(ACCURACIES), np.mean(ACCURACIES), np.std(ACCURACIES, ddof=1)
    expected = mean - t.ppf(1 - FALSE_FAIL, n - 1) * s * np.sqrt(1 + 1 / n)
    found = calibration.compute_threshold(ACCURACIES).threshold
    assert found == pytest.approx(expected, abs=1e-4)  # rounded to four digits


def test_equal_accuracies_are_not_believed_to_be_without_deviation() -> None:
    found = calibration.compute_threshold([0.8] * 8)
    assert found.deviation == MIN_DEVIATION
    assert found.threshold < 0.8 - 3 * MIN_DEVIATION


def test_a_threshold_at_chance_is_pointed_out() -> None:
    poor, good = (calibration.compute_threshold(found) for found in ([0.5, 0.51, 0.5, 0.49, 0.5], ACCURACIES))
    assert "head" in calibration.list_warnings({Method.HEAD: poor, Method.FULL: good})[0]


@pytest.mark.parametrize("n", [5, 8, 20])
@pytest.mark.parametrize("rate", [0.001, 0.05])
def test_false_fails_happen_as_often_as_stated(n: int, rate: float) -> None:
    """Draw calibrations and one further run each from the same normal distribution; count runs below the threshold."""
    draws, deviation = 4_000, 0.05  # ten times MIN_DEVIATION, which then never matters
    generator = np.random.default_rng(0)
    runs = generator.normal(0.8, deviation, size=(draws, n + 1))
    failed = sum(run[n] < calibration.compute_threshold(list(run[:n]), rate).threshold for run in runs)
    # With the stated rate, a count outside of these bounds has a probability of 1 in 10,000 (the seed is fixed).
    low, high = binom.ppf([0.00005, 0.99995], draws, rate)
    assert low <= failed <= high


@pytest.mark.parametrize("n", range(MIN_SEEDS))
def test_too_few_seeds(n: int) -> None:
    with pytest.raises(GraderError, match=f"at least {MIN_SEEDS} seeds; got {n}"):
        calibration.compute_threshold([0.8] * n)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param({}, True, id="same circumstances"),
        pytest.param({"precision": "bfloat16 autocast", "name": "x"}, True, id="precision and name do not matter"),
        pytest.param({"profile": Profile.FULL}, False, id="another profile"),
        pytest.param({"budget": "x"}, False, id="another budget"),
        pytest.param({"checkpoint_sha256": "x"}, False, id="another checkpoint"),
        pytest.param({"reviews_sha256": "x"}, False, id="other reviews"),
    ],
)
def test_find(changes: dict[str, Any], found: bool) -> None:
    circumstances = (Profile.QUICK, "b" * 16, "c" * 64, "d" * 64)
    assert (calibration.find([made(**changes)], *circumstances) is not None) == found


def test_merging_replaces_the_same_circumstances_and_keeps_the_rest() -> None:
    other = made(reviews_sha256="x", name="other")
    newer = made(seeds=(9, 10, 11, 12, 13))
    assert calibration.merge([made(), other], newer) == (other, newer)


def test_saved_and_loaded(tmp_path: Path) -> None:
    assert calibration.load(tmp_path / "c.json") == ()  # no file is no calibration
    calibrations = (made(name="a"), made(name="b", budget="x"))
    calibration.save(tmp_path / "c.json", calibrations[::-1])
    assert calibration.load(tmp_path / "c.json") == calibrations


def entry(**changes: Any) -> str:
    return json.dumps([{**made().model_dump(mode="json"), **changes}])


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="not JSON"),
        pytest.param("5", id="a number"),
        pytest.param('{"a": 1}', id="an object"),
        pytest.param("[1]", id="a list of numbers"),
        pytest.param("\udcff", id="not UTF-8"),
        pytest.param(entry(profile="fast"), id="an unknown profile"),
        pytest.param(entry(methods={"full": {}}), id="a method without threshold"),
        pytest.param(entry(methods={}), id="methods missing"),
    ],
)
def test_a_broken_file_is_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(GraderError, match="is not a calibration file; restore it"):
        calibration.load(tmp_path / "c.json")
