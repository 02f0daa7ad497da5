"""What plots and bars show, whatever numbers a training log holds, and that a page may hold what is drawn."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import pytest

from grader.model import CurvePoint, Method, MethodSummary
from grader.reporting import plots
from grader.reporting.bars import build_duration_bars, build_method_charts
from grader.reporting.plots import Plot, draw_accuracy_over_time, draw_curves, draw_score_histogram

from .examples import details, full_marks

TIMED = [(0.8, 42.0), (0.9, 151.0), (0.7, 60.0)]


def read_texts(plot: Plot) -> list[str]:
    return [element.text or "" for element in _elements(plot) if element.tag.endswith("}text")]


def count_points(plot: Plot) -> int:
    return sum(element.tag.endswith("}use") for element in _elements(plot))


def _elements(plot: Plot) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(plot.svg).iter())


def train(measured: Sequence[tuple[float, float]]) -> list[Mapping[Method, MethodSummary]]:
    return [{Method.FULL: MethodSummary(accuracy=accuracy, train_s=time)} for accuracy, time in measured]


PLOTS = [
    *(pytest.param(plot, id=plot.title) for plot in draw_curves(details().curves)),
    pytest.param(draw_score_histogram([0.1, 0.9]), id="histogram"),
    pytest.param(draw_accuracy_over_time(train(TIMED)), id="accuracy over time"),
]


SHAPES = {"svg", "g", "defs", "path", "use", "text", "clipPath", "rect"}


@pytest.mark.parametrize("plot", PLOTS)
def test_a_strict_policy_allows_the_picture_and_colours_and_fonts_are_the_pages(plot: Plot) -> None:
    elements = _elements(plot)
    names = {name for element in elements for name in element.attrib}
    ids = [element.get("id") for element in elements if element.get("id")]
    assert {element.tag.rpartition("}")[2] for element in elements} <= SHAPES
    assert not [name for name in names if name == "style" or name.startswith(("on", "{"))]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', plot.svg)) <= set(ids)
    assert set(re.findall(r"#[0-9a-f]{6}\b", plot.svg)) <= {"#ffffff"}
    assert ("var(--soft)" in plot.svg, "DejaVu" in plot.svg) == (True, False)


def test_the_same_numbers_give_the_same_picture_and_ids_of_two_pictures_differ() -> None:
    one, other = draw_curves(details().curves)
    assert (one, other) == draw_curves(details().curves)
    assert not set(re.findall(' id="([^"]+)', one.svg)) & set(re.findall(' id="([^"]+)', other.svg))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308], ids=str)
def test_what_cannot_be_drawn_is_left_out(value: float) -> None:
    points = (CurvePoint(step=0, loss=value), CurvePoint(step=1, loss=0.5), CurvePoint(step=10**30, loss=0.4))
    (plot,) = draw_curves({Method.FULL: points})
    assert plot.description == "Full fine-tuning ends at 0.5"
    assert draw_curves({Method.FULL: points[:1]}) == ()
    assert build_duration_bars([("a", value), ("b", 1.0)])[1].fraction == 1.0
    assert build_method_charts({Method.FULL: MethodSummary(accuracy=value, train_s=value)}, with_thresholds=True) == ()
    assert draw_accuracy_over_time(train([(value, 1.0), (0.5, value), (0.5, 0.0)])) is None


UNUSUAL = {"one value": [5.0, 5.0], "zero": [0.0], "large": [-9e8, 9e8], "tiny span": [1.0, 1.0 + 1e-9]}


@pytest.mark.parametrize("losses", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_values_make_a_plot_without_a_warning(losses: Sequence[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (plot,) = draw_curves({Method.HEAD: [CurvePoint(step=n, loss=loss) for n, loss in enumerate(losses)]})
    assert count_points(plot) >= len(losses)
    assert "nan" not in plot.svg


def test_long_curves_are_bounded_and_keep_their_end_and_short_ones_show_their_points() -> None:
    (plot,) = draw_curves({Method.LORA: [CurvePoint(step=step, loss=math.sin(step)) for step in range(10_000)]})
    assert f"LoRA {math.sin(9_999):.3g}" in read_texts(plot)
    assert len(plot.svg) < 100 * plots.CURVE_POINTS_MAX
    steps = [CurvePoint(step=step, eval_accuracy=0.5 + step / 100) for step in range(plots.FEW + 1)]
    (many,), (few,) = draw_curves({Method.FULL: steps}), draw_curves({Method.FULL: steps[1:]})
    assert (count_points(many), count_points(few)) == (0, plots.FEW + 1)  # and one in the legend


def test_curves_name_their_methods_and_axes() -> None:
    loss, accuracy = draw_curves(details().curves)
    assert {"Full fine-tuning 0.157", "Head only 0.642", "training steps", "20", "0.4"} <= set(read_texts(loss))
    assert {"Full fine-tuning 78.5%", "60%", "70%"} <= set(read_texts(accuracy))
    assert "LoRA ends at 0.303" in loss.description


def test_histogram_counts_everybody_once() -> None:
    plot = draw_score_histogram([0.0, 0.05, 0.1, 0.95, 1.0, 1.0, 0.3, 0.7])
    assert plot.description == "0 to 10%: 2; 10 to 20%: 1; 30 to 40%: 1; 70 to 80%: 1; 90 to 100%: 3"
    shown = read_texts(plot)
    assert shown[:6] == ["0", "20", "40", "60", "80", "100"]
    assert [text for text in shown[6:] if text] == ["2", "1", "1", "1", "3"]
    assert draw_score_histogram([]).description == ""


AXES: dict[str, tuple[list[tuple[float, float]], list[str]]] = {
    "minutes": ([(0.8, 42), (0.9, 151)], ["30 s", "1 min", "2 min"]),
    "short": ([(0.8, 0.01)], ["0.01 s"]),
    "alike": ([(0.8, 30), (0.9, 31)], ["20 s", "30 s"]),
    "wide": ([(0.8, 1), (0.9, 7000)], ["1 s", "10 s", "1 min", "10 min", "1 h"]),
    "days": ([(0.8, 70 * 3600)], ["50 h", "100 h"]),
}


@pytest.mark.parametrize(("measured", "axis"), AXES.values(), ids=AXES)
def test_accuracy_over_time_is_shown_over_durations_that_people_count_in(
    measured: Sequence[tuple[float, float]], axis: list[str]
) -> None:
    plot = draw_accuracy_over_time(train(measured))
    assert plot is not None
    assert [text for text in read_texts(plot) if re.fullmatch(r"[\d.]+ (s|min|h)", text)] == axis
    assert count_points(plot) == len(measured) + 1  # and their median


def test_accuracy_over_time_says_the_medians() -> None:
    plot = draw_accuracy_over_time([*train(TIMED), full_marks().methods])
    assert plot is not None
    for median in ("Full fine-tuning: median 81.3% after 1 min 46 s", "LoRA: median 81.2% after 1 min 49 s"):
        assert median in plot.description
    assert draw_accuracy_over_time([{Method.FULL: MethodSummary()}]) is None


def test_bars_share_a_scale_from_zero_and_show_thresholds_only_when_asked_for() -> None:
    assert [bar.fraction for bar in build_duration_bars([("a", 1.0), ("b", 4.0), ("c", 0.0)])] == [0.25, 1.0, 0.0]
    assert [bar.fraction for bar in build_duration_bars([("a", 0.0)])] == [0.0]
    accuracy, seconds, parameters = build_method_charts(full_marks().methods, with_thresholds=True)
    assert [bar.text for bar in seconds.bars] == ["2 min 31 s", "41.7 s", "1 min 49 s"]
    assert [round(bar.fraction, 3) for bar in parameters.bars] == [1.0, 0.009, 0.012]
    assert [bar.mark for bar in accuracy.bars] == [0.74, 0.59, 0.72]
    assert all(bar.mark is None for bar in build_method_charts(full_marks().methods, with_thresholds=False)[0].bars)
