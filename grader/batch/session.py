"""A batch from its source to its outputs: what the commands call."""

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distributed.system import MEMORY_LIMIT
from rich.console import Console
from rich.text import Text

from grader.assets.cache import locate_cache
from grader.assets.hub import resolve_checkpoint
from grader.assets.reviews import resolve_reviews
from grader.batch import decisions, executor, regrading, scheduling
from grader.batch.attempts import note_attempts
from grader.batch.class_reviews import choose_reviews
from grader.batch.digests import digest_execution, digest_judging
from grader.batch.display import BatchDisplay
from grader.batch.joining import continue_class
from grader.batch.messages import BatchConfig, RunSettings, TaskStatus
from grader.batch.outputs import (
    BatchOutputs,
    check_gradebook,
    find_last_entry,
    hand_out,
    settle_stored,
)
from grader.batch.request import NAME as REQUEST
from grader.batch.request import BatchRequest, SavedBatch, UsedReviews, load_batch, save_batch
from grader.batch.scheduling import BatchSummary, Conditions
from grader.batch.store import Store
from grader.batch.teacher_export import Export, read_gradebook
from grader.errors import ANOTHER_FOLDER, GraderError, explain_refusal
from grader.execution import profiles
from grader.execution.driver import Limits
from grader.execution.setup import SandboxOptions, start_sandbox
from grader.grades.decisions import Withdrawal, describe_decision, describe_in_force, list_in_force, list_withdrawn
from grader.grades.grade import PassOutcome, Standing, describe_partial
from grader.intake.archive import read_class
from grader.intake.roster import read_roster, read_test_students
from grader.intake.uploads import Intake
from grader.machine.cores import count_cores
from grader.paths import ROOT
from grader.reporting.sanitisation import sanitise_line

KERNEL_GIB: Final = 4  # memory that one job needs at its peak, with what its worker needs
JOBS_MAX: Final = 16
GRADEBOOK: Final = "gradebook"  # an export that is remembered is taken away by this name
Cluster = Callable[[], AbstractContextManager[Any]]  # opens a Dask cluster, or gives the address of one


@dataclass(frozen=True)
class WorkerSettings:
    """The workers of a batch, each of which computes with so many `threads`."""

    open_cluster: Cluster
    threads: int
    local: bool = False  # all of them on this machine
    gpus: int = 0  # of each machine that works
    kernels_per_gpu: int = 1  # submissions that share a GPU


@dataclass(frozen=True)
class BatchResult:
    """The end of a batch."""

    summary: BatchSummary
    outputs: BatchOutputs
    told: tuple[str, ...] = ()  # after judging again: who gained or lost, and whom to tell

    @property
    def exit_code(self) -> int:
        """0: everything graded or refused. 2: something is ungraded, and the submission is not the reason."""
        return 2 if self.summary.problems or self.summary.left or self.summary.stopped else 0


