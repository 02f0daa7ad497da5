"""Geometry of the small plots in the pages: numbers to coordinates. The SVG itself is templates/plots.html."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

from grader.model import CurvePoint, Method, MethodSummary
from grader.reporting import words

CURVE_POINTS_MAX: Final = 200
_SANE: Final = 1e9  # a log can hold any float; what lies beyond this is left out of a plot

# The drawing area of a curve inside its 320 × 190 view box; the margins hold the labels of the axes.
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 312.0, 10.0, 160.0


@dataclass(frozen=True)
class Bar:
    """One horizontal bar. `fraction` and `mark` lie in 0 to 1; `mark` is a threshold on the same scale."""

    label: str
    text: str
    fraction: float
    style: str
    mark: float | None = None
    mark_text: str = ""


@dataclass(frozen=True)
class BarChart:
    """Bars that share a scale which starts at 0."""

    key: str
    title: str
    bars: tuple[Bar, ...]

    @property
    def description(self) -> str:
        """The same content in words, for readers who do not see the picture."""
        return "; ".join(f"{bar.label}: {bar.text} {bar.mark_text}".rstrip() for bar in self.bars)


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    text: str


@dataclass(frozen=True)
class Line:
    """One series in view-box coordinates."""

    label: str
    style: str
    points: tuple[tuple[float, float], ...]
    last_text: str

    @property
    def path(self) -> str:
        """The value of a polyline's `points` attribute."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class LineChart:
    """Series over training steps."""

    key: str
    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def description(self) -> str:
        """The last value of each series."""
        return "; ".join(f"{line.label} ends at {line.last_text}" for line in self.lines)


def method_charts(methods: Mapping[Method, MethodSummary], *, with_thresholds: bool) -> tuple[BarChart, ...]:
    """Accuracy, seconds and trainable parameters of the methods that were measured; no chart without a value."""
    charts = (
        _accuracy_chart(methods, with_thresholds),
        _scaled_chart("train-s", "Training time", methods, lambda m: m.train_s, words.seconds),
        _scaled_chart("parameters", "Trainable parameters", methods, lambda m: m.trainable_parameters, words.count),
    )
    return tuple(chart for chart in charts if chart.bars)


def duration_bars(durations: Iterable[tuple[str, float]]) -> tuple[Bar, ...]:
    """One bar per named duration in seconds, scaled to the longest."""
    named = [(label, value if _sane(value) else 0.0) for label, value in durations]
    longest = max((value for _, value in named), default=0.0)
    return tuple(Bar(label, words.seconds(value), _share(value, longest), "plain") for label, value in named)


def curve_charts(curves: Mapping[Method, Sequence[CurvePoint]]) -> tuple[LineChart, ...]:
    """Training loss and evaluation accuracy over steps; no chart without a value."""
    charts = (
        _line_chart("loss", "Training loss", curves, lambda point: point.loss, _short),
        _line_chart("eval-accuracy", "Evaluation accuracy", curves, lambda point: point.eval_accuracy, _short_percent),
    )
    return tuple(chart for chart in charts if chart)


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Three to seven round values from at or below `low` to at or above `high`."""
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(span))
    step = next(size * factor for factor in (0.2, 0.5, 1.0, 2.0) if span <= 5 * size * factor)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(step * place for place in range(first, max(last, first + 1) + 1))


def _accuracy_chart(methods: Mapping[Method, MethodSummary], with_thresholds: bool) -> BarChart:
    bars = []
    for method, row in _in_order(methods):
        if row.accuracy is None or not _sane(row.accuracy):
            continue
        mark = row.threshold if with_thresholds else None
        bars.append(
            Bar(
                words.METHODS[method],
                words.percent(row.accuracy),
                _share(row.accuracy, 1.0),
                method.value,
                None if mark is None else _share(mark, 1.0),
                "" if mark is None else f"(at least {words.percent(mark)} asked for)",
            )
        )
    return BarChart("accuracy", "Accuracy on held-out reviews", tuple(bars))


def _scaled_chart(
    key: str,
    title: str,
    methods: Mapping[Method, MethodSummary],
    value_of: Callable[[MethodSummary], float | None],
    write: Callable[[float | None], str],
) -> BarChart:
    known = [(method, value) for method, row in _in_order(methods) if _sane(value := value_of(row))]
    largest = max((value for _, value in known), default=0.0)
    bars = (Bar(words.METHODS[m], write(value), _share(value, largest), m.value) for m, value in known)
    return BarChart(key, title, tuple(bars))


def _line_chart(
    key: str,
    title: str,
    curves: Mapping[Method, Sequence[CurvePoint]],
    value_of: Callable[[CurvePoint], float | None],
    write: Callable[[float], str],
) -> LineChart | None:
    series = {method: _series(curves.get(method, ()), value_of) for method in Method}
    values = [value for points in series.values() for _, value in points]
    if not values:
        return None
    y_values = ticks(min(values), max(values))
    x_values = ticks(0, max(step for points in series.values() for step, _ in points))
    x_place, y_place = _scale(x_values, _LEFT, _RIGHT), _scale(y_values, _BOTTOM, _TOP)
    lines = (
        Line(
            words.METHODS[method],
            method.value,
            tuple((x_place(step), y_place(value)) for step, value in points),
            write(points[-1][1]),
        )
        for method, points in series.items()
        if points
    )
    return LineChart(
        key,
        title,
        tuple(lines),
        tuple(Tick(x_place(x), words.count(x)) for x in x_values if x == int(x)),
        tuple(Tick(y_place(y), write(y)) for y in y_values),
    )


def _short(value: float) -> str:
    return f"{value:.3g}"


def _short_percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def _in_order(methods: Mapping[Method, MethodSummary]) -> Iterable[tuple[Method, MethodSummary]]:
    return ((method, methods[method]) for method in Method if method in methods)


def _sane(value: float | None) -> TypeGuard[float]:
    return value is not None and -_SANE < value < _SANE


def _share(value: float, whole: float) -> float:
    return min(max(value / whole, 0.0), 1.0) if whole > 0 else 0.0


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    low, span = values[0], values[-1] - values[0]
    return lambda value: start + (value - low) / span * (end - start)


def _series(points: Iterable[CurvePoint], value_of: Callable[[CurvePoint], float | None]) -> list[tuple[int, float]]:
    """Pair steps and values, without what cannot be drawn; a bounded number of points, always with the last one."""
    known = [(p.step, v) for p in points if _sane(v := value_of(p)) and 0 <= p.step < _SANE]
    stride = max(1, math.ceil(len(known) / CURVE_POINTS_MAX))
    return known[::-1][::stride][::-1]
