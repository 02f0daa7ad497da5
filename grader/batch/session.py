"""A batch from its source to its outputs: what the commands call."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distributed.system import MEMORY_LIMIT
from rich.console import Console

from grader.assets.cache import locate_cache
from grader.assets.hub import resolve_checkpoint
from grader.assets.reviews import resolve_reviews
from grader.batch import executor, scheduling
from grader.batch.digests import digest_execution, digest_judging
from grader.batch.display import BatchDisplay
from grader.batch.messages import BatchConfig, RunSettings, TaskStatus
from grader.batch.outputs import BatchOutputs, check_inputs, find_last_entry, hand_out, read_gradebook
from grader.batch.request import BatchRequest, SavedBatch, load_batch, save_batch
from grader.batch.scheduling import BatchSummary, Conditions
from grader.batch.store import Store
from grader.errors import ANOTHER_FOLDER, GraderError, explain_refusal
from grader.execution import profiles
from grader.execution.driver import Limits
from grader.execution.isolation import open_sandbox
from grader.execution.setup import prepare_assets
from grader.intake.archive import read_class
from grader.intake.roster import read_roster
from grader.intake.uploads import Intake
from grader.machine.cores import count_cores
from grader.paths import ROOT
from grader.reporting.sanitisation import sanitise_line

KERNEL_GIB: Final = 4  # memory that one job needs at its peak, with what its worker needs
JOBS_MAX: Final = 16
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
        export = read_gradebook(request)
        students = () if export is None else read_roster(export)
        intake = read_class(request.source, store.uploads, students, apart_from=request.folder)
        if not (intake.uploads or intake.refusals):
            raise GraderError(f"{request.source} holds no submission; name the zip from Canvas or a folder.")
        check_inputs(request, intake)
        save_batch(request, intake)
        return _grade(request, intake, workers, console, quiet, execute=True)


def rejudge(folder: Path, workers: WorkerSettings, console: Console, quiet: bool = False) -> BatchResult:
    """Judge stored evidence by today's suite, rubric and thresholds; execute nothing. Raises GraderError."""
    saved = load_batch(folder)
    with lock_class(folder):
        require_same_settings(saved)
        return _grade(saved.request, saved.intake, workers, console, quiet, execute=False)


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


def renew_outputs(folder: Path, changes: dict[str, object]) -> tuple[SavedBatch, BatchOutputs]:
    """Write the outputs again without judging, with changed files that later commands keep. Raises GraderError."""
    saved = load_batch(folder)
    request = saved.request.model_copy(update=changes)
    with lock_class(folder):
        outputs = hand_out(request, saved.intake)
        save_batch(request, saved.intake)
    return SavedBatch(request=request, intake=saved.intake), outputs


@contextmanager
def lock_class(folder: Path) -> Iterator[Store]:
    """Keep other batches out of a class's folder. Raises GraderError, also for what the file system refuses here."""
    store = Store(folder / "store")
    try:
        with store.lock():
            yield store
    except OSError as error:
        raise explain_refusal(f"write to {folder}", error, ANOTHER_FOLDER) from error


def _grade(
    request: BatchRequest, intake: Intake, workers: WorkerSettings, console: Console, quiet: bool, execute: bool
) -> BatchResult:
    config, uploads = make_config(request, workers, execute), intake.uploads
    tasks = scheduling.plan(uploads, config, find_conditions(request))
    summary, display = BatchSummary(len(uploads), len(uploads)), BatchDisplay(console, len(tasks), quiet)
    if tasks:  # otherwise start no worker
        with (
            share_sandbox(config, workers) as shared,
            workers.open_cluster() as cluster,
            display,
            executor.connect(cluster, shared, display.tell, executor.open_tools, workers.gpus > 0) as crew,
        ):
            summary = scheduling.grade(uploads, tasks, shared, crew, display)
    if summary.left and summary.stopped:
        wait = f"{summary.left} of {summary.total} uploads wait"
        raise GraderError(f"{summary.stopped} {wait}; run the same command again.")
    return BatchResult(summary, hand_out(request, intake))


@contextmanager
def share_sandbox(config: BatchConfig, workers: WorkerSettings) -> Iterator[BatchConfig]:
    """Add a sandbox that the workers of this machine share to the configuration. Raises GraderError.

    It imports what warm kernels need once for all workers, and meanwhile the workers start.
    """
    if not (workers.local and config.isolates):
        yield config
        return
    limits = Limits(cell_s=config.cell_s, notebook_s=config.run_s)
    checkpoint, metrics = prepare_assets(config.profile)
    gpus = profiles.uses_gpu(config.profile)
    with open_sandbox(checkpoint, metrics, limits, threads=config.threads, gpus=gpus) as sandbox:
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
        execute=execute,
    )


def find_conditions(request: BatchRequest) -> Conditions:
    """Find the model and the reviews that evidence depends on. Raises GraderError."""
    checkpoint = resolve_checkpoint(request.profile, locate_cache(ROOT, os.environ))
    return Conditions(checkpoint.sha256, resolve_reviews(ROOT, os.environ).sha256)


def list_last_lines(result: BatchResult, folder: Path, quiet: bool) -> tuple[str, ...]:
    """List the lines that end a batch: notes for staff, the counts, the folder of the results."""
    summary, outputs = result.summary, result.outputs
    counts = {
        "graded now": summary.count_uploads(TaskStatus.GRADED),
        "done before": summary.done_before,
        "refused": summary.count_uploads(TaskStatus.REFUSED),
        "ungraded, named above": len(summary.problems),
        "executed by older code": outputs.outdated,
    }
    shown = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "none graded"
    line = f"Uploads: {summary.total} ({shown}). Notebooks executed: {summary.executed}. {describe_students(outputs)}"
    return (*(() if quiet else format_notes(outputs)), line, describe_location(folder, outputs))


def format_notes(outputs: BatchOutputs) -> tuple[str, ...]:
    """Format what staff should know, a line each."""
    return tuple(f"note: {sanitise_line(note)}" for note in outputs.notes)


def describe_students(outputs: BatchOutputs) -> str:
    """Count the students, and those who handed in and have no grade."""
    without = f" ({outputs.ungraded} handed in, but without a grade: see index.html)" if outputs.ungraded else ""
    return f"Students: {len({grade.student.key for grade in outputs.grades})}{without}."


def describe_location(folder: Path, outputs: BatchOutputs) -> str:
    """Tell where the results are."""
    names = ", ".join(path.name for path in outputs.files)
    return f"Results in {folder} on {socket.gethostname()}: {names}, submissions/"
