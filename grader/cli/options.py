"""Options as objects: commands take dataclasses, whose fields typer shows as options."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from grader.model import Precision, Profile

if TYPE_CHECKING:
    from grader.execution.driver import Limits

Seed = Annotated[
    int | None, typer.Option(help="seed of challenges and training; by default a secret one", min=0, max=2**31 - 1)
]
Training = Annotated[Profile, typer.Option(help="how much training to do")]
Jobs = Annotated[int | None, typer.Option(help="submissions at a time; by default what cores and memory allow", min=1)]
Scheduler = Annotated[str | None, typer.Option(help="address of a running Dask scheduler, such as tcp://host:8786")]


@dataclass(frozen=True)
class RunOptions:
    """Options for executing a notebook."""

    profile: Training = Profile.QUICK
    seed: Seed = None
    precision: Annotated[
        Precision, typer.Option(help="of matrix products: tf32 in profile full, the others in quick")
    ] = Precision.AUTO
    # By default half an hour and an hour; in profile `full` without a GPU, where hours are usual, 6 and 12 hours.
    cell_limit: Annotated[float | None, typer.Option(help="seconds that one cell may take", min=1)] = None
    run_limit: Annotated[float | None, typer.Option(help="seconds that all cells together may take", min=1)] = None
    unsafe_no_sandbox: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="run notebooks with all your rights; results say so")
    ] = False

    def choose_limits(self, gpu: bool) -> "Limits":
        """Return how long a notebook may take, with or without a GPU."""
        from grader.execution.isolation import choose_limits

        return choose_limits(self.profile, gpu, self.cell_limit, self.run_limit)


@dataclass(frozen=True)
class ClassFiles:
    """Files that say who is in the class and how results become grades."""

    gradebook: Annotated[
        Path | None, typer.Option(help="gradebook export (CSV): who is in the class, and the file to fill in")
    ] = None
    assignment: Annotated[str | None, typer.Option(help="id or title of the assignment's column in the export")] = None
    policy: Annotated[Path | None, typer.Option(help="rules for late work, attempts and extensions (TOML)")] = None
    overrides: Annotated[Path | None, typer.Option(help="points changed by a person (TOML or CSV)")] = None
    times: Annotated[Path | None, typer.Option(help="hand-in times (CSV, written by `make times`)")] = None
    groups: Annotated[
        Path | None, typer.Option(help="who hands in together: Canvas's export of groups, or a CSV of student,group")
    ] = None

    def collect_given(self) -> dict[str, Any]:
        """Return the options that were used, by name; paths are absolute."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: make_absolute(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class ResultOptions:
    """The folder for a class's results, and what stays in it."""

    out: Annotated[Path, typer.Option(help="folder in which the class gets its folder")] = Path("results")
    name: Annotated[str | None, typer.Option(help="name of the class's folder; by default that of the zip")] = None
    keep_weights: Annotated[
        bool | None,
        typer.Option(help="keep trained weights (300 MB each); by default yes, except in profile structure"),
    ] = None


@dataclass(frozen=True)
class WorkerOptions:
    """Options for the workers of a batch."""

    jobs: Jobs = None
    gpus: Annotated[int, typer.Option(help="GPUs of this machine, or of one Slurm job", min=0)] = 0
    kernels_per_gpu: Annotated[int, typer.Option(help="submissions that share one GPU", min=1)] = 1
    threads: Annotated[
        int | None, typer.Option(help="cores for one submission; by default all cores are divided", min=1)
    ] = None
    scheduler: Scheduler = None


@dataclass(frozen=True)
class SlurmChoice:
    """Workers as Slurm jobs."""

    slurm: Annotated[bool, typer.Option("--slurm", help="start workers as Slurm jobs")] = False
    queue: Annotated[str | None, typer.Option(help="Slurm partition")] = None
    account: Annotated[str | None, typer.Option(help="Slurm account")] = None
    walltime: Annotated[str, typer.Option(help="time limit of one Slurm job")] = "04:00:00"
    dry_run: Annotated[bool, typer.Option("--dry-run", help="with --slurm: show the job script and stop")] = False


def make_absolute(value: Any) -> Any:
    """Return an absolute path for a path; anything else as it is."""
    return value.expanduser().absolute() if isinstance(value, Path) else value


def take_objects(command: Callable[..., None]) -> Callable[..., None]:
    """Make a typer command of a function that takes dataclasses: each of their fields becomes an option.

    >>> def grade(submission: Path, run: RunOptions) -> None: ...
    >>> app.command()(take_objects(grade))  # grade SUBMISSION --profile … --seed …
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    options: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = groups.get(name)
        own = inspect.signature(kind).parameters if kind else {name: parameter}
        types = get_type_hints(kind, include_extras=True) if kind else hints
        options += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=types[n]) for n, p in own.items()]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        command(**values)

    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run
