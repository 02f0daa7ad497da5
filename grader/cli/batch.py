"""Commands for a whole class, and for staff. Exit codes: 0 everything graded or refused; 2 something is ungraded."""

import logging
import re
import shlex
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from grader.cli import options
from grader.errors import report_on_stop
from grader.model import Profile

if TYPE_CHECKING:
    from rich.console import Console

    from grader.batch.request import BatchRequest
    from grader.batch.session import BatchResult, WorkerSettings
    from grader.batch.slurm_jobs import SlurmOptions

Folder = Annotated[Path, typer.Argument(help="folder with the results of a class", show_default=False)]
Quiet = Annotated[bool, typer.Option("--quiet", help="print problems and one summary only")]
Course = Annotated[int, typer.Option(help="id of the course in Canvas, from its address")]
CanvasAssignment = Annotated[int, typer.Option(help="id of the assignment in Canvas, from its address")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (batch, rejudge, hand_out, review, decisions, times, upload, gradescope, worker, calibrate):
        app.command(name=command.__name__.replace("_", "-"))(options.take_objects(command))


def batch(
    submissions: Annotated[Path, typer.Argument(help="the zip from Canvas, or a folder", show_default=False)],
    run: options.RunOptions,
    files: options.ClassFiles,
    results: options.ResultOptions,
    workers: options.WorkerOptions,
    cluster: options.SlurmChoice,
    quiet: Quiet = False,
) -> None:
    """Grade a class: a zip from Canvas, or a folder. Run it again to continue where it stopped."""
    if not (quiet or cluster.dry_run):  # before the imports below, which take seconds
        print(f"Reading {submissions}", flush=True)
    from grader.batch import session, slurm_jobs
    from grader.reporting.terminal import make_console

    slurm = _choose_slurm(workers, cluster, _locate_results(submissions, results))
    if slurm and cluster.dry_run:
        print(slurm_jobs.render_script(slurm))
        return
    console = make_console()
    request = _build_request(submissions, run, files, results, workers.gpus > 0)
    if not (quiet or results.name or request.folder.name in (request.source.name, request.source.stem)):
        print(f"Taken for the class {request.folder.name}; OUT=folder (--out) makes it another class.", flush=True)
    with _explain_interruption():
        ended = session.run_batch(request, _choose_workers(workers, slurm), console, quiet)
    _finish(ended, request.folder, console, quiet)


def _build_request(
    submissions: Path, run: options.RunOptions, files: options.ClassFiles, results: options.ResultOptions, gpu: bool
) -> "BatchRequest":
    from grader.batch.request import BatchRequest, choose_class_seed

    source, limits = options.make_absolute(submissions), run.choose_limits(gpu)
    keeps, folder = results.keep_weights, _locate_results(submissions, results)
    return BatchRequest(
        source=source,
        folder=folder,
        profile=run.profile,
        seed=choose_class_seed(folder, run.seed),
        precision=run.precision,
        cell_s=limits.cell_s,
        run_s=limits.notebook_s,
        sandboxed=not run.unsafe_no_sandbox,
        keep_weights=run.profile is not Profile.STRUCTURE if keeps is None else keeps,
        **files.collect_given(),
    )


def _locate_results(submissions: Path, results: options.ResultOptions) -> Path:
    out = Path(options.make_absolute(results.out))
    return out / (results.name or derive_class_name(options.make_absolute(submissions), out))


def rejudge(
    folder: Folder, jobs: options.Jobs = None, scheduler: options.Scheduler = None, quiet: Quiet = False
) -> None:
    """Judge stored evidence again, by today's tests, points and thresholds. Executes nothing."""
    if not quiet:
        print(f"Reading {folder}", flush=True)
    from grader.batch import session
    from grader.reporting.terminal import make_console

    console, place = make_console(), options.make_absolute(folder)
    with _explain_interruption():
        workers = _choose_workers(options.WorkerOptions(jobs=jobs, scheduler=scheduler))
        ended = session.rejudge(place, workers, console, quiet)
    _finish(ended, place, console, quiet)


def hand_out(folder: Folder, files: options.ClassFiles) -> None:
    """Write gradebook, feedback and dashboard again, with another export, policy or overrides. Judges nothing."""
    from grader.batch import session
    from grader.reporting.terminal import make_console

    place = options.make_absolute(folder)
    _, made = session.renew_outputs(place, files.collect_given())
    session.show_decisions(place, make_console(), quiet=False)
    notes = session.format_notes(made)
    _print_lines((*notes, *session.describe_end(place, made)), make_console())


def review(
    folder: Folder,
    port: Annotated[
        int | None, typer.Option(help="port of this machine; by default 8470, or any free one", min=1, max=65_535)
    ] = None,
) -> None:
    """Open the page on which a person reviews a class: notebooks beside verdicts, points, comments. Ctrl-C ends it."""
    from grader.review.server import serve

    serve(options.make_absolute(folder), port)


def decisions(
    folder: Folder,
    take_away: Annotated[
        list[str] | None, typer.Option(help="id of a decision that is to hold no longer, such as d3; `gradebook` too")
    ] = None,
    author: Annotated[str | None, typer.Option(help="who takes it away; by default the user logged in")] = None,
    reason: Annotated[str | None, typer.Option(help="why it is taken away")] = None,
) -> None:
    """List what people decided about a class, or take a decision away. Later runs keep what is not taken away."""
    from grader.batch import session
    from grader.reporting.terminal import make_console

    place, names = options.make_absolute(folder), [name for text in take_away or () for name in text.split()]
    if names and not reason:
        raise typer.BadParameter("say why: it stands in the record", param_hint="--reason")
    lines = session.take_away(place, names, author, reason or "") if names else session.list_decisions(place)
    _print_lines(lines, make_console())


def times(
    out: Annotated[Path, typer.Argument(help="CSV file to write, for --times", show_default=False)],
    course: Course,
    assignment: CanvasAssignment,
) -> None:
    """Fetch from Canvas when everybody handed in. Needs CANVAS_API_URL and CANVAS_API_TOKEN."""
    from grader.gradebook.canvas_times import fetch

    count = fetch(course, assignment, out.expanduser())
    print(f"{count} students handed in; their times are in {out}.")


def upload(
    folder: Folder,
    course: Course,
    assignment: CanvasAssignment,
    send: Annotated[bool, typer.Option("--send", help="really send; without it, only show what to send")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="send grades although a part of the rubric was not judged")
    ] = False,
    replace: Annotated[
        list[str] | None,
        typer.Option(help="Canvas id of a student whose score was entered in Canvas and is to be replaced; `all`"),
    ] = None,
) -> None:
    """Send scores, comments and feedback to Canvas. Needs CANVAS_API_URL and CANVAS_API_TOKEN."""
    from grader.batch import outputs, session
    from grader.batch.store import Store
    from grader.gradebook.canvas_upload import mark_replaced
    from grader.gradebook.canvas_upload import upload as deliver

    names = [name for text in replace or () for name in text.split()]
    saved, made = session.renew_outputs(options.make_absolute(folder), {})
    if made.ungraded:
        print(session.describe_students(made))
    deliveries = mark_replaced(outputs.build_deliveries(saved.request, saved.intake, made.grades), names)
    with Store(saved.request.folder / "store").lock_upload() if send else nullcontext():
        report = deliver(course, assignment, deliveries, really=send, partial_too=partial)
    if send:
        print(f"Sent to {report.sent} student{'s' * (report.sent != 1)}.")
    if report.failures:
        again = f"CLASS={shlex.quote(session.shorten(saved.request.folder))} COURSE={course} ASSIGNMENT={assignment}"
        print(
            f"{len(report.failures)} named above got nothing. This sends it, and nothing twice: "
            f"make upload {again} SEND=1{' PARTIAL=1' * partial}{_repeat_replace(names)}"
        )
    raise typer.Exit(2 if report.failures else 0)


