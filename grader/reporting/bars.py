"""Bars beside a text: numbers as fractions of the longest. A page draws them without a picture."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard

from grader.model import Method, MethodSummary
from grader.reporting import words

_SANE: Final = 1e9  # a log can hold any float; what lies beyond this is not drawn


@dataclass(frozen=True)
class Bar:
    """One horizontal bar. `fraction` and `mark` lie in 0 to 1; `mark` is a threshold on the same scale."""

    label: str
    text: str
    fraction: float
    colour: str = "plain"
    mark: float | None = None


@dataclass(frozen=True)
class BarChart:
    """Bars that share a scale which starts at 0."""

    title: str
    bars: tuple[Bar, ...]


def build_duration_bars(durations: Iterable[tuple[str, float]]) -> tuple[Bar, ...]:
    """Return one bar per named duration in seconds, scaled to the longest."""
    named = [(label, value if is_drawable(value) else 0.0) for label, value in durations]
    longest = max((value for _, value in named), default=0.0)
    return tuple(Bar(label, words.format_seconds(value), compute_share(value, longest)) for label, value in named)


def build_method_charts(methods: Mapping[Method, MethodSummary], *, with_thresholds: bool) -> tuple[BarChart, ...]:
    """Return accuracy, seconds and trainable parameters of the methods that were measured; no chart without a value."""
    charts = (
        BarChart("Accuracy on held-out reviews", _build_accuracy_bars(methods, with_thresholds)),
        BarChart("Training time", _build_bars(methods, lambda m: m.train_s, words.format_seconds)),
        BarChart("Trainable parameters", _build_bars(methods, lambda m: m.trainable_parameters, words.format_count)),
    )
    return tuple(chart for chart in charts if chart.bars)


def is_drawable(value: float | None) -> TypeGuard[float]:
    """Return whether there is a number, and one that fits on an axis."""
    return value is not None and -_SANE < value < _SANE


def compute_share(value: float, whole: float = 1.0) -> float:
    """Return which part of the whole a value is, in 0 to 1."""
    return min(max(value / whole, 0.0), 1.0) if whole > 0 else 0.0


def _build_accuracy_bars(methods: Mapping[Method, MethodSummary], with_thresholds: bool) -> tuple[Bar, ...]:
    measured = {m: methods[m] for m in Method if m in methods and is_drawable(methods[m].accuracy)}
    marks = {m: row.threshold for m, row in measured.items() if with_thresholds and row.threshold is not None}
    return tuple(
        Bar(words.METHODS[m], words.format_percent(row.accuracy), compute_share(row.accuracy or 0.0), m, marks.get(m))
        for m, row in measured.items()
    )


def _build_bars(
    methods: Mapping[Method, MethodSummary],
    value_of: Callable[[MethodSummary], float | None],
    write: Callable[[float], str],
) -> tuple[Bar, ...]:
    values = {m: value for m in Method if m in methods and is_drawable(value := value_of(methods[m]))}
    largest = max(values.values(), default=0.0)
    return tuple(Bar(words.METHODS[m], write(v), compute_share(v, largest), m) for m, v in values.items())
