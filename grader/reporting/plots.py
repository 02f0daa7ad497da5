"""The plots in the pages, drawn by matplotlib. Colours are variables of the style sheet: a page can be dark."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from markupsafe import Markup

from grader.model import CurvePoint, Method, MethodSummary
from grader.reporting import words
from grader.reporting.svg import draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

CURVE_POINTS_MAX: Final = 200
_FEW: Final = 12  # points of a curve that are drawn as points too
MARKERS: Final = {Method.FULL: "●", Method.HEAD: "■", Method.LORA: "▲"}  # the methods differ without colour too
_SHAPES: Final = {Method.FULL: "o", Method.HEAD: "s", Method.LORA: "^"}
_DASHES: Final[Mapping[Method, Any]] = {Method.FULL: "-", Method.HEAD: (0, (3, 1.5)), Method.LORA: (0, (1, 1.5))}
_NAMES: Final = ("ink", "soft", "rule", "sunk", "paper", *Method)
_COLOURS: Final = {name: f"#{n:06x}" for n, name in enumerate(_NAMES, 1)}  # in the page: var(--ink) and so on
_SMALL: Final[Mapping[str, Any]] = {"size": 11, "color": _COLOURS["soft"]}
_SANE: Final = 1e9  # a log can hold any float; what lies beyond this is left out of a plot
_TENTHS: Final = 10
_SECONDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30)
_TIMES_S: Final = (*_SECONDS, *(60 * m for m in (1, 2, 5, 10, 20, 30)), *(3600 * h for h in (1, 2, 5, 10, 24, 50, 100)))
_AROUND: Final = 1.6  # the axis of times goes this factor beyond them: then there is one of those above on it

_Points = Sequence[tuple[float, float]]
_Write = Callable[[float], str]


@dataclass(frozen=True)
class Plot:
    """A picture. Its description says the same in words, for readers who do not see it."""

    title: str
    description: str
    svg: Markup


@dataclass(frozen=True)
class Bar:
    """One horizontal bar. `fraction` lies in 0 to 1, and so does `mark`, a threshold on the same scale."""

    label: str
    text: str
    fraction: float
    colour: str = "soft"
    mark: float | None = None


def build_duration_bars(durations: Iterable[tuple[str, float]]) -> tuple[Bar, ...]:
    """Return one bar per named duration in seconds, scaled to the longest."""
    named = [(label, value if _is_sane(value) else 0.0) for label, value in durations]
    longest = max((value for _, value in named), default=0.0)
    return tuple(Bar(label, words.format_seconds(value), _share(value, longest)) for label, value in named)


def draw_methods(methods: Mapping[Method, MethodSummary], *, with_thresholds: bool) -> tuple[Plot, ...]:
    """Draw accuracy, seconds and trainable parameters of the methods that were measured; no plot without a value."""
    marks = {method: row.threshold for method, row in methods.items() if with_thresholds}
    bars = {
        "Accuracy on held-out reviews": _build_bars(methods, lambda m: m.accuracy, words.format_percent, 1.0, marks),
        "Training time": _build_bars(methods, lambda m: m.train_s, words.format_seconds),
        "Trainable parameters": _build_bars(methods, lambda m: m.trainable_parameters, words.format_count),
    }
    return tuple(_draw_bars(title, found) for title, found in bars.items() if found)


def draw_curves(curves: Mapping[Method, Iterable[CurvePoint]]) -> tuple[Plot, ...]:
    """Draw training loss and evaluation accuracy over steps; no plot without a value."""
    losses = {method: _select_points((p.step, p.loss) for p in points) for method, points in curves.items()}
    accuracies = {
        method: _select_points((p.step, p.eval_accuracy) for p in points) for method, points in curves.items()
    }
    plots = (
        _draw_lines("Training loss", losses, lambda loss: f"{loss:.3g}"),
        _draw_lines("Evaluation accuracy", accuracies, _format_short_percent),
    )
    return tuple(plot for plot in plots if plot)


def draw_score_histogram(shares: Iterable[float]) -> Plot:
    """Draw how many of the class have which share (0 to 1) of the points, in tenths; 1 belongs to the last."""
    counts = [0] * _TENTHS
    for share in shares:
        counts[min(int(_share(share, 1.0) * _TENTHS + 1e-9), _TENTHS - 1)] += 1
    axes = _start(190, bottom=30, left=8)
    bars = axes.bar(range(5, 100, 10), counts, width=8.8, color=_COLOURS["full"])
    axes.bar_label(bars, [words.format_count(n) if n else "" for n in counts], padding=3, size=11)
    axes.set(xlim=(0, 100), ylim=(0, max(*counts, 1) * 1.1), xticks=range(0, 101, 20), yticks=())
    said = [f"{10 * place} to {10 * (place + 1)}%: {number}" for place, number in enumerate(counts) if number]
    return _finish(axes.figure, "Students by points, in percent of those possible", said)


def draw_accuracy_over_time(class_methods: Iterable[Mapping[Method, MethodSummary]]) -> Plot | None:
    """Draw accuracy against training time of every training in a class; None if nothing was measured."""
    rows = [row for methods in class_methods for row in methods.items()]
    clouds = {m: found for m in Method if (found := _select_measured(row for of, row in rows if of is m))}
    if not clouds:
        return None
    centres = {m: (median(x for x, _ in points), median(y for _, y in points)) for m, points in clouds.items()}
    axes = _start(225, bottom=35)
    _scale_times(axes, [time for points in clouds.values() for time, _ in points])
    axes.yaxis.set_major_formatter(lambda value, _: _format_short_percent(value))
    for m, points in clouds.items():
        axes.plot(*zip(*points, strict=True), _SHAPES[m], ms=5, mew=0, alpha=0.45, c=_COLOURS[m], clip_on=False)
    for m, (time, accuracy) in centres.items():
        axes.plot(time, accuracy, "o", ms=11, mew=2.5, mfc=_COLOURS["paper"], c=_COLOURS[m], clip_on=False)
    said = [
        f"{words.METHODS[m]}: median {words.format_percent(accuracy)} after {words.format_seconds(time)}"
        for m, (time, accuracy) in centres.items()
    ]
    return _finish(axes.figure, "Accuracy over training time", said)


def _build_bars(
    methods: Mapping[Method, MethodSummary],
    value_of: Callable[[MethodSummary], float | None],
    write: _Write,
    whole: float | None = None,
    marks: Mapping[Method, float | None] | None = None,
) -> list[Bar]:
    values = {m: value for m in Method if m in methods and _is_sane(value := value_of(methods[m]))}
    whole = whole or max(values.values(), default=0.0)
    return [
        Bar(words.METHODS[m], write(value), _share(value, whole), m, marks.get(m) if marks else None)
        for m, value in values.items()
    ]


def _draw_bars(title: str, bars: Sequence[Bar]) -> Plot:
    figure = _make_figure(280, 40 * len(bars))
    for place, bar in enumerate(bars):
        _add_bar(figure, bar, 1 - place / len(bars), 1 / (40 * len(bars)))
    asked = ["" if bar.mark is None else f" (at least {words.format_percent(bar.mark)} asked for)" for bar in bars]
    return _finish(figure, title, [f"{bar.label}: {bar.text}{mark}" for bar, mark in zip(bars, asked, strict=True)])


def _add_bar(figure: "Figure", bar: Bar, top: float, pixel: float) -> None:
    """Draw label and text, the bar below them and its mark; without axes, which would take three times as long."""
    from matplotlib.lines import Line2D

    figure.text(0, top - 14 * pixel, bar.label, size=13)
    figure.text(1, top - 14 * pixel, bar.text, size=13, ha="right")
    lines = [(0.0, 1.0, 26, 26, "sunk", 9), (0.0, max(bar.fraction, 0.007), 26, 26, bar.colour, 9)]
    if bar.mark is not None:
        lines.append((bar.mark, bar.mark, 17, 34, "ink", 2))
    for start, end, above, below, colour, width in lines:
        heights = (top - above * pixel, top - below * pixel)
        figure.add_artist(Line2D((start, end), heights, lw=width, color=_COLOURS[colour], solid_capstyle="butt"))


def _draw_lines(title: str, curves: Mapping[Method, _Points], write: _Write) -> Plot | None:
    series = {method: curves[method] for method in Method if curves.get(method)}
    if not series:
        return None
    legend = 4 + 16 * len(series)
    axes = _start(190 + legend, bottom=40 + legend)
    for m, points in series.items():
        look = {"marker": "o" if len(points) <= _FEW else "", "ls": _DASHES[m], "c": _COLOURS[m], "clip_on": False}
        axes.plot(*zip(*points, strict=True), lw=2, label=f"{words.METHODS[m]} {write(points[-1][1])}", **look)
    axes.set_xlim(0)
    axes.set_xlabel("training steps", **_SMALL)
    axes.locator_params(nbins=4)
    axes.xaxis.set_major_formatter(lambda step, _: words.format_count(step))
    axes.yaxis.set_major_formatter(lambda value, _: write(value))
    axes.figure.legend(loc="lower left", borderaxespad=0, labelspacing=0.3, fontsize=12, frameon=False)
    return _finish(
        axes.figure, title, [f"{words.METHODS[m]} ends at {write(points[-1][1])}" for m, points in series.items()]
    )


def _scale_times(axes: "Axes", times: Sequence[float]) -> None:
    """Make the x axis logarithmic, with durations that people count in."""
    low, high = min(times) / _AROUND, max(times) * _AROUND
    shown = [time for time in _TIMES_S if low <= time <= high]
    shown = shown[:: math.ceil(len(shown) / 6) or 1]
    axes.set(xscale="log", xlim=(low, high))
    axes.set_xticks(shown, [_format_short_time(time) for time in shown])
    axes.minorticks_off()
    axes.set_xlabel("training time", **_SMALL)


def _make_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure((width / 72, height / 72), frameon=False)


def _start(height: float, bottom: float, left: float = 40) -> "Axes":
    """Return empty axes in a figure of 320 pixels; `bottom` and `left` are margins for what stands beside them."""
    inside = (left / 320, bottom / height, (302 - left) / 320, 1 - (bottom + 10) / height)
    axes = _make_figure(320, height).add_axes(inside, frameon=False)
    axes.grid(axis="y", color=_COLOURS["rule"], lw=1)
    axes.tick_params(length=0, labelsize=11, labelcolor=_COLOURS["soft"])
    return axes


def _finish(figure: "Figure | SubFigure", title: str, said: Sequence[str]) -> Plot:
    svg = draw_svg(figure, title)
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Plot(title, "; ".join(said), Markup(svg))


def _select_measured(rows: Iterable[MethodSummary]) -> _Points:
    found = ((row.train_s, row.accuracy) for row in rows)
    return [(time, value) for time, value in found if _is_sane(time) and time > 0 and _is_sane(value)]


def _select_points(points: Iterable[tuple[float, float | None]]) -> _Points:
    """Leave out what cannot be drawn; return a bounded number of points, always with the last one."""
    known = [(step, value) for step, value in points if _is_sane(value) and 0 <= step < _SANE]
    stride = max(1, math.ceil(len(known) / CURVE_POINTS_MAX))
    return known[::-1][::stride][::-1]


def _format_short_percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def _format_short_time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def _is_sane(value: float | None) -> TypeGuard[float]:
    return value is not None and -_SANE < value < _SANE


def _share(value: float, whole: float) -> float:
    return min(max(value / whole, 0.0), 1.0) if whole > 0 else 0.0
