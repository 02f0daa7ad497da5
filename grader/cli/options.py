"""Options as objects: commands take dataclasses, whose fields typer shows as options."""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from grader.model import Precision, Profile

Seed = Annotated[int, typer.Option(help="seed of challenges and training", min=0, max=2**31 - 1)]
Training = Annotated[Profile, typer.Option(help="how much training to do")]
Jobs = Annotated[int | None, typer.Option(help="submissions at a time; by default what cores and memory allow", min=1)]
Scheduler = Annotated[str | None, typer.Option(help="address of a running Dask scheduler, such as tcp://host:8786")]


@dataclass(frozen=True)
class RunOptions:
    """How a notebook is executed."""

    profile: Training = Profile.QUICK
    seed: Seed = 0
    precision: Annotated[Precision, typer.Option(help="tf32 for profile full, the others for quick")] = Precision.AUTO
    # By default half an hour and an hour; in profile `full` without a GPU, where hours are usual, 6 and 12 hours.
    cell_limit: Annotated[float | None, typer.Option(help="seconds that one cell may take", min=1)] = None
    run_limit: Annotated[float | None, typer.Option(help="seconds that all cells together may take", min=1)] = None
    unsafe_no_sandbox: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="run notebooks with all rights of this user; results say so")
    ] = False


@dataclass(frozen=True)
class ClassFiles:
    """Files of a person's that say who is in the class and how results become grades."""

    gradebook: Annotated[
        Path | None, typer.Option(help="the teacher's gradebook export (CSV): roster, and file to fill")
    ] = None
    assignment: Annotated[str | None, typer.Option(help="id or title of the assignment's column in the export")] = None
    policy: Annotated[Path | None, typer.Option(help="late policy, attempts, extensions (TOML)")] = None
    overrides: Annotated[Path | None, typer.Option(help="changes by a person (TOML or CSV)")] = None
    times: Annotated[Path | None, typer.Option(help="when they handed in (CSV of `./autograder times`)")] = None

    def given(self) -> dict[str, Any]:
        """Return what was named, by name; paths are absolute."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: make_absolute(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class ResultOptions:
    """Where a class's results go, and what is kept."""

    out: Annotated[Path, typer.Option(help="folder that the class's folder is made in")] = Path("results")
    name: Annotated[str | None, typer.Option(help="name of the class's folder; by default that of the zip")] = None
    keep_weights: Annotated[
        bool | None,
        typer.Option(help="keep trained weights (300 MB each) with the evidence; by default but in profile structure"),
    ] = None


@dataclass(frozen=True)
class WorkerOptions:
    """How many submissions are graded at a time, and on what."""

    jobs: Jobs = None
    gpus: Annotated[int, typer.Option(help="GPUs of this machine, or of one Slurm job", min=0)] = 0
    kernels_per_gpu: Annotated[int, typer.Option(help="submissions that share one GPU", min=1)] = 1
    threads: Annotated[
        int | None, typer.Option(help="cores that one submission computes on; by default they are divided", min=1)
    ] = None
    scheduler: Scheduler = None


@dataclass(frozen=True)
class SlurmChoice:
    """Whether workers are Slurm jobs, and which."""

    slurm: Annotated[bool, typer.Option("--slurm", help="start workers as Slurm jobs")] = False
    queue: Annotated[str | None, typer.Option(help="Slurm partition")] = None
    account: Annotated[str | None, typer.Option(help="Slurm account")] = None
    walltime: Annotated[str, typer.Option(help="time limit of one Slurm job")] = "04:00:00"
    dry_run: Annotated[bool, typer.Option("--dry-run", help="with --slurm: show the job script and stop")] = False


def make_absolute(value: Any) -> Any:
    """Return a path in full; anything else as it is."""
    return value.expanduser().absolute() if isinstance(value, Path) else value


def take_objects(command: Callable[..., None]) -> Callable[..., None]:
    """Make a typer command of a function with dataclasses among its parameters: each of their fields is an option.

    >>> def grade(submission: Path, run: RunOptions) -> None: ...
    >>> app.command()(take_objects(grade))  # grade SUBMISSION --profile … --seed …
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = [part for name, parameter in inspect.signature(command).parameters.items()
                  for part in _expand(parameter.replace(annotation=hints[name]), groups.get(name))]  # fmt: skip

    @functools.wraps(command)
    def run(**values: Any) -> None:
        objects = {
            name: kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        command(**objects, **values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _expand(parameter: inspect.Parameter, kind: Any) -> Iterator[inspect.Parameter]:
    if kind is None:
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        default = _read_default(field)
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
        )


def _read_default(field: Field[Any]) -> Any:
    return inspect.Parameter.empty if field.default is MISSING else field.default
