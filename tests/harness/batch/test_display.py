"""The progress of a batch: where each task is, the time left, and each problem in one line."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from grader.batch.display import BatchDisplay, describe
from grader.batch.messages import Recipient, Stage, Task, TaskOutcome, TaskStatus


def task(name: str, *others: str) -> Task:
    recipients = tuple(Recipient(id=i, file="x.ipynb") for i in (name, *others))
    return Task(notebook=Path("x"), evidence="e", result=f"r{name}", recipients=recipients)


def outcome(status: TaskStatus, *names: str, message: str = "", executed: bool = True) -> TaskOutcome:
    ended = {"status": status, "stage": Stage.JUDGE, "message": message, "executed": executed}
    return TaskOutcome(task=task(*(names or ("ada_1",))), points=7.5, possible=10, seconds=12.4, **ended)


POINTS = "ada_1: 7.5 of 10 points in 12 s"
REFUSAL = outcome(TaskStatus.REFUSED, "ada_1", "bob_2", message="'x' is empty.")
FAILURE, UNGRADED = (outcome(s, message="no suite") for s in (TaskStatus.FAILED, TaskStatus.UNGRADED))
LINES = [
    pytest.param(outcome(TaskStatus.GRADED), False, POINTS, id="graded"),
    pytest.param(outcome(TaskStatus.GRADED, executed=False), False, f"{POINTS}, from stored evidence", id="stored"),
    pytest.param(REFUSAL, False, "ada_1 and 1 equal to it: refused: 'x' is empty.", id="refused"),
    pytest.param(FAILURE, True, "ada_1: failed at stage judge, will be tried again: no suite", id="again"),
    pytest.param(FAILURE, False, "ada_1: ungraded at stage judge: no suite", id="given up"),
    pytest.param(UNGRADED, False, "ada_1: ungraded at stage judge: no suite", id="ungraded"),
]


@pytest.mark.parametrize(("ended", "again", "line"), LINES)
def test_one_line_names_submission_and_stage(ended: TaskOutcome, again: bool, line: str) -> None:
    assert describe(ended, again) == line


def test_a_terminal_shows_who_is_where_and_how_long_still() -> None:
    now = [0.0]
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    board = BatchDisplay(console, 5, clock=lambda: now[0])
    board.on_start(task("ada_1"))
    board.on_start(task("bob_2"))
    now[0] = 60.0
    board.on_end(outcome(TaskStatus.GRADED), again=False)
    board.tell("bob_2", "node", "cell 3 of 18: \x1b[2Jtrainer.train()")
    with console.capture() as captured:
        console.print(board._render())
    shown = captured.get()
    head, bar, row, *_ = shown.splitlines()
    assert "1 of 5 notebooks done, 1 running, about 4 min left" in head
    assert "bob_2" not in bar  # the bar has a line of its own
    assert "bob_2" in row
    assert "cell 3 of 18: ␛[2Jtrainer.train()" in shown
    assert "ada_1" not in shown


def test_what_is_prepared_is_shown_until_the_first_task() -> None:
    now = [0.0]
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    board = BatchDisplay(console, 5, clock=lambda: now[0])
    heads = []
    for begin in (lambda: board.stage("Starting the workers"), lambda: board.on_start(task("ada_1"))):
        begin()
        now[0] += 9.0
        with console.capture() as captured:
            console.print(board._render())
        heads.append(captured.get().splitlines()[0])
    assert "Starting the workers … 9 s" in heads[0]
    assert "0 of 5 notebooks done, 1 running" in heads[1]


@pytest.mark.parametrize(("quiet", "lines"), [(False, 3), (True, 1)])
def test_without_a_terminal(quiet: bool, lines: int) -> None:
    text = io.StringIO()
    with BatchDisplay(Console(file=text, width=100), 2, quiet) as board:
        board.stage("Starting the workers")
        board.on_end(outcome(TaskStatus.GRADED), again=False)
        board.on_end(UNGRADED, again=False)
    assert len(text.getvalue().splitlines()) == lines
    assert "no suite" in text.getvalue()
