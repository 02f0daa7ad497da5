"""Live progress: plain lines without a terminal, an honest estimate of the time left."""

import io

import pytest
from rich.console import Console

from grader.model import Method
from grader.reporting.progress import ProgressDisplay, TimeLeft, format_rough_duration

from . import hostile


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _console(*, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=None, legacy_windows=False)


def _written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _train(time_left: TimeLeft, clock: Clock, method: Method, until: int, step_s: float, first: int = 1) -> None:
    for step in range(first, until + 1):
        clock.now_s += step_s
        time_left.on_training_step(method, step, 64)


def test_estimate_covers_this_training_and_those_that_follow(clock: Clock) -> None:
    time_left = TimeLeft(clock)
    assert time_left.seconds() is None
    _train(time_left, clock, Method.FULL, 1, 2.4)
    assert time_left.seconds() is None  # nothing is guessed before two steps
    _train(time_left, clock, Method.FULL, 32, 2.4, first=2)
    following_s = 64 * 2.4 * (0.38 + 0.7)  # the relative costs of the head and of LoRA
    assert time_left.seconds() == pytest.approx(32 * 2.4 + following_s)
    clock.now_s += 10
    assert time_left.seconds() == pytest.approx(32 * 2.4 - 10 + following_s)


def test_the_last_training_ends_at_zero_and_a_second_one_starts_again(clock: Clock) -> None:
    time_left = TimeLeft(clock)
    for method in Method:
        _train(time_left, clock, method, 64, 1.0)
    assert time_left.seconds() == 0
    clock.now_s += 1_000
    _train(time_left, clock, Method.LORA, 32, 2.0)
    assert time_left.seconds() == pytest.approx(32 * 2.0)


ROUGH = [(None, ""), (2.0, "about 10 s"), (44.0, "about 40 s"), (200.0, "about 3 min")]


@pytest.mark.parametrize(("seconds", "expected"), ROUGH)
def test_about(seconds: float | None, expected: str) -> None:
    assert format_rough_duration(seconds) == expected


def test_without_a_terminal_each_event_is_a_line(clock: Clock) -> None:
    console = _console()
    with ProgressDisplay(console, clock) as progress:
        progress.stage("running the notebook")
        progress.on_cell_start(0, 12, "import torch")
        for step in range(1, 65):
            clock.now_s += 1.0
            progress.on_training_step(Method.LORA, step, 64)
    assert _written(console).splitlines() == [
        "running the notebook",
        "cell 1 of 12: import torch",
        "training, LoRA: step 1 of 64",
        "training, LoRA: step 16 of 64, about 3 min left",
        "training, LoRA: step 32 of 64, about 3 min left",
        "training, LoRA: step 48 of 64, about 2 min left",
        "training, LoRA: step 64 of 64, about 2 min left",
    ]


either = pytest.mark.parametrize("terminal", [False, True], ids=["plain", "terminal"])


@either
@pytest.mark.parametrize("steps", [0, 1, 3], ids=str)
def test_any_number_of_steps_is_accepted(steps: int, terminal: bool) -> None:
    with ProgressDisplay(_console(terminal=terminal)) as progress:
        progress.on_training_step(Method.HEAD, 1, steps)


def test_on_a_terminal_the_display_is_gone_at_the_end() -> None:
    console = _console(terminal=True)
    with ProgressDisplay(console) as progress:
        progress.stage("judging")
        progress.on_cell_start(3, 12, "trainer.train()")
        progress.on_training_step(Method.FULL, 2, 64)
    shown = _written(console)
    assert "\x1b[?25l" in shown  # hides the cursor
    assert shown.rstrip("\n").endswith("\x1b[2K")  # the last thing is an erased line


@either
@pytest.mark.parametrize("text", hostile.TEXTS.values(), ids=hostile.TEXTS)
def test_hostile_first_lines_stay_text(text: str, terminal: bool) -> None:
    console = _console(terminal=terminal)
    with ProgressDisplay(console) as progress:
        progress.on_cell_start(0, 1, text)
        progress.on_training_step(Method.FULL, 1, 64)
    forbidden = (*"\x00\x07\x9b\u202e\u2067\u200f\ud800", "\x1b[2J", "\x1b]")
    assert [part for part in forbidden if part in _written(console)] == []
