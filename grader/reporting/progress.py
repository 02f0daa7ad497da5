"""Live progress while a notebook runs: which cell, which step of training, how long still."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from grader.model import Method
from grader.reporting.sanitisation import sanitise_line
from grader.reporting.words import METHODS

# Seconds of one training step relative to full fine-tuning: 2.4 s, 0.9 s and 1.7 s on two CPU cores. Only an estimate
# of the time left rests on it.
_RELATIVE_COST: Final = {Method.FULL: 1.0, Method.HEAD: 0.38, Method.LORA: 0.7}
_LINE_EVERY: Final = 4  # without a terminal, a training writes about this many lines
_FIRST_LINE_LIMIT: Final = 60


class TimeLeft:
    """Estimates the seconds of training that are left, once two steps of a training were seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._method: Method | None = None
        self._started: set[Method] = set()
        self._first_step = self._step = self._steps = 0
        self._first_s = self._last_s = 0.0

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        """Take note that `step` of `steps` is done; a smaller number than before is a new training."""
        self._last_s = self._clock()
        if method is not self._method or step < self._step:
            self._method, self._first_step, self._first_s = method, step, self._last_s
            self._started.add(method)
        self._step, self._steps = step, max(steps, step)

    def seconds(self) -> float | None:
        """Return the seconds left in this training and in those of the methods that have not begun, or None."""
        if self._method is None or self._step <= self._first_step:
            return None
        step_s = (self._last_s - self._first_s) / (self._step - self._first_step)
        here_s = max(0.0, (self._steps - self._step) * step_s - (self._clock() - self._last_s))
        later = sum(cost for method, cost in _RELATIVE_COST.items() if method not in self._started)
        return here_s + later * self._steps * step_s / _RELATIVE_COST[self._method]


class LiveView(ABC):
    """A context manager: a terminal shows what `_render` returns, again and again until the end; others nothing."""

    def __init__(self, console: Console, redraws_per_s: float, shown: bool = True) -> None:
        self.console, self._redraws_hz = console, redraws_per_s
        self.is_live = shown and console.is_terminal and not console.is_dumb_terminal

    def __enter__(self) -> Self:
        if self.is_live:
            self._live = Live(
                console=self.console, get_renderable=self._render, refresh_per_second=self._redraws_hz, transient=True
            )
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.is_live:
            self._live.stop()

    @abstractmethod
    def _render(self) -> RenderableType:
        """Return what the terminal shows now."""


class ProgressDisplay(LiveView):
    """Shows events of an execution; a context manager. Without a terminal it prints one plain line per event.

    `first_line` may come straight from a notebook: it is made inert here.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, redraws_per_s=8)
        self._time_left = TimeLeft(clock)
        self._stage, self._cell = "starting", ""
        self._training: tuple[str, int, int] | None = None  # name of the method, step, steps
        self._spinner = Spinner("line" if console.options.ascii_only else "dots")

    def stage(self, name: str) -> None:
        """Begin a stage of the grader, such as "judging"."""
        self._stage, self._cell, self._training = sanitise_line(name), "", None
        self._print_line(self._stage)

    def on_cell_start(self, index: int, total: int, first_line: str) -> None:
        """Begin cell `index` (from 0, as in `FailedCell`) of `total`."""
        self._cell = f"cell {index + 1} of {total}: {sanitise_line(first_line, _FIRST_LINE_LIMIT)}"
        self._training = None
        self._print_line(self._cell)

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        """Take note that optimiser step `step` (from 1) of `steps` is done."""
        self._time_left.on_training_step(method, step, steps)
        self._training = (METHODS[method], step, max(steps, step, 1))
        stride = max(1, steps // _LINE_EVERY)
        if step == 1 or step == steps or step % stride == 0:
            self._print_line(self._training_line())

    def _training_line(self) -> str:
        if self._training is None:
            return ""
        name, step, steps = self._training
        left = format_rough_duration(self._time_left.seconds())
        return f"training, {name}: step {step} of {steps}{left and f', {left} left'}"

    def _print_line(self, line: str) -> None:
        if not self.is_live:
            self.console.print(Text(line), soft_wrap=True)

    def _render(self) -> RenderableType:
        lines = Table.grid(padding=(0, 1), expand=True)
        lines.add_column(width=1)
        lines.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        lines.add_row(self._spinner, Text(self._stage, style="bold"))
        if self._cell:
            lines.add_row("", Text(self._cell))
        if self._training is not None:
            _, step, steps = self._training
            lines.add_row("", Text(self._training_line()))
            lines.add_row("", ProgressBar(total=steps, completed=min(step, steps), width=40))
        return lines


def format_rough_duration(seconds: float | None) -> str:
    """Write a rough duration: "about 40 s", "about 3 min"; nothing when unknown."""
    if seconds is None:
        return ""
    return f"about {max(10, round(seconds / 10) * 10)} s" if seconds < 90 else f"about {round(seconds / 60)} min"
