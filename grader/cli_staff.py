"""Commands for those who keep the grader: thresholds, proof of the verdicts, proof of the sandbox."""

from pathlib import Path
from typing import Annotated

import typer

from grader.model import Profile
from grader.sandbox.policy import Backend


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (calibrate, validate, hostile):
        app.command()(command)


def calibrate(
    profile: Annotated[Profile, typer.Option(help="profile to calibrate")] = Profile.QUICK,
    seeds: Annotated[int, typer.Option(help="how many seeds to run", min=5, max=100)] = 8,
    first_seed: Annotated[int, typer.Option(help="the first of them", min=0)] = 0,
) -> None:
    """Measure the reference's accuracy over several seeds and write the thresholds to data/calibration.json."""
    from grader.calibrating import calibrate as measure
    from grader.reporting.terminal import make_console

    measure(profile, range(first_seed, first_seed + seeds), make_console())


def validate(
    only: Annotated[
        list[str] | None, typer.Argument(help="beginnings of names of specimens; all of them by default")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="really train, for hours: accuracy and its chances")
    ] = False,
    repeat: Annotated[int, typer.Option(help="so many repetitions with other seeds, minutes each", min=0)] = 0,
    docs: Annotated[Path, typer.Option(help="folder that validity.md and validity.html are written to")] = Path("docs"),
) -> None:
    """Show that the verdicts are right: run the corpus of mutants and variants."""
    from grader.reporting.terminal import make_console
    from grader.validation.validating import validate as prove

    raise typer.Exit(0 if prove(make_console(), docs, only or (), training, repeat) else 2)


def hostile(
    backend: Annotated[
        list[Backend] | None, typer.Option(help="only in this sandbox; may be given several times")
    ] = None,
) -> None:
    """Run the hostile notebooks in every sandbox of this machine. Exit code: 0 if all is as expected, 2 if not."""
    from grader.hostility import rounds
    from grader.hostility.table import table
    from grader.reporting.terminal import make_console

    trials = rounds.run_everything(backend or rounds.backends())
    make_console().print(table(trials))
    raise typer.Exit(2 if any(trial.unexpected for trial in trials) else 0)
