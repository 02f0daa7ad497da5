"""The command line: wires the stages, maps errors to exit codes.

Exit codes: 0 graded, whatever the score; 1 the submission could not be graded as handed in; 2 a fault of ours.
"""

import io
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from grader.cli.options import RunOptions, take_objects
from grader.errors import ADVICE, GraderError, SubmissionError, explain_refusal, report_on_stop
from grader.judging import result
from grader.model import RunStatus
from grader.sandbox.policy import Backend

if TYPE_CHECKING:
    from grader.judging.result import GradingResult
    from grader.machine.inventory import Finding

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Grade notebooks of this assignment.",
)

NOT_LOADED = "Install that library; if it is a Python package, `make clean setup` installs all of them again."
INTERRUPTED = 130  # what typer makes of ctrl-C
ASKED_TO_STOP = ("SIGTERM", "SIGHUP")  # by a service manager, Slurm, a terminal that closes; Windows has no SIGHUP

Notebook = Annotated[Path, typer.Argument(help="the notebook (.ipynb)", show_default=False)]
Results = Annotated[Path, typer.Option(help="folder that results are written to")]


@app.command()
@take_objects
def grade(submission: Notebook, run: RunOptions, out: Results = Path("results")) -> None:
    """Execute a notebook, judge it, and write result.json and the reports."""
    from grader import pipeline
    from grader.execution import isolation
    from grader.intake.notebook import read_submission
    from grader.reporting.files import make_results_folder, write_reports
    from grader.reporting.progress import ProgressDisplay
    from grader.reporting.terminal import make_console, render_result

    found = read_submission(submission.expanduser())
    folder = make_results_folder(out.expanduser() / found.name)
    console, limits = (
        make_console(),
        isolation.choose_limits(run.profile, isolation.has_gpu(), run.cell_limit, run.run_limit),
    )
    backend = Backend.NONE if run.unsafe_no_sandbox else None
    with report_on_stop("Stopped. Nothing was recorded for this notebook."), ProgressDisplay(console) as display:
        display.stage("preparing model, data and sandbox")
        with pipeline.open_setup(
            run.profile, run.seed, backend, limits, precision=run.precision, listener=display
        ) as used:
            graded = pipeline.grade(found, used, folder, display, limits)
    reports = write_reports(graded.result, graded.details, folder)
    console.print(render_result(graded.result, reports))
    raise typer.Exit(choose_exit_code(graded))


def choose_exit_code(graded: "GradingResult") -> int:
    """What the process says of a graded submission."""
    status = graded.result.run.status
    if graded.ungraded:
        return 2
    return 0 if status in (RunStatus.OK, RunStatus.STUDENT_ERROR, RunStatus.TIMEOUT) else 1


@app.command()
def check(
    notebook: Notebook, step: Annotated[str | None, typer.Option(help="one step only, such as step3")] = None
) -> None:
    """Run the public tests on your own notebook, with two steps of training per method.

    The exit code is 0 if all is well, 1 if a check fails, and 2 if the grader is at fault.
    """
    from grader.reporting.progress import ProgressDisplay
    from grader.reporting.terminal import make_console, render_result
    from grader.student import run_public_suite

    console = make_console()
    with ProgressDisplay(console) as display:
        graded = run_public_suite(notebook, step, display)
    console.print(render_result(graded.result))
    raise typer.Exit(2 if graded.ungraded else int(result.has_failures(graded.result)))


@app.command()
def doctor() -> None:
    """Say what was found on this machine and what would be used."""
    import os

    from grader.machine.inventory import Status, find_unloadable_packages, take_inventory
    from grader.paths import ROOT
    from grader.reporting.terminal import make_console, render_findings

    findings = find_unloadable_packages() or (*take_inventory(ROOT, os.environ), *_check_fitness())
    make_console().print(render_findings(findings))
    raise typer.Exit(2 if any(f.status is Status.MISSING for f in findings) else 0)


def _check_fitness() -> "tuple[Finding, ...]":
    """Rows of what grading does here; imports what grading needs."""
    from grader import pipeline
    from grader.execution import isolation
    from grader.machine.limits import build_finding as limits

    return (limits(), *isolation.list_findings(), pipeline.check_fitness())


@contextmanager
def translate_errors() -> Iterator[None]:
    """The one place where exceptions become sentences and exit codes."""
    try:
        yield
    except SubmissionError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except GraderError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(2)
    except ImportError as error:
        print(f"Something that the grader needs does not load: {error}. {NOT_LOADED}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno in ADVICE:
            print(explain_refusal(f"use {error.filename}" if error.filename else "go on", error, ""), file=sys.stderr)
        else:
            _report_ours()
        sys.exit(2)
    except Exception:  # the last resort: what nobody foresaw is ours, and Python's own exit code 1 would say theirs
        _report_ours()
        sys.exit(2)


def _report_ours() -> None:
    traceback.print_exc()
    print("This is a fault of the grader, not of the notebook; please report it with the lines above.", file=sys.stderr)


if find_spec("grader.batch"):  # what students get has no part for whole classes, nor for the staff's own tools
    from grader.cli import batch, staff

    batch.register(app)
    staff.register(app)


def stop_as_ctrl_c_does() -> None:
    """Have signals that ask us to stop clear away what ctrl-C clears away. What `nohup` ignores stays ignored."""
    asked = [getattr(signal, name) for name in ASKED_TO_STOP if hasattr(signal, name)]
    asked = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]

    def stop(number: int, frame: FrameType | None) -> None:
        for other in asked:  # a terminal that closes asks twice; clearing away must not be interrupted
            signal.signal(other, lambda number, frame: None)
        as_ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(as_ctrl_c):
            as_ctrl_c(number, frame)
        raise KeyboardInterrupt

    for number in asked:
        signal.signal(number, stop)


def main(command: Callable[[], object] = partial(app, prog_name="./autograder")) -> None:  # noqa: B008  the app itself
    """Run the command line, or another of the same kind."""
    stop_as_ctrl_c_does()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to stop
    with translate_errors():
        try:
            command()
        except SystemExit as ended:
            if ended.code == INTERRUPTED:
                raise KeyboardInterrupt from None
            raise
