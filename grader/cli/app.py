"""The command line: calls the stages and maps errors to exit codes.

Exit codes: 0 graded, whatever the score; 1 the submission cannot be graded as handed in; 2 the grader or its set-up is
at fault.
"""

import atexit
import gc
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from grader.cli.options import RunOptions, take_objects
from grader.errors import (
    ADVICE,
    GraderError,
    StopRequestError,
    SubmissionError,
    describe_stop,
    explain_refusal,
    report_on_stop,
)
from grader.machine.collector import import_without_collecting
from grader.model import RunStatus
from grader.paths import ROOT

if TYPE_CHECKING:
    from grader.execution.progress import Listener
    from grader.intake.notebook import Submission
    from grader.judging.result import GradingResult

HELP = "Grade notebooks of this assignment."
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=HELP)

NOT_LOADED = "Install that library; if it is a Python package, `make clean setup` installs all of them again."
INTERRUPTED = 130  # typer's exit code after ctrl-C
ASKED_TO_STOP = ("SIGTERM", "SIGHUP")  # from a service manager, Slurm, a closing terminal; Windows has no SIGHUP

Notebook = Annotated[Path, typer.Argument(help="the notebook (.ipynb)", show_default=False)]
Results = Annotated[Path, typer.Option(help="folder for the results")]


@app.command()
@take_objects
def grade(submission: Notebook, run: RunOptions, out: Results = Path("results")) -> None:
    """Execute a notebook, judge it, and write result.json and the reports."""
    from grader.intake.notebook import read_submission
    from grader.reporting.files import make_results_folder, write_reports
    from grader.reporting.progress import ProgressDisplay
    from grader.reporting.terminal import make_console, render_result

    found = read_submission(submission.expanduser())
    folder = make_results_folder(out.expanduser() / found.name)
    console = make_console()
    with report_on_stop("Nothing was recorded for this notebook."), ProgressDisplay(console) as display:
        display.stage("preparing model, data and sandbox")
        graded = _grade(found, run, folder, display)
    reports = write_reports(graded.result, graded.details, folder)
    console.print(render_result(graded.result, reports))
    raise typer.Exit(choose_exit_code(graded))


def _grade(found: "Submission", run: RunOptions, folder: Path, listener: "Listener") -> "GradingResult":
    """Grade in a sandbox of its own. What takes seconds to load is loaded while that loads the same for its kernels."""
    from grader.execution import isolation, profiles
    from grader.execution.setup import SandboxOptions, start_sandbox
    from grader.sandbox import Backend

    profiles.require_fit(run.profile, run.precision)
    limits = run.choose_limits(isolation.has_gpu())
    wanted = SandboxOptions(Backend.NONE if run.unsafe_no_sandbox else None, limits)
    with start_sandbox(run.profile, wanted) as opened:
        with import_without_collecting():
            from grader import pipeline
            from grader.challenges import choose_seed
            from grader.judging.apart import leave_threads_to_children
            from grader.oracle.accuracy import load_libraries

            load_libraries(run.profile)
            import matplotlib.backends.backend_svg  # noqa: F401  draws the plots of the reports
        leave_threads_to_children()
        wanted, seed = replace(wanted, opened=opened), choose_seed(run.seed)
        with pipeline.open_setup(run.profile, seed, wanted, run.precision, listener=listener) as used:
            return pipeline.grade(found, used, folder, listener, limits)


def choose_exit_code(graded: "GradingResult") -> int:
    """Return the exit code for a graded submission."""
    ran = graded.result.run.status in (RunStatus.OK, RunStatus.STUDENT_ERROR, RunStatus.TIMEOUT)
    return 2 if graded.ungraded else int(not ran)


