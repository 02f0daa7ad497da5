"""`make prove` runs this: right programs and mistakes from a generator."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from grader.cli.app import main
from grader.paths import REFERENCE
from grader.reporting.terminal import make_console
from tests.proof.generated import page
from tests.proof.generated.notebooks import prove_notebooks
from tests.proof.generated.proof import prove
from tests.proof.validity.corpus import read_base


def run(
    programs: Annotated[int, typer.Option(help="how many right programs", min=1)] = 3_000,
    mutants: Annotated[int, typer.Option(help="how many mistakes, at most", min=0)] = 10_000,
    notebooks: Annotated[
        int, typer.Option(help="how many of the programs to run as whole notebooks, too", min=0)
    ] = 300,
    jobs: Annotated[int, typer.Option(help="programs at once; 0: one for each core", min=0)] = 0,
    docs: Annotated[Path | None, typer.Option(help="folder that generated.md is written to")] = None,
) -> None:
    """Show that right programs pass and mistakes do not."""
    console, began = make_console(), time.perf_counter()
    outcome = prove(console, programs, mutants, jobs)
    chosen = list(outcome.programs.values())[:notebooks]
    outcome = replace(outcome, notebooks=prove_notebooks(console, chosen, read_base(REFERENCE)))
    for what, figure in page.list_figures(outcome):
        console.print(f"{what}: {figure}", markup=False, highlight=False, soft_wrap=True)
    for name, said in [*outcome.false_fails.items(), *((n, s) for n, s in outcome.notebooks.items() if s)]:
        console.print(f"{name} is right and fails: {said}", markup=False, soft_wrap=True)
    for text in outcome.survivors:
        console.print(f"survivor {text}", markup=False, soft_wrap=True)
    if docs:
        (docs / "generated.md").write_text(page.render(outcome), encoding="utf-8")
    console.print(f"{time.perf_counter() - began:.0f} s")
    raise typer.Exit(0 if outcome.holds else 2)


if __name__ == "__main__":
    main(lambda: typer.run(run))