def compute_threads(jobs: int) -> int:
    """Divide this machine's cores among `jobs` jobs."""
    return max(1, count_cores() // jobs)


def compute_default_jobs() -> int:
    """Return as many jobs as cores and memory allow."""
    memory_gib = MEMORY_LIMIT / 2**30  # that of the machine, or of the container or job that this runs in
    return max(1, min(count_cores(), int(memory_gib // KERNEL_GIB), JOBS_MAX))


def run_batch(request: BatchRequest, workers: WorkerSettings, console: Console, quiet: bool = False) -> BatchResult:
    """Read a class, grade what is missing, write the outputs. Raises GraderError."""
    profiles.require_fit(request.profile, request.precision)
    with lock_class(request.folder) as store:
        saved = load_batch(request.folder) if (request.folder / REQUEST).exists() else None
        known = saved.request if saved else None
        request = request.inherit(known) if known else request
        export = read_gradebook(request)
        intake = _read_class(request, store, export)
        if not (intake.uploads or intake.refusals):
            raise GraderError(f"{request.source} holds no submission; name the zip from Canvas or a folder.")
        before = saved.intake if saved else None
        intake = _continue_class(intake, before, export, request.folder) if before else intake
        check_gradebook(request, intake)
        conditions = find_conditions(request)
        request, note = settle_reviews(request, known, conditions)
        # Before times are recorded, which count for what was there before them.
        note_attempts(request.folder, intake, before)
        intake = intake.model_copy(update={"notes": (*intake.notes, *decisions.take_over(request, intake))})
        save_batch(request := request.settled, intake)
        if not quiet:
            console.print(Text(describe_intake(intake)), soft_wrap=True)
        show_settings(request, console, quiet)
        intake = add_note(intake, note)
        summary = _judge(Work(request, intake, conditions, execute=True), workers, console, quiet)
        return BatchResult(summary, hand_out(request, intake))


def _read_class(request: BatchRequest, store: Store, export: Export | None) -> Intake:
    """Read what was handed in, by the students of the gradebook where there is one. Raises GraderError."""
    if export is None:
        return read_class(request.source, store.uploads, apart_from=request.folder)
    return read_class(
        request.source,
        store.uploads,
        read_roster(export.content),
        apart_from=request.folder,
        test_students=read_test_students(export.content),
    )


def _continue_class(intake: Intake, before: Intake, export: Export | None, folder: Path) -> Intake:
    """Join what the source holds to what the class held before. Raises GraderError."""
    if export is None:
        return continue_class(intake, before, (), folder)
    return continue_class(intake, before, read_roster(export.content), folder, read_test_students(export.content))


def describe_intake(intake: Intake) -> str:
    """Count what was found."""
    counts = {
        "notebooks": len(intake.uploads),
        "files that cannot be graded": len(intake.refusals),
        "students without a gradable file": len(intake.missing),
    }
    return f"Found {', '.join(f'{count} {what}' for what, count in counts.items() if count)}."


def rejudge(folder: Path, workers: WorkerSettings, console: Console, quiet: bool = False) -> BatchResult:
    """Judge stored evidence by today's suite, rubric and thresholds; execute nothing. Raises GraderError."""
    load_batch(folder)  # before anything is made in a folder that holds no class
    with lock_class(folder):
        known = load_batch(folder)
        conditions = find_conditions(known.request)
        request, note = settle_reviews(known.request, known.request, conditions)
        saved = _settle_request(folder, {"reviews": request.reviews})
        require_same_settings(saved)
        show_settings(saved.request, console, quiet)
        request, intake = saved.request, add_note(saved.intake, note)
        before = regrading.read_table(folder)
        summary = _judge(Work(request, intake, conditions, execute=False), workers, console, quiet)
        grades = settle_stored(request, intake)
        found = regrading.list_changes(before, grades, decisions.read_decisions(folder))
        earlier = regrading.note_changes(folder, found)  # while what it compares with is still there
        return BatchResult(summary, hand_out(request, intake), (*regrading.describe_changes(found), *earlier))


def settle_reviews(
    request: BatchRequest, known: BatchRequest | None, conditions: Conditions
) -> tuple[BatchRequest, str]:
    """Return the request with the reviews of the class, and a note. Raises GraderError where this shell has others."""
    found = UsedReviews(name=conditions.reviews_name, sha256=conditions.reviews_sha256)
    reviews, note = choose_reviews(known, found)
    return request.model_copy(update={"reviews": reviews}), note


def add_note(intake: Intake, note: str) -> Intake:
    """Return an intake with one more note for staff, if there is one."""
    return intake.model_copy(update={"notes": (*intake.notes, note)}) if note else intake


def require_same_settings(saved: SavedBatch) -> None:
    """Raise GraderError if uploads were graded with another profile or seed than the last request names."""
    request = saved.request
    found = [find_last_entry(request, upload) for upload in saved.intake.uploads]
    settings = (request.profile, request.seed)
    others = [e for e in found if e and not e.is_refused and (e.profile, e.seed) != settings]
    if others:
        raise GraderError(
            f"{len(others)} of {len(found)} uploads were graded with profile {others[0].profile} and seed "
            f"{others[0].seed}; a later batch with profile {request.profile} and seed {request.seed} did not finish. "
            "Run that `batch` command again first."
        )


def renew_outputs(folder: Path, changes: Mapping[str, object]) -> tuple[SavedBatch, BatchOutputs]:
    """Write the outputs again without judging, with changed files that later commands keep. Raises GraderError."""
    load_batch(folder)
    with lock_class(folder):
        saved = _settle_request(folder, changes)
        return saved, hand_out(saved.request, saved.intake)


def _settle_request(folder: Path, changes: Mapping[str, object]) -> SavedBatch:
    """Read the last request, record the decisions of the files that it or `changes` name, and save it without them."""
    saved = load_batch(folder)
    request = saved.request.model_copy(update=changes)
    check_gradebook(request, saved.intake)
    notes = decisions.take_over(request, saved.intake)
    save_batch(request.settled, saved.intake)
    intake = saved.intake.model_copy(update={"notes": (*saved.intake.notes, *notes)})
    return SavedBatch(request=request.settled, intake=intake)


def show_settings(request: BatchRequest, console: Console, quiet: bool) -> None:
    """Print on which reviews a class is graded, and which decisions are in force."""
    if not quiet:
        console.print(Text(f"Reviews: {request.reviews}."), soft_wrap=True)
    show_decisions(request.folder, console, quiet)


def show_decisions(folder: Path, console: Console, quiet: bool) -> None:
    """Print which decisions are in force."""
    for line in () if quiet else describe_in_force(decisions.read_decisions(folder)):
        console.print(Text(line), soft_wrap=True)


def take_away(folder: Path, names: Sequence[str], author: str | None, reason: str) -> list[str]:
    """End decisions by their ids, and write the outputs again. Returns lines for people. Raises GraderError."""
    load_batch(folder)
    changes = {GRADEBOOK: None, "assignment": None} if GRADEBOOK in names else {}
    ids = [name for name in names if name != GRADEBOOK]
    with lock_class(folder):
        decisions.withdraw(folder, ids, author or decisions.name_author(), reason)
    _, made = renew_outputs(folder, changes)
    return [*describe_in_force(decisions.read_decisions(folder)), *format_notes(made), *describe_end(folder, made)]


def list_decisions(folder: Path) -> list[str]:
    """List all decisions, oldest first: those in force, and what became of the others. Raises GraderError."""
    load_batch(folder)
    found = decisions.read_decisions(folder)
    gone, holding = list_withdrawn(found), {decision.id for decision in list_in_force(found)}
    states = {True: "in force", False: "replaced"}
    return [
        f"{'taken away' if d.id in gone else states[d.id in holding]:<11}{d.at:%Y-%m-%d %H:%M} {describe_decision(d)}"
        for d in found
        if not isinstance(d.matter, Withdrawal)
    ] or ["Nobody has decided anything yet."]


@contextmanager
def lock_class(folder: Path) -> Iterator[Store]:
    """Keep other batches out of a class's folder. Raises GraderError, also for what the file system refuses here."""
    store = Store(folder / "store")
    try:
        with store.lock():
            yield store
    except OSError as error:
        if error.errno is None:  # of a connection to workers, say: no answer of the file system
            raise
        raise explain_refusal(f"write to {folder}", error, ANOTHER_FOLDER) from error


@dataclass(frozen=True)
class Work:
    """What is to be graded, and on what. `execute`: False judges what is stored."""

    request: BatchRequest
    intake: Intake
    conditions: Conditions
    execute: bool


def _judge(work: Work, workers: WorkerSettings, console: Console, quiet: bool) -> BatchSummary:
    """Execute and judge what is missing. Raises GraderError where something stopped it."""
    config, uploads = make_config(work.request, workers, work.execute), work.intake.uploads
    tasks = scheduling.plan(uploads, config, work.conditions)
    summary, display = BatchSummary(len(uploads), len(uploads)), BatchDisplay(console, len(tasks), quiet)
    if tasks:  # otherwise start no worker
        with (
            display,
            _tell_stage(display, "Preparing model, reviews and sandbox"),
            share_sandbox(config, workers) as shared,
            _tell_stage(display, "Starting the workers"),
            workers.open_cluster() as cluster,
            executor.connect(cluster, shared, display.tell, executor.open_tools, workers.gpus > 0) as crew,
        ):
            summary = scheduling.grade(uploads, tasks, shared, crew, display)
    if summary.left and summary.stopped:
        wait = f"{summary.left} of {summary.total} uploads wait"
        raise GraderError(f"{summary.stopped} {wait}; run the same command again.")
    return summary


@contextmanager
def _tell_stage(display: BatchDisplay, name: str) -> Iterator[None]:
    display.stage(name)
    yield


@contextmanager
def share_sandbox(config: BatchConfig, workers: WorkerSettings) -> Iterator[BatchConfig]:
    """Add a sandbox that the workers of this machine share to the configuration. Raises GraderError.

    It imports what warm kernels need once for all workers, and meanwhile the workers start.
    """
    if not (workers.local and config.isolates):
        yield config
        return
    limits = Limits(cell_s=config.cell_s, notebook_s=config.run_s)
    with start_sandbox(config.profile, SandboxOptions(limits=limits, threads=config.threads)) as sandbox:
        yield config.model_copy(update={"sandbox": sandbox.ticket()})


def make_config(request: BatchRequest, workers: WorkerSettings, execute: bool) -> BatchConfig:
    """Build the configuration for workers."""
    return BatchConfig(
        **request.model_dump(include=set(RunSettings.model_fields)),
        threads=workers.threads,
        gpus=workers.gpus,
        kernels_per_gpu=workers.kernels_per_gpu,
        code=digest_execution(ROOT),
        parts=digest_judging(ROOT),
        reviews_sha256=request.reviews.sha256 if request.reviews else "",
        execute=execute,
    )


def find_conditions(request: BatchRequest) -> Conditions:
    """Find the model and the reviews that evidence depends on. Raises GraderError."""
    checkpoint = resolve_checkpoint(request.profile, locate_cache(ROOT, os.environ))
    reviews = resolve_reviews(ROOT, os.environ)
    return Conditions(checkpoint.sha256, reviews.sha256, reviews.name)


def list_last_lines(result: BatchResult, folder: Path, quiet: bool) -> tuple[str, ...]:
    """List the lines that end a batch: notes for staff, what became of everybody, the results, what to do next."""
    summary, outputs = result.summary, result.outputs
    counts = {
        "graded now": summary.count_uploads(TaskStatus.GRADED),
        "done before": summary.done_before,
        "refused": summary.count_uploads(TaskStatus.REFUSED),
        "ungraded, named above": len(summary.problems),
        "executed by older code": outputs.outdated,
    }
    shown = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none graded"
    line = f"Notebooks: {summary.total} ({shown}). Executed in this run: {summary.executed}."
    if count := len(list_in_force(decisions.read_decisions(folder))):
        line += f" Decisions in force: {count}."
    return (*(() if quiet else format_notes(outputs)), line, *result.told, *describe_end(folder, outputs))


def describe_end(folder: Path, outputs: BatchOutputs) -> tuple[str, ...]:
    """Say what became of everybody, where the results are and what to do next."""
    partial = describe_partial(outputs.grades)
    lines = (describe_students(outputs), partial, describe_location(folder, outputs), suggest_next(folder, outputs))
    return tuple(line for line in lines if line)


def format_notes(outputs: BatchOutputs) -> tuple[str, ...]:
    """Format what staff should know, a line each."""
    return tuple(f"note: {sanitise_line(note)}" for note in outputs.notes)


def describe_students(outputs: BatchOutputs) -> str:
    """Count the students by what became of them."""
    standings = Counter(grade.standing for grade in outputs.grades)
    counts = [f"{standings[one]} {one}" for one in Standing if standings[one]]
    passed = Counter(grade.outcome for grade in outputs.grades)
    rounds = ", ".join(f"{passed[one]} {one}" for one in PassOutcome if one and passed[one])
    line = f"Students: {len(outputs.grades)}{' (' * bool(counts)}{', '.join(counts)}{')' * bool(counts)}."
    return f"{line} Of the graded: {rounds}." if rounds else line


def describe_location(folder: Path, outputs: BatchOutputs) -> str:
    """Tell where the results are."""
    return f"Results in {folder}: {', '.join(path.name for path in outputs.files)}, submissions/"


def suggest_next(folder: Path, outputs: BatchOutputs) -> str:
    """Name what to do next, with the command where there is one."""
    place = shlex.quote(shorten(folder))
    if not any(grade.points is not None for grade in outputs.grades) or outputs.ungraded:
        todo = "read there why somebody is ungraded, then run the same command again or decide their points"
    elif describe_partial(outputs.grades):
        todo = "then judge accuracy too: the same `make batch` command with `PROFILE=quick`"
    else:
        todo = f"then `make upload CLASS={place} COURSE=id ASSIGNMENT=id`, or import gradebook.csv"
    return f"Next: open {shorten(folder)}/index.html, decide with `make review CLASS={place}`, {todo}."


def shorten(path: Path) -> str:
    """Write a path as one would from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
