"""Numbers and sentences that the reports share."""

import math
from collections.abc import Mapping
from typing import Any

import pytest

from grader.assets.reviews import Source
from grader.model import Method, Profile, Result, RunStatus, Score, ScoreStatus, Verdict
from grader.reporting import words

from .examples import full_marks


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        pytest.param(words.format_points(95.0), "95", id="points_whole"),
        pytest.param(words.format_points(2.5), "2.5", id="points_half"),
        pytest.param(words.format_points(1 / 3), "0.33", id="points_third"),
        pytest.param(words.format_points(0.0), "0", id="points_zero"),
        pytest.param(words.format_points(100.0), "100", id="points_keep_their_zeros"),
        pytest.param(words.format_points(None), "–", id="points_of_an_error"),
        pytest.param(words.format_count(66_955_010), "66,955,010", id="count"),
        pytest.param(words.format_count(1e300), "1e+300", id="count_huge"),
        pytest.param(words.format_percent(0.8264), "82.6%", id="percent"),
        pytest.param(words.format_percent(math.nan), "–", id="percent_not_a_number"),
        pytest.param(words.format_percent(1e300), "1e+300", id="percent_huge"),
        pytest.param(words.format_seconds(0.417), "0.42 s", id="seconds_below_one"),
        pytest.param(words.format_seconds(12.34), "12.3 s", id="seconds"),
        pytest.param(words.format_seconds(99.99), "1 min 40 s", id="seconds_round_to_minutes"),
        pytest.param(words.format_seconds(192), "3 min 12 s", id="minutes"),
        pytest.param(words.format_seconds(7_500), "2 h 05 min", id="hours"),
        pytest.param(words.format_seconds(-1), "–", id="seconds_negative"),
        pytest.param(words.format_seconds(math.inf), "–", id="seconds_infinite"),
        pytest.param(words.get_step_title("step3"), "Step 3: LoRA", id="step_known"),
        pytest.param(words.get_step_title("step4"), "Step 4", id="step_unknown"),
        pytest.param(words.get_step_title("bonus_task"), "Bonus task", id="step_named"),
        pytest.param(words.format_agreement(None), "not compared", id="nothing_to_compare"),
    ],
)
def test_formats(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("mapping", "members"),
    [
        pytest.param(words.VERDICTS, Verdict, id="verdicts"),
        pytest.param(words.MEANINGS, Verdict, id="meanings"),
        pytest.param(words.METHODS, Method, id="methods"),
        pytest.param(words.PROFILES, Profile, id="profiles"),
        pytest.param(words.RUNS, RunStatus, id="runs"),
    ],
)
def test_every_member_has_words(mapping: Mapping[Any, str], members: type) -> None:
    assert set(mapping) == set(members)  # type: ignore[call-overload]
    assert all(mapping.values())


def _changed(**changes: Any) -> Result:
    return full_marks().model_copy(update=changes)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param(_changed(), [], id="nothing_to_say"),
        pytest.param(_changed(sandbox="none"), ["run without a sandbox"], id="no_sandbox"),
        pytest.param(_changed(environment={"reviews": Source.SYNTHETIC.value}), ["synthetic"], id="synthetic_data"),
        pytest.param(_changed(environment={"reviews": "not synthetic reviews"}), [], id="a name with the word"),
        pytest.param(
            _changed(environment={"reviews": Source.SYNTHETIC.value}, methods={}), [], id="synthetic, nothing measured"
        ),
        pytest.param(
            _changed(score=Score(points=None, possible=100, status=ScoreStatus.UNGRADED)), ["ungraded"], id="ungraded"
        ),
        pytest.param(
            _changed(sandbox="none", run=full_marks().run.model_copy(update={"status": RunStatus.TIMEOUT})),
            ["run without a sandbox", "time limit"],
            id="most_serious_first",
        ),
    ],
)
def test_notices(result: Result, expected: list[str]) -> None:
    shown = words.list_notices(result)
    assert len(shown) == len(expected)
    assert all(part in text for part, text in zip(expected, shown, strict=True))
