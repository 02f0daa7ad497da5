"""The plots stay inside their frame whatever numbers a training log holds."""

import math

import pytest

from grader.model import CurvePoint, Method, MethodSummary
from grader.reporting.plots import (
    CURVE_POINTS_MAX,
    build_curve_charts,
    build_duration_bars,
    build_method_charts,
    compute_ticks,
)

from .examples import details, full_marks


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(0.0, 1.0, id="unit"),
        pytest.param(0.157, 0.712, id="loss"),
        pytest.param(0.0, 64.0, id="steps"),
        pytest.param(5.0, 5.0, id="one_value"),
        pytest.param(0.0, 0.0, id="zero"),
        pytest.param(-1e9, 1e9, id="large"),
        pytest.param(1.0, 1.0 + 1e-9, id="tiny_span"),
    ],
)
def test_ticks_enclose_the_values(low: float, high: float) -> None:
    places = compute_ticks(low, high)
    slack = 1e-6 * max(abs(low), abs(high), 1e-3)  # places are multiples of a step: rounding
    assert places[0] <= low + slack
    assert places[-1] >= high - slack
    assert 2 <= len(places) <= 8
    assert sorted(set(places)) == list(places)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308], ids=str)
def test_what_cannot_be_drawn_is_left_out(value: float) -> None:
    points = (CurvePoint(step=0, loss=value), CurvePoint(step=1, loss=0.5), CurvePoint(step=10**30, loss=0.4))
    (chart,) = build_curve_charts({Method.FULL: points})
    assert [line.last_text for line in chart.lines] == ["0.5"]
    assert build_curve_charts({Method.FULL: points[:1]}) == ()
    assert build_duration_bars([("a", value), ("b", 1.0)])[1].fraction == 1.0
    assert build_method_charts({Method.FULL: MethodSummary(accuracy=value, train_s=value)}, with_thresholds=True) == ()


def test_curves_stay_inside_the_frame_and_bounded() -> None:
    many = tuple(CurvePoint(step=step, loss=math.sin(step)) for step in range(10_000))
    (chart,) = build_curve_charts({Method.LORA: many})
    (line,) = chart.lines
    assert len(line.points) <= CURVE_POINTS_MAX
    assert all(40 <= x <= 312 and 10 <= y <= 160 for x, y in line.points)
    assert line.last_text == f"{math.sin(9_999):.3g}"


def test_thresholds_are_drawn_only_when_asked_for() -> None:
    methods = full_marks().methods
    assert all(bar.mark is not None for bar in build_method_charts(methods, with_thresholds=True)[0].bars)
    assert all(bar.mark is None for bar in build_method_charts(methods, with_thresholds=False)[0].bars)


def test_descriptions_say_in_words_what_the_picture_shows() -> None:
    accuracy, seconds, parameters = build_method_charts(full_marks().methods, with_thresholds=True)
    assert "LoRA: 81.2% (at least 72.0% asked for)" in accuracy.description
    assert "Head only: 41.7 s" in seconds.description
    assert "Full fine-tuning: 66,955,010" in parameters.description
    assert "LoRA ends at" in build_curve_charts(details().curves)[0].description


def test_bars_share_a_scale_from_zero() -> None:
    assert [bar.fraction for bar in build_duration_bars([("a", 1.0), ("b", 4.0), ("c", 0.0)])] == [0.25, 1.0, 0.0]
    assert [bar.fraction for bar in build_duration_bars([("a", 0.0)])] == [0.0]
