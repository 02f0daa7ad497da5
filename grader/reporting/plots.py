"""The plots in the pages, drawn by matplotlib. Colours are variables of the style sheet: a page can be dark."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from grader.model import CurvePoint, Method, MethodSummary
from grader.reporting import words
from grader.reporting.bars import compute_share, is_drawable
from grader.reporting.svg import draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_POINTS_MAX: Final = 200
FEW: Final = 12  # points of a curve that are drawn as points too
MARKERS: Final = {Method.FULL: "●", Method.HEAD: "■", Method.LORA: "▲"}  # the methods differ without colour too
_SHAPES: Final = {Method.FULL: "o", Method.HEAD: "s", Method.LORA: "^"}
_DASHES: Final[Mapping[Method, Any]] = {Method.FULL: "-", Method.HEAD: (0, (3, 1.5)), Method.LORA: (0, (1, 1.5))}
_NAMES: Final = ("soft", "rule", "paper", *Method)
_COLOURS: Final = {name: f"#{n:06x}" for n, name in enumerate(_NAMES, 1)}  # in the page: var(--soft) and so on
_SECONDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30)
_TIMES_S: Final = (*_SECONDS, *(60 * m for m in (1, 2, 5, 10, 20, 30)), *(3600 * h for h in (1, 2, 5, 10, 24, 50, 100)))
_AROUND: Final = 1.6  # the axis of times goes this factor beyond them: then there is one of those above on it

_Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Plot:
    """A picture. Its description says the same in words, for readers who do not see it."""

    title: str
    description: str
    svg: Markup


def draw_curves(curves: Mapping[Method, Iterable[CurvePoint]]) -> tuple[Plot, ...]:
    """Draw training loss and evaluation accuracy over steps; no plot without a value."""
    losses = {m: _select_points((p.step, p.loss) for p in curves.get(m, ())) for m in Method}
    accuracies = {m: _select_points((p.step, p.eval_accuracy) for p in curves.get(m, ())) for m in Method}
    plots = (
        _draw_lines("Training loss", losses, lambda loss: f"{loss:.3g}"),
        _draw_lines("Evaluation accuracy", accuracies, _format_short_percent),
    )
    return tuple(plot for plot in plots if plot)


def draw_score_histogram(shares: Iterable[float]) -> Plot:
    """Draw how many of the class have which share (0 to 1) of the points, in tenths; 1 belongs to the last."""
    counts = [0] * 10
    for share in shares:
        counts[min(int(compute_share(share) * 10 + 1e-9), 9)] += 1
    axes = _start(190, bottom=30, left=8)
    bars = axes.bar(range(5, 100, 10), counts, width=8.8, color=_COLOURS["full"])
    axes.bar_label(bars, [words.format_count(n) if n else "" for n in counts], padding=3, size=11)
    axes.set(xlim=(0, 100), ylim=(0, max(*counts, 1) * 1.1), xticks=range(0, 101, 20), yticks=())
    said = [f"{10 * place} to {10 * (place + 1)}%: {number}" for place, number in enumerate(counts) if number]
    return _finish(axes, "Students by points, in percent of those possible", said)


def draw_accuracy_over_time(class_methods: Iterable[Mapping[Method, MethodSummary]]) -> Plot | None:
    """Draw accuracy against training time of every training in a class; None if nothing was measured."""
    everyone = list(class_methods)
    found = {m: _select_measured(methods[m] for methods in everyone if m in methods) for m in Method}
    clouds = {m: points for m, points in found.items() if points}
    if not clouds:
        return None
    axes = _start(225, bottom=35)
    _scale_times(axes, [time for points in clouds.values() for time, _ in points])
    axes.yaxis.set_major_formatter(lambda value, _: _format_short_percent(value))
    for m, points in clouds.items():
        axes.plot(*zip(*points, strict=True), _SHAPES[m], ms=5, mew=0, alpha=0.45, c=_COLOURS[m], clip_on=False)
    said = [f"{words.METHODS[m]}: {_draw_median(axes, points, _COLOURS[m])}" for m, points in clouds.items()]
    return _finish(axes, "Accuracy over training time", said)


def _draw_median(axes: "Axes", points: _Points, colour: str) -> str:
    """Draw a ring, and say where it is."""
    time, accuracy = median(x for x, _ in points), median(y for _, y in points)
    axes.plot(time, accuracy, "o", ms=11, mew=2.5, mfc=_COLOURS["paper"], c=colour, clip_on=False)
    return f"median {words.format_percent(accuracy)} after {words.format_seconds(time)}"


def _draw_lines(title: str, curves: Mapping[Method, _Points], write: Callable[[float], str]) -> Plot | None:
    last = {m: write(points[-1][1]) for m, points in curves.items() if points}
    if not last:
        return None
    legend = 4 + 17 * len(last)
    axes = _start(190 + legend, bottom=40 + legend)
    for m, text in last.items():
        look = {"marker": "o" if len(curves[m]) <= FEW else "", "ls": _DASHES[m], "c": _COLOURS[m], "clip_on": False}
        axes.plot(*zip(*curves[m], strict=True), lw=2, label=f"{words.METHODS[m]} {text}", **look)
    axes.locator_params(nbins=4)
    axes.set_xlim(0)
    axes.set_xlabel("training steps", size=11, color=_COLOURS["soft"])
    axes.xaxis.set_major_formatter(lambda step, _: words.format_count(step))
    axes.yaxis.set_major_formatter(lambda value, _: write(value))
    axes.figure.legend(loc="lower left", borderaxespad=0, labelspacing=0.3, fontsize=12, frameon=False)
    return _finish(axes, title, [f"{words.METHODS[m]} ends at {text}" for m, text in last.items()])


def _scale_times(axes: "Axes", times: Sequence[float]) -> None:
    """Make the x axis logarithmic, with durations that people count in."""
    low, high = min(times) / _AROUND, max(times) * _AROUND
    within = [time for time in _TIMES_S if low <= time <= high]
    shown = within[:: math.ceil(len(within) / 6) or 1]
    axes.set(xscale="log", xlim=(low, high))
    axes.set_xticks(shown, [_format_short_time(time) for time in shown])
    axes.minorticks_off()
    axes.set_xlabel("training time", size=11, color=_COLOURS["soft"])


def _start(height: float, bottom: float, left: float = 40) -> "Axes":
    """Return empty axes in a figure of 320 pixels; `bottom` and `left` are margins for what stands beside them."""
    from matplotlib.figure import Figure

    inside = (left / 320, bottom / height, (302 - left) / 320, 1 - (bottom + 10) / height)
    axes = Figure((320 / 72, height / 72), frameon=False).add_axes(inside, frameon=False)
    axes.grid(axis="y", color=_COLOURS["rule"], lw=1)
    axes.tick_params(length=0, labelsize=11, labelcolor=_COLOURS["soft"])
    return axes


def _finish(axes: "Axes", title: str, said: Sequence[str]) -> Plot:
    figure = axes.get_figure(root=True)
    assert figure is not None  # `_start` made it
    svg = draw_svg(figure, title)
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Plot(title, "; ".join(said), Markup(svg))


def _select_measured(rows: Iterable[MethodSummary]) -> _Points:
    found = ((row.train_s, row.accuracy) for row in rows)
    return [(time, value) for time, value in found if is_drawable(time) and time > 0 and is_drawable(value)]


def _select_points(points: Iterable[tuple[float, float | None]]) -> _Points:
    """Leave out what cannot be drawn; return a bounded number of points, always with the last one."""
    known = [(step, value) for step, value in points if is_drawable(value) and is_drawable(step) and step >= 0]
    stride = max(1, math.ceil(len(known) / CURVE_POINTS_MAX))
    return known[::-1][::stride][::-1]


def _format_short_percent(value: float) -> str:
    return f"{100 * value:.3g}%"


def _format_short_time(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"
