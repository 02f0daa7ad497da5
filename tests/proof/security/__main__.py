"""`python -m tests.proof.security`, or `make hostile`: the hostile notebooks, in every sandbox of this machine."""

from typing import Annotated

import typer

from grader.cli.app import main
from grader.reporting.terminal import make_console
from grader.sandbox import Backend, run_self_tests
from tests.proof.security.rounds import run_everything
from tests.proof.security.table import build_table


def hostile(
    backend: Annotated[
        list[Backend] | None, typer.Option(help="only in this sandbox; may be given several times")
    ] = None,
) -> None:
    """Run the hostile notebooks in every sandbox of this machine. Exit code: 0 if all is as expected, 2 if not."""
    trials = run_everything(backend or [test.backend for test in run_self_tests() if test.passed])
    make_console().print(build_table(trials))
    raise typer.Exit(2 if any(trial.unexpected for trial in trials) else 0)


if __name__ == "__main__":
    main(lambda: typer.run(hostile))
