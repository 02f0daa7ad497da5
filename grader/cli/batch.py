"""Commands for a whole class. Exit codes: 0 everything graded or refused; 2 something is ungraded through our fault."""

import logging
import re
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grader.cli.options import Arithmetic, CellLimit, NoSandbox, RunLimit, Seed, Training
from grader.errors import report_on_stop
from grader.model import Precision, Profile

if TYPE_CHECKING:
    from rich.console import Console

    from grader.batch.session import BatchResult, Workers, WorkerSettings

Folder = Annotated[Path, typer.Argument(help="folder of a class's results", show_default=False)]
Jobs = Annotated[int | None, typer.Option(help="submissions at a time; by default what cores and memory allow", min=1)]
Quiet = Annotated[bool, typer.Option("--quiet", help="say only what is wrong, and one summary")]
Gradebook = Annotated[Path | None, typer.Option(help="the teacher's gradebook export (CSV): roster, and file to fill")]
Assignment = Annotated[str | None, typer.Option(help="id or title of the assignment's column in the export")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="late policy, attempts, extensions (TOML)")]
TimesFile = Annotated[Path | None, typer.Option("--times", help="when everybody handed in (CSV, see `./autograder times`)")]
OverridesFile = Annotated[Path | None, typer.Option("--overrides", help="changes by a person (TOML or CSV)")]
Course = Annotated[int, typer.Option(help="id of the course in Canvas, from its address")]
CanvasAssignment = Annotated[int, typer.Option(help="id of the assignment in Canvas, from its address")]
Scheduler = Annotated[str | None, typer.Option(help="address of a running Dask scheduler, such as tcp://host:8786")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (batch, rejudge, hand_out, times, upload, gradescope, worker):
        app.command(name=command.__name__.replace("_", "-"))(command)


def batch(
    submissions: Annotated[Path, typer.Argument(help="the zip from Canvas, or a folder", show_default=False)],
    profile: Training = Profile.QUICK,
    jobs: Jobs = None,
    gradebook: Gradebook = None,
    assignment: Assignment = None,
    policy: PolicyFile = None,
    overrides: OverridesFile = None,
    times: TimesFile = None,
    seed: Seed = 0,
    precision: Arithmetic = Precision.AUTO,
    out: Annotated[Path, typer.Option(help="folder that the class's folder is made in")] = Path("results"),
    name: Annotated[str | None, typer.Option(help="name of the class's folder; by default that of the zip")] = None,
    cell_limit: CellLimit = None,
    run_limit: RunLimit = None,
    keep_weights: Annotated[
        bool | None,
        typer.Option(help="keep trained weights (300 MB each) with the evidence; by default but in profile structure"),
    ] = None,
    scheduler: Scheduler = None,
    slurm: Annotated[bool, typer.Option("--slurm", help="start workers as Slurm jobs")] = False,
    queue: Annotated[str | None, typer.Option(help="Slurm partition")] = None,
    account: Annotated[str | None, typer.Option(help="Slurm account")] = None,
    walltime: Annotated[str, typer.Option(help="time limit of one Slurm job")] = "04:00:00",
    gpus: Annotated[int, typer.Option(help="GPUs of this machine, or of one Slurm job", min=0)] = 0,
    kernels_per_gpu: Annotated[int, typer.Option(help="submissions that share one GPU", min=1)] = 1,
    threads: Annotated[
        int | None, typer.Option(help="cores that one submission computes on; by default they are divided", min=1)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="with --slurm: show the job script and stop")] = False,
    quiet: Quiet = False,
    unsafe_no_sandbox: NoSandbox = False,
) -> None:
    """Grade a class: a zip from Canvas, or a folder. Run it again to go on where it stopped."""
    from grader.batch import session, slurm_jobs
    from grader.batch.request import BatchRequest
    from grader.execution import isolation
    from grader.reporting.terminal import make_console

    _require_possible(slurm, scheduler, dry_run)
    wish = slurm_jobs.SlurmOptions(
        jobs=jobs or 1, gpus=gpus, kernels_per_gpu=kernels_per_gpu, queue=queue, account=account, walltime=walltime
    )
    if slurm and dry_run:
        print(slurm_jobs.render_script(wish))
        return
    source = submissions.expanduser().absolute()
    limits = isolation.choose_limits(profile, gpus > 0, cell_limit, run_limit)
    request = BatchRequest(
        source=source,
        folder=out.expanduser().absolute() / (name or derive_class_name(source)),
        profile=profile,
        seed=seed,
        precision=precision,
        cell_s=limits.cell_s,
        run_s=limits.notebook_s,
        sandboxed=not unsafe_no_sandbox,
        keep_weights=profile is not Profile.STRUCTURE if keep_weights is None else keep_weights,
        gradebook=_make_absolute(gradebook),
        assignment=assignment,
        policy=_make_absolute(policy),
        overrides=_make_absolute(overrides),
        times=_make_absolute(times),
    )
    staffing = _choose_workers(
        jobs, gpus, kernels_per_gpu, scheduler, slurm_jobs.make_cluster_opener(wish) if slurm else None
    )
    staffing = replace(staffing, threads=threads or staffing.threads)
    console = make_console()
    with _explain_interruption():
        ended = session.run_batch(request, staffing, console, quiet)
    _say(ended, request.folder, console, quiet)