def _repeat_replace(names: Sequence[str]) -> str:
    return f" REPLACE={shlex.quote(' '.join(names))}" if names else ""


def gradescope(
    out: Annotated[Path, typer.Option(help="the zip to write")] = Path("dist/autograder.zip"),
    profile: options.Training = Profile.QUICK,
    seed: options.Seed = None,
    reviews: Annotated[
        Path | None, typer.Option(help="folder with the course's train.csv, eval.csv and heldout.csv to pack in")
    ] = None,
    timeout_min: Annotated[
        int, typer.Option("--timeout", help="minutes that you choose in Gradescope as the timeout", min=3, max=40)
    ] = 10,
) -> None:
    """Write the archive that Gradescope takes as an autograder. Without --reviews it grades on synthetic reviews."""
    from grader.gradebook.gradescope import CONTAINER, build_autograder

    made = build_autograder(out, profile, seed, reviews=options.make_absolute(reviews), timeout_min=timeout_min)
    print(f"Upload {made} under Configure Autograder.")
    print(f"There, choose a container with {CONTAINER}, and a timeout of {timeout_min} minutes.")


def worker(
    scheduler: Annotated[str, typer.Argument(help="address of the scheduler, such as tcp://host:8786")],
    jobs: Annotated[int, typer.Option(help="workers to start, each for one submission at a time", min=1)] = 1,
    gpus: Annotated[bool, typer.Option("--gpus", help="offer a GPU to each of them")] = False,
) -> None:
    """Start Dask workers on this machine for a batch that runs elsewhere; ctrl-C ends them."""
    from grader.batch.executor import serve

    serve(scheduler, jobs, gpus)


