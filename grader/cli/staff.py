"""Commands for those who keep the grader."""

from typing import Annotated

import typer

from grader.model import Profile


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(calibrate)


def calibrate(
    profile: Annotated[Profile, typer.Option(help="profile to calibrate")] = Profile.QUICK,
    seeds: Annotated[int, typer.Option(help="how many seeds to run", min=5, max=100)] = 8,
    first_seed: Annotated[int, typer.Option(help="the first of them", min=0)] = 0,
) -> None:
    """Measure the reference's accuracy over several seeds and write the thresholds to data/calibration.json."""
    from grader.authoring.calibrate import calibrate as measure
    from grader.reporting.terminal import make_console

    measure(profile, range(first_seed, first_seed + seeds), make_console())
