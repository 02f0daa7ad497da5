"""`python -m tests.proof.security`, or `make hostile`: the hostile notebooks, in every sandbox of this machine."""

from typing import Annotated

import typer

from grader.cli.app import main
from grader.reporting.terminal import make_console
from grader.sandbox import Backend, run_self_tests
from tests.proof.security.case_run import run_upload
from tests.proof.security.cases import load_cases, load_uploads
from tests.proof.security.rounds import CORPUS, digest_hostile, run_in_parts
from tests.proof.security.table import build_table


def hostile(
    backend: Annotated[
        list[Backend] | None, typer.Option(help="only in this sandbox; may be given several times")
    ] = None,
    only: Annotated[str, typer.Option(help="only those whose id contains these words")] = "",
) -> None:
    """Run the hostile notebooks in every sandbox of this machine. Exit code: 0 if all is as expected, 2 if not."""
    chosen = backend or [test.backend for test in run_self_tests() if test.passed]
    uploads = [upload for upload in load_uploads(CORPUS) if only in upload.id]
    ids = [case.id for case in load_cases(CORPUS) if not case.honest and only in case.id]
    trials = [*map(run_upload, uploads), *(trial for one in chosen for trial in run_in_parts(one, ids))]
    if not trials:
        raise typer.BadParameter(f"no hostile notebook has {only!r} in its id")
    make_console().print(build_table(trials), f"Measured on code `{digest_hostile()}`.", sep="\n")
    raise typer.Exit(2 if any(trial.unexpected for trial in trials) else 0)


if __name__ == "__main__":
    main(lambda: typer.run(hostile))