def calibrate(
    profile: Annotated[Profile, typer.Option(help="profile to calibrate")] = Profile.QUICK,
    seeds: Annotated[int, typer.Option(help="how many seeds to run", min=5, max=100)] = 8,
    first_seed: Annotated[int, typer.Option(help="the first of them", min=0)] = 0,
) -> None:
    """Measure the reference's accuracy over several seeds and write the thresholds to data/calibration.json."""
    from grader.authoring.calibrate import calibrate as measure
    from grader.reporting.terminal import make_console

    measure(profile, range(first_seed, first_seed + seeds), make_console())


def derive_class_name(source: Path, out: Path) -> str:
    """Name the folder of a class's results below `out`. A second download of a class continues it.

    Browsers call it `a4 (1).zip` or `a4(1).zip`; others `a4-2.zip` or `a4 2.zip`, as people call another class, too: it
    counts as a download only where there is a class `a4`.
    """
    name = source.name if source.is_dir() else source.stem
    if _holds_class(out / name):
        return name
    plain = re.sub(r" ?\(\d+\)$", "", name) or name
    base = re.sub(r"[ -]\d+$", "", plain)
    return base if base and not _holds_class(out / plain) and _holds_class(out / base) else plain


def _holds_class(folder: Path) -> bool:
    from grader.batch.request import NAME

    return (folder / NAME).is_file()


def _choose_slurm(workers: options.WorkerOptions, cluster: options.SlurmChoice, results: Path) -> "SlurmOptions | None":
    from grader.batch.slurm_jobs import LOGS, SlurmOptions

    if cluster.dry_run and not cluster.slurm:
        raise typer.BadParameter("shows the job script of --slurm; add --slurm", param_hint="--dry-run")
    if cluster.slurm and workers.scheduler:
        raise typer.BadParameter("starts its own scheduler; leave --scheduler out", param_hint="--slurm")
    if not cluster.slurm:
        return None
    return SlurmOptions(
        jobs=workers.jobs or 1,
        gpus=workers.gpus,
        kernels_per_gpu=workers.kernels_per_gpu,
        queue=cluster.queue,
        account=cluster.account,
        walltime=cluster.walltime,
        logs=results / LOGS,
    )


def _choose_workers(wish: options.WorkerOptions, slurm: "SlurmOptions | None" = None) -> "WorkerSettings":
    from grader.batch import executor, session, slurm_jobs

    gpus, per_gpu, scheduler = wish.gpus, wish.kernels_per_gpu, wish.scheduler
    count = wish.jobs or (gpus * per_gpu) or session.compute_default_jobs()

    def open_cluster() -> AbstractContextManager[Any]:
        if slurm:
            return slurm_jobs.open_cluster(slurm, slurm.jobs)
        return nullcontext(scheduler) if scheduler else executor.open_local_cluster(count, gpus)

    return session.WorkerSettings(
        open_cluster=open_cluster,
        threads=wish.threads or (slurm_jobs.CORES if slurm else session.compute_threads(count)),
        local=slurm is None and scheduler is None,
        gpus=gpus,
        kernels_per_gpu=per_gpu,
    )


@contextmanager
def _explain_interruption() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _mute_logs)
    try:
        with report_on_stop("What is graded is kept; run the same command again to continue."):
            yield
    finally:
        signal.signal(signal.SIGINT, before)


def _mute_logs(number: int, frame: object) -> None:
    logging.disable(logging.CRITICAL)  # libraries would log that the workers end, as they should
    raise KeyboardInterrupt


def _finish(ended: "BatchResult", folder: Path, console: "Console", quiet: bool) -> NoReturn:
    from grader.batch import session

    _print_lines(session.list_last_lines(ended, folder, quiet), console)
    raise typer.Exit(ended.exit_code)


def _print_lines(lines: Iterable[str], console: "Console") -> None:
    for line in lines:
        console.print(line, soft_wrap=True)
