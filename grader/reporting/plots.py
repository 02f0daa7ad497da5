"""Geometry of the small plots in the pages: numbers to coordinates. The SVG itself is templates/plots.html."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeGuard

from grader.model import CurvePoint, Method, MethodSummary
from grader.reporting import words

CURVE_POINTS_MAX: Final = 200
_SANE: Final = 1e9  # a log can hold any float; what lies beyond this is left out of a plot

# The drawing area of a curve inside its 320 × 190 view box; the margins hold the labels of the axes.
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 312.0, 10.0, 160.0


_SCATTER_RIGHT, _SCATTER_BOTTOM = 302.0, 190.0  # of a 320 × 225 view box
_HISTOGRAM_LEFT = 6.0  # no labels on that side
_TENTHS: Final = 10
_TIMES_S: Final = (
    *(0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0),
    *(60.0 * minutes for minutes in (1, 2, 5, 10, 20, 30)),
    *(3600.0 * hours for hours in (1, 2, 5, 10, 24, 100)),
)

# Circle, square and triangle around the current point: the methods differ without colour too.
_SHAPES: Final[Mapping[Method, str]] = {
    Method.FULL: "m-2.6 0a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0-5.2 0",
    Method.HEAD: "m-2.3-2.3h4.6v4.6h-4.6z",
    Method.LORA: "m0-3.1l2.9 5.1h-5.8z",
}


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


@dataclass(frozen=True)
class HistogramColumn:
    """One bar of a histogram in view-box coordinates. `label_y` is where its number stands."""

    x: float
    y: float
    width: float
    height: float
    text: str

    @property
    def middle(self) -> float:
        """Where its number is centred."""
        return self.x + self.width / 2


@dataclass(frozen=True)
class Histogram:
    """How many values lie in each range."""

    key: str
    title: str
    columns: tuple[HistogramColumn, ...]
    x_ticks: tuple[Tick, ...]
    description: str


@dataclass(frozen=True)
class Cloud:
    """The points of one series as one path, and its median."""

    label: str
    style: str
    path: str
    median: tuple[float, float]
    text: str


@dataclass(frozen=True)
class ScatterChart:
    """Clouds of points over two axes."""

    key: str
    title: str
    clouds: tuple[Cloud, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def description(self) -> str:
        """The medians in words."""
        return "; ".join(f"{cloud.label}: {cloud.text}" for cloud in self.clouds)


def build_score_histogram(shares: Iterable[float]) -> Histogram:
    """How many of the class have which share (0 to 1) of the points possible, in tenths; 1 belongs to the last."""
    counts = [0] * _TENTHS
    for share in shares:
        counts[min(int(min(max(share, 0.0), 1.0) * _TENTHS + 1e-9), _TENTHS - 1)] += 1
    highest, width = max(*counts, 1), (_RIGHT - _HISTOGRAM_LEFT) / _TENTHS
    columns = tuple(
        HistogramColumn(
            _HISTOGRAM_LEFT + place * width + 1.5,
            _BOTTOM - (height := (_BOTTOM - 26) * number / highest),
            width - 3,
            height,
            words.format_count(number) if number else "",
        )
        for place, number in enumerate(counts)
    )
    ticks_ = tuple(Tick(_HISTOGRAM_LEFT + place * width, f"{10 * place}") for place in range(0, _TENTHS + 1, 2))
    named = (f"{10 * place} to {10 * (place + 1)}%: {number}" for place, number in enumerate(counts) if number)
    return Histogram("scores", "Students by points, in percent of those possible", columns, ticks_, "; ".join(named))


def build_accuracy_scatter(class_methods: Iterable[Mapping[Method, MethodSummary]]) -> ScatterChart | None:
    """Accuracy against training time (logarithmic) of every training in a class; None where nothing was measured."""
    found: dict[Method, list[tuple[float, float]]] = {method: [] for method in Method}
    for methods in class_methods:
        for method, row in methods.items():
            if _is_sane(row.train_s) and row.train_s > 0 and _is_sane(row.accuracy):
                found[method].append(
                    (min(max(row.train_s, _TIMES_S[0]), _TIMES_S[-1]), min(max(row.accuracy, 0.0), 1.0))
                )
    known = [point for points in found.values() for point in points]
    if not known:
        return None
    times = compute_time_ticks(min(x for x, _ in known), max(x for x, _ in known))
    y_values = compute_ticks(min(y for _, y in known), max(y for _, y in known))
    place = _scale([math.log10(times[0]), math.log10(times[-1])], _LEFT, _SCATTER_RIGHT)
    y_place = _scale(y_values, _SCATTER_BOTTOM, _TOP)
    clouds = (
        _cloud(method, points, lambda x: place(math.log10(x)), y_place) for method, points in found.items() if points
    )
    return ScatterChart(
        "accuracy-time",
        "Accuracy over training time",
        tuple(clouds),
        tuple(Tick(place(math.log10(x)), _format_short_time(x)) for x in times),
        tuple(Tick(y_place(y), _format_short_percent(y)) for y in y_values),
    )


def draw_marker(method: Method) -> str:
    """The shape of a method's points, as a path around the current point."""
    return _SHAPES[method]