@app.command()
def check(
    notebook: Notebook,
    step: Annotated[str | None, typer.Option(help="run one step only, such as step3")] = None,
    result: Annotated[Path | None, typer.Option(help="write the result into this file (JSON); show none")] = None,
) -> None:
    """Run the public tests on your own notebook, with two steps of training per method.

    The exit code is 0 if all checks pass, 1 if a check fails or the file cannot be run, and 2 if the grader is at
    fault.
    """
    from grader.intake.notebook import read_submission

    submission = read_submission(notebook.expanduser())  # answered before the libraries are loaded, which takes seconds
    from grader.judging.result import has_failures
    from grader.reporting.progress import ProgressDisplay
    from grader.reporting.terminal import make_console, render_result
    from grader.student.public_suite import run_public_suite

    console = make_console()
    with report_on_stop("Nothing was checked."), ProgressDisplay(console) as display:
        graded = run_public_suite(submission, step, display)
    if result is None:
        console.print(render_result(graded.result))
    else:
        result.write_text(graded.result.model_dump_json(by_alias=True), encoding="utf-8")
    raise typer.Exit(2 if graded.ungraded else int(has_failures(graded.result)))


@app.command()
def doctor() -> None:
    """Show what this machine has, what the grader would use, and whether a notebook can be graded here."""
    from grader.machine.inventory import Status, find_unloadable_packages, take_inventory
    from grader.reporting.terminal import make_console, render_findings

    findings = find_unloadable_packages()
    if not findings:
        from grader import pipeline
        from grader.execution import isolation
        from grader.machine.limits import build_finding

        machine = *take_inventory(ROOT, os.environ), build_finding()
        findings = (*machine, *isolation.list_findings(), pipeline.check_fitness())
    make_console().print(render_findings(findings))
    raise typer.Exit(2 if any(f.status is Status.MISSING for f in findings) else 0)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn exceptions into sentences and exit codes; no other place does."""
    try:
        yield
    except SubmissionError as error:
        _stop(error, code=1)
    except GraderError as error:
        _stop(error)
    except KeyboardInterrupt as stop:
        _stop(describe_stop(stop))
    except ImportError as error:
        _stop(f"The grader needs something that does not load: {error}. {NOT_LOADED}")
    except Exception as error:  # unforeseen: the grader's fault, while Python's own exit code 1 blames the submission
        if isinstance(error, OSError) and error.errno in ADVICE:
            _stop(explain_refusal(f"use {error.filename}" if error.filename else "go on", error, ""))
        traceback.print_exc()
        _stop("This is a fault of the grader, not of the notebook. Please report it with the lines above.")


def _stop(message: object, code: int = 2) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


if find_spec("grader.batch"):  # the students' kit has neither the commands for classes nor those for staff
    from grader.cli import batch

    batch.register(app)


def stop_as_ctrl_c_does() -> None:
    """Let signals that ask the grader to stop do what ctrl-C does. What `nohup` ignores stays ignored."""
    asked = [getattr(signal, name) for name in ASKED_TO_STOP if hasattr(signal, name)]
    asked = [number for number in asked if signal.getsignal(number) is not signal.SIG_IGN]
    command = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != command:  # in a worker that was forked from it, whose pool waits for its end
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        for other in asked:  # a terminal that closes asks twice; cleaning up must not be interrupted
            signal.signal(other, lambda number, frame: None)
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(on_ctrl_c):
            with suppress(KeyboardInterrupt):
                on_ctrl_c(number, frame)
        raise StopRequestError(signal.Signals(number).name)

    for number in asked:
        signal.signal(number, stop)


def main(command: Callable[[], object] = partial(app, prog_name="./autograder")) -> None:  # noqa: B008  the app itself
    """Run the command line, or another command line that handles errors in the same way."""
    atexit.register(gc.freeze)  # after the last word: Python would look through all libraries again, for a second
    stop_as_ctrl_c_does()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # for a terminal that lacks a letter
    with translate_errors():
        try:
            command()
        except SystemExit as ended:
            if ended.code == INTERRUPTED:
                raise KeyboardInterrupt from None
            raise
