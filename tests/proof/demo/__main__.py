"""`python -m tests.proof.demo`, or `make demo-class`."""

from pathlib import Path
from typing import Annotated

import typer

from grader.cli.app import main
from grader.cli.options import Jobs
from grader.reporting.files import make_results_folder
from grader.reporting.terminal import make_console
from tests.proof.demo.demo import demonstrate


def demo_class(
    size: Annotated[int, typer.Option(help="students", min=5, max=500)] = 30,
    out: Annotated[Path, typer.Option(help="folder that the class's folder is made in")] = Path("results"),
    jobs: Jobs = None,
) -> None:
    """Make up a class, grade it, kill the grading once, go on, and say where everything is."""
    raise typer.Exit(demonstrate(size, make_results_folder(out.expanduser().absolute()), jobs, make_console()))


if __name__ == "__main__":
    main(lambda: typer.run(demo_class))