def rejudge(folder: Folder, jobs: Jobs = None, scheduler: Scheduler = None, quiet: Quiet = False) -> None:
    """Judge stored evidence by today's suite, rubric and thresholds. Executes nothing."""
    from grader.batch import session
    from grader.reporting.terminal import make_console

    console, place = make_console(), folder.expanduser().absolute()
    with _explain_interruption():
        ended = session.rejudge(place, _choose_workers(jobs, 0, 1, scheduler, None), console, quiet)
    _say(ended, place, console, quiet)


def hand_out(
    folder: Folder,
    gradebook: Gradebook = None,
    assignment: Assignment = None,
    policy: PolicyFile = None,
    overrides: OverridesFile = None,
    times: TimesFile = None,
) -> None:
    """Make gradebook, feedback and dashboard again, with another export, policy or overrides. Judges nothing."""
    from grader.batch import session
    from grader.reporting.terminal import make_console

    place = folder.expanduser().absolute()
    given = {
        "gradebook": _make_absolute(gradebook),
        "assignment": assignment,
        "policy": _make_absolute(policy),
        "overrides": _make_absolute(overrides),
        "times": _make_absolute(times),
    }
    _, handed = session.renew_outputs(place, {key: value for key, value in given.items() if value is not None})
    console = make_console()
    lines = (
        *session.format_notes(handed),
        session.format_without_grade(handed),
        session.describe_location(place, handed),
    )
    for line in filter(None, lines):
        console.print(line, soft_wrap=True)


def times(
    out: Annotated[Path, typer.Argument(help="CSV file to write, for --times", show_default=False)],
    course: Course,
    assignment: CanvasAssignment,
) -> None:
    """Ask Canvas when everybody handed in; address and token: CANVAS_API_URL and CANVAS_API_TOKEN."""
    from grader.gradebook.canvas_times import fetch

    count = fetch(course, assignment, out.expanduser())
    print(f"{count} students handed in; their times are in {out}.")


def upload(
    folder: Folder,
    course: Course,
    assignment: CanvasAssignment,
    send: Annotated[bool, typer.Option("--send", help="really send; without it, only show what would be sent")] = False,
) -> None:
    """Send scores, comments and feedback to Canvas; address and token: CANVAS_API_URL and CANVAS_API_TOKEN."""
    from grader.batch import delivery, session
    from grader.gradebook.canvas_upload import upload as deliver

    remembered, handed = session.renew_outputs(folder.expanduser().absolute(), {})
    parcels = delivery.build_deliveries(remembered.request, handed.grades)
    if ungraded := session.format_without_grade(handed):
        print(f"{len(handed.grades)} students, {ungraded}")
    delivered = deliver(course, assignment, parcels, really=send)
    if send:
        print(f"Sent to {delivered.sent} students.")
    raise typer.Exit(2 if delivered.failures else 0)


