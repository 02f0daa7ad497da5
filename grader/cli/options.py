"""Options that several commands have."""

from typing import Annotated

import typer

from grader.model import Precision, Profile

Training = Annotated[Profile, typer.Option(help="how much training to do")]
Seed = Annotated[int, typer.Option(help="seed of challenges and training", min=0, max=2**31 - 1)]
Arithmetic = Annotated[Precision, typer.Option(help="tf32 for profile full, the others for quick")]
# By default half an hour and an hour; in profile `full` without a GPU, where hours are usual, 6 and 12 hours.
CellLimit = Annotated[float | None, typer.Option(help="seconds that one cell may take", min=1)]
RunLimit = Annotated[float | None, typer.Option(help="seconds that all cells together may take", min=1)]
NoSandbox = Annotated[
    bool, typer.Option("--unsafe-no-sandbox", help="run notebooks with all rights of this user; results say so")
]