def compute_time_ticks(low_s: float, high_s: float) -> tuple[float, ...]:
    """Two to seven durations that people count in, for a logarithmic axis from `low_s` to `high_s`, both above 0."""
    start = max((i for i, time in enumerate(_TIMES_S) if time <= low_s), default=0)
    end = min((i for i, time in enumerate(_TIMES_S) if time >= high_s), default=len(_TIMES_S) - 1)
    start, end = min(start, len(_TIMES_S) - 2), max(end, min(start, len(_TIMES_S) - 2) + 1)
    every = math.ceil((end - start) / 6)
    return (*_TIMES_S[start:end:every], _TIMES_S[end])


def _format_short_time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def _cloud(
    method: Method,
    points: Sequence[tuple[float, float]],
    x_place: Callable[[float], float],
    y_place: Callable[[float], float],
) -> Cloud:
    times, accuracies = median(x for x, _ in points), median(y for _, y in points)
    path = "".join(f"M{x_place(x):.1f} {y_place(y):.1f}{_SHAPES[method]}" for x, y in points)
    text = f"median {words.format_percent(accuracies)} after {words.format_seconds(times)}"
    return Cloud(words.METHODS[method], method.value, path, (x_place(times), y_place(accuracies)), text)


def build_method_charts(methods: Mapping[Method, MethodSummary], *, with_thresholds: bool) -> tuple[BarChart, ...]:
    """Accuracy, seconds and trainable parameters of the methods that were measured; no chart without a value."""
    charts = (
        _accuracy_chart(methods, with_thresholds),
        _scaled_chart("train-s", "Training time", methods, lambda m: m.train_s, words.format_seconds),
        _scaled_chart(
            "parameters", "Trainable parameters", methods, lambda m: m.trainable_parameters, words.format_count
        ),
    )
    return tuple(chart for chart in charts if chart.bars)


def build_duration_bars(durations: Iterable[tuple[str, float]]) -> tuple[Bar, ...]:
    """One bar per named duration in seconds, scaled to the longest."""
    named = [(label, value if _is_sane(value) else 0.0) for label, value in durations]
    longest = max((value for _, value in named), default=0.0)
    return tuple(Bar(label, words.format_seconds(value), _share(value, longest), "plain") for label, value in named)


def build_curve_charts(curves: Mapping[Method, Sequence[CurvePoint]]) -> tuple[LineChart, ...]:
    """Training loss and evaluation accuracy over steps; no chart without a value."""
    charts = (
        _line_chart("loss", "Training loss", curves, lambda point: point.loss, _format_short),
        _line_chart(
            "eval-accuracy", "Evaluation accuracy", curves, lambda point: point.eval_accuracy, _format_short_percent
        ),
    )
    return tuple(chart for chart in charts if chart)


def compute_ticks(low: float, high: float) -> tuple[float, ...]:
    """Three to seven round values from at or below `low` to at or above `high`."""
    span = (high - low) or abs(high) or 1.0
    size = 10.0 ** math.floor(math.log10(span))
    step = next(size * factor for factor in (0.2, 0.5, 1.0, 2.0) if span <= 5 * size * factor)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(step * place for place in range(first, max(last, first + 1) + 1))


def _accuracy_chart(methods: Mapping[Method, MethodSummary], with_thresholds: bool) -> BarChart:
    bars = []
    for method, row in _sort_methods(methods):
        if row.accuracy is None or not _is_sane(row.accuracy):
            continue
        mark = row.threshold if with_thresholds else None
        bars.append(
            Bar(
                words.METHODS[method],
                words.format_percent(row.accuracy),
                _share(row.accuracy, 1.0),
                method.value,
                None if mark is None else _share(mark, 1.0),
                "" if mark is None else f"(at least {words.format_percent(mark)} asked for)",
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
    known = [(method, value) for method, row in _sort_methods(methods) if _is_sane(value := value_of(row))]
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
    y_values = compute_ticks(min(values), max(values))
    x_values = compute_ticks(0, max(step for points in series.values() for step, _ in points))
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
        tuple(Tick(x_place(x), words.format_count(x)) for x in x_values if x == int(x)),
        tuple(Tick(y_place(y), write(y)) for y in y_values),
    )


def _format_short(value: float) -> str:
    return f"{value:.3g}"


def _format_short_percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def _sort_methods(methods: Mapping[Method, MethodSummary]) -> Iterable[tuple[Method, MethodSummary]]:
    return ((method, methods[method]) for method in Method if method in methods)


def _is_sane(value: float | None) -> TypeGuard[float]:
    return value is not None and -_SANE < value < _SANE


def _share(value: float, whole: float) -> float:
    return min(max(value / whole, 0.0), 1.0) if whole > 0 else 0.0


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    low, span = values[0], values[-1] - values[0]
    return lambda value: start + (value - low) / span * (end - start)


def build_share_bar(label: str, share: float) -> Bar:
    """A bar for a share in 0 to 1."""
    return Bar(label, words.format_percent(share), _share(share, 1.0), "plain")


def _series(points: Iterable[CurvePoint], value_of: Callable[[CurvePoint], float | None]) -> list[tuple[int, float]]:
    """Pair steps and values, without what cannot be drawn; a bounded number of points, always with the last one."""
    known = [(p.step, v) for p in points if _is_sane(v := value_of(p)) and 0 <= p.step < _SANE]
    stride = max(1, math.ceil(len(known) / CURVE_POINTS_MAX))
    return known[::-1][::stride][::-1]