def gradescope(
    out: Annotated[Path, typer.Option(help="the zip to write")] = Path("dist/autograder.zip"),
    profile: Training = Profile.QUICK,
    seed: Seed = 0,
    reviews: Annotated[
        Path | None, typer.Option(help="folder with the course's train.csv, eval.csv and heldout.csv to pack in")
    ] = None,
) -> None:
    """Write the archive that Gradescope takes as an autograder. Without --reviews it grades on synthetic ones."""
    from grader.gradebook.gradescope import build_autograder

    print(f"Upload {build_autograder(out, profile, seed, reviews=_make_absolute(reviews))} under Configure Autograder.")


def worker(
    scheduler: Annotated[str, typer.Argument(help="address of the scheduler, such as tcp://host:8786")],
    jobs: Annotated[int, typer.Option(help="workers to start here, each for one submission at a time", min=1)] = 1,
    gpus: Annotated[bool, typer.Option("--gpus", help="offer a GPU to each of them")] = False,
) -> None:
    """Start Dask workers on this machine for a batch that is run elsewhere; ctrl-C ends them."""
    from grader.batch.executor import serve

    serve(scheduler, jobs, gpus)


def derive_class_name(source: Path) -> str:
    """The folder of a class's results. A second download of the same class, `a4 (1).zip`, goes on with the first."""
    return re.sub(r" \(\d+\)$", "", source.name if source.is_dir() else source.stem)


def _make_absolute(path: Path | None) -> Path | None:
    return path.expanduser().absolute() if path else None


def _require_possible(slurm: bool, scheduler: str | None, dry_run: bool) -> None:
    """Refuse options that contradict each other, before anything is graded."""
    if dry_run and not slurm:
        raise typer.BadParameter("shows the job script of --slurm; add --slurm", param_hint="--dry-run")
    if slurm and scheduler:
        raise typer.BadParameter("starts a scheduler of its own; leave --scheduler out", param_hint="--slurm")


def _choose_workers(
    jobs: int | None, gpus: int, kernels_per_gpu: int, scheduler: str | None, slurm: "Workers | None"
) -> "WorkerSettings":
    from grader.batch import executor, session, slurm_jobs

    count = jobs or (gpus * kernels_per_gpu) or session.compute_default_jobs()

    def local() -> AbstractContextManager[Any]:
        return nullcontext(scheduler) if scheduler else executor.open_local_cluster(count, gpus)

    threads = slurm_jobs.CORES if slurm else session.compute_threads(count)
    here = slurm is None and scheduler is None
    return session.WorkerSettings(slurm or local, threads, local=here, gpus=gpus, kernels_per_gpu=kernels_per_gpu)


@contextmanager
def _explain_interruption() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _mute_logs)
    try:
        with report_on_stop("Stopped. What was graded is kept; run the same command again to go on."):
            yield
    finally:
        signal.signal(signal.SIGINT, before)


def _mute_logs(number: int, frame: object) -> None:
    """From here on, what libraries log is about workers that go away, as they should."""
    logging.disable(logging.CRITICAL)
    raise KeyboardInterrupt


def _say(ended: "BatchResult", folder: Path, console: "Console", quiet: bool) -> None:
    from grader.batch import session

    notes = () if quiet else session.format_notes(ended.outputs)
    for line in (*notes, session.format_summary(ended), session.describe_location(folder, ended.outputs)):
        console.print(line, soft_wrap=True)
    raise typer.Exit(ended.exit_code)
