"""What a student calls. Nothing that goes wrong here is a traceback."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from IPython import get_ipython
from IPython.display import display

STOPPED = "Stopped. Nothing was checked, and nothing was changed."


def check(*what: object) -> None:
    """Check what is defined so far, and show what is right and what is not.

    Args:
        what: exercises (`"3.3"`), steps (`"step3"`), or nothing for everything.
    """
    _say_errors(_check, what)


def check_file(path: str | None = None) -> None:
    """Run the saved notebook from top to bottom, as grading does, and say what would be handed in.

    Args:
        path: the notebook; by default the one that calls this.
    """
    _say_errors(_check_file, path)


def _say_errors(command: Any, argument: Any) -> None:
    """Show what a command finds, or one sentence on why it cannot."""
    try:
        from grader.errors import GraderError, SubmissionError
        from grader.reporting.in_notebook import write_html, write_text
        from grader.student.guards import keep_interrupts

        try:
            with keep_interrupts():
                report = command(argument)
        except (SubmissionError, GraderError) as error:
            print(error)
            return
        display({"text/plain": write_text(report), "text/html": write_html(report)}, raw=True)
    except KeyboardInterrupt:
        print(STOPPED)
    except ImportError as error:
        print(f"The check needs something that does not load here: {error}. Install what the kit's page lists.")
    except Exception as error:  # nobody foresaw it, and a traceback helps no student
        from grader.student.guards import describe_stopped_gpu

        failed = f"The check itself failed ({type(error).__name__}: {error})."
        print(describe_stopped_gpu(error) or f"{failed} Your work is untouched; tell the course staff.")


def _check(what: object) -> Any:
    from grader.errors import SubmissionError
    from grader.student.exercises import select
    from grader.student.guards import keep_last_error, keep_random_states, use_one_thread
    from grader.student.overview import find_out
    from grader.student.report import build_report
    from grader.student.watch import WATCH

    shell = get_ipython()
    if shell is None:
        raise SubmissionError("check() works inside a notebook. On a file, use: make check NOTEBOOK=my.ipynb")
    exercises = select(what)
    with keep_random_states(), keep_last_error(), use_one_thread():
        return build_report(exercises, find_out(exercises, shell.user_ns, WATCH))


def _check_file(path: str | None) -> Any:
    from grader.student import cells, notebook_file
    from grader.student.file_check import check_saved
    from grader.student.watch import WATCH

    file = Path(str(path)).expanduser() if path else notebook_file.find_file(cells.list_sources())
    shown = display({"text/plain": "Running the saved file …"}, raw=True, display_id=True)

    def show(line: str) -> None:
        if shown is not None:
            shown.update({"text/plain": f"Running {file.name}: {line}"[:100]}, raw=True)

    report = check_saved(file, WATCH.ran, show)
    show("done")
    return report if path else replace(report, notes=(*notebook_file.describe_choice(file), *report.notes))
