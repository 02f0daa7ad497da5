"""Progress of a batch: a live board on a terminal, a line per submission without one, only problems for cron."""

import threading
import time
from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from grader.batch.messages import Task, TaskOutcome, TaskStatus
from grader.reporting.progress import LiveView, format_rough_duration
from grader.reporting.sanitisation import sanitise_line
from grader.reporting.words import format_points

Clock = Callable[[], float]


class BatchDisplay(LiveView):
    """Listens to a batch; a context manager. Texts that come from notebooks are made inert here."""

    def __init__(self, console: Console, total: int, quiet: bool = False, clock: Clock = time.monotonic) -> None:
        """`total`: tasks. `quiet`: print problems only."""
        super().__init__(console, redraws_per_s=4, shown=not quiet)
        self.total, self.quiet, self._clock = total, quiet, clock
        self.done = self.failed = 0
        self.problems: list[str] = []
        self._stage = ""  # until the first task is handed out
        self._running: dict[str, tuple[float, str]] = {}  # task -> since when, and how far it is
        self._first_s = clock()
        self._lock = threading.Lock()  # events arrive in a thread of Dask's

    def stage(self, name: str) -> None:
        """Note what is being prepared."""
        self._stage = name
        if not self.is_live and not self.quiet:
            self._say(f"{name} …")

    def tell(self, task: str, host: str, line: str) -> None:
        """Note how far a worker is."""
        with self._lock:
            if task in self._running:
                self._running[task] = (self._running[task][0], sanitise_line(line, 100))

    def on_start(self, task: Task) -> None:
        """Note that a task was handed out."""
        with self._lock:
            if self._stage:
                self._stage, self._first_s = "", self._clock()
            self._running[task.name] = (self._clock(), "waiting for a worker")

    def on_end(self, outcome: TaskOutcome, again: bool) -> None:
        """Note that a task came back; `again`: it will be tried once more."""
        with self._lock:
            self._running.pop(outcome.task.name, None)
            self.done += not again
            self.failed += not again and outcome.status.is_problem
        line = describe(outcome, again)
        if outcome.status.is_problem:
            self.problems.append(line)
            self._say(line)
        elif not self.is_live and not self.quiet:
            self._say(f"{self.done}/{self.total} {line}")

    def on_no_workers(self) -> None:
        """Tell that there is no worker yet."""
        self._say("No worker has started yet; waiting for one.")

    def _say(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)

    def _render(self) -> RenderableType:
        with self._lock:
            running = dict(self._running)
        rows = Table.grid(padding=(0, 1), expand=True)
        rows.add_column(no_wrap=True, max_width=max(16, min(44, self.console.width // 2)), overflow="ellipsis")
        rows.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        rows.add_column(justify="right", no_wrap=True)
        for name, (since, line) in running.items():
            rows.add_row(Text(sanitise_line(name)), Text(line, style="dim"), Text(f"{self._clock() - since:.0f} s"))
        bar = Table.grid()  # a row of its own: a bar does not end its line
        bar.add_row(ProgressBar(total=max(self.total, 1), completed=self.done, width=min(60, self.console.width)))
        shown = [Text(f"! {line}", style="bold red") for line in self.problems[-6:]]
        return Group(Text(self._describe_counts(len(running)), style="bold"), bar, rows, *shown)

    def _describe_counts(self, running: int) -> str:
        if self._stage:
            return f"{self._stage} … {self._clock() - self._first_s:.0f} s"
        so_far_s = self._clock() - self._first_s
        left = format_rough_duration(so_far_s / self.done * (self.total - self.done) if self.done else None)
        counts = f"{self.done} of {self.total} notebooks done, {running} running"
        parts = [counts, f"{self.failed} ungraded" if self.failed else "", f"{left} left" if left else ""]
        return ", ".join(part for part in parts if part)


def describe(outcome: TaskOutcome, again: bool = False) -> str:
    """Describe an outcome in one line: the submission, its points or what went wrong, and at which stage."""
    name = sanitise_line(outcome.task.name)
    if outcome.status is TaskStatus.GRADED:
        how = "" if outcome.executed else ", from stored evidence"
        points = f"{format_points(outcome.points)} of {format_points(outcome.possible)} points"
        return f"{name}: {points} in {outcome.seconds:.0f} s{how}"
    if outcome.status is TaskStatus.REFUSED:
        return f"{name}: refused: {outcome.message}"
    what = f"failed at stage {outcome.stage}, will be tried again" if again else f"ungraded at stage {outcome.stage}"
    return f"{name}: {what}: {outcome.message}"
