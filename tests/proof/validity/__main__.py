"""`make validate` runs this: are the verdicts right?"""

from pathlib import Path
from typing import Annotated

import typer

from grader.cli.app import main
from grader.reporting.terminal import make_console
from tests.proof.validity.corpus_run import publish, validate, validate_named


def run(
    only: Annotated[
        list[str] | None, typer.Argument(help="beginnings of names of corpus cases; all of them by default")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="really train, for hours: accuracy and its chances")
    ] = False,
    repeat: Annotated[int, typer.Option(help="so many repetitions with other seeds, minutes each", min=0)] = 0,
    report: Annotated[bool, typer.Option("--report", help="run nothing; write the page from what is stored")] = False,
    docs: Annotated[Path, typer.Option(help="folder that validity.md is written to")] = Path("docs"),
) -> None:
    """Show that the verdicts are right: run the corpus of mutants and variants."""
    console = make_console()
    if report:
        right = publish(console, docs)
    elif only:
        right = validate_named(console, only, training)
    else:
        right = validate(console, docs, training, repeat)
    raise typer.Exit(0 if right else 2)


if __name__ == "__main__":
    main(lambda: typer.run(run))
