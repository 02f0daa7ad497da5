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
from grader.assets.metrics import prepare_metrics
from grader.assets.reviews import resolve_reviews
from grader.batch import executor, history, scheduling
from grader.batch.digests import digest_execution, digest_judging
from grader.batch.display import BatchDisplay
from grader.batch.messages import BatchConfig, Task, TaskStatus
from grader.batch.outputs import BatchOutputs, check_inputs, find_last_entry, get_settings, hand_out, read_gradebook
from grader.batch.request import BatchRequest, SavedBatch, load_batch, save_batch
from grader.batch.scheduling import BatchSummary, Conditions
from grader.batch.store import Store
from grader.errors import ANOTHER_FOLDER, GraderError, explain_refusal
from grader.execution import profiles
from grader.execution.driver import Limits
from grader.execution.isolation import open_sandbox
from grader.intake.archive import read_class
from grader.intake.roster import read_roster
from grader.intake.uploads import Intake, Student
from grader.machine.cores import count_cores
from grader.paths import ROOT
from grader.reporting.sanitisation import sanitise_line

KERNEL_GIB: Final = 4  # memory that one job needs at its peak, with what its worker needs
JOBS_MAX: Final = 16
Workers = Callable[[], AbstractContextManager[Any]]  # a Dask cluster, or the address of one


@dataclass(frozen=True)
class WorkerSettings:
    """Who does the work: `workers` opens a cluster, in which each worker computes with so many `threads`."""

    workers: Workers
    threads: int
    local: bool = False  # all of them on this machine
    gpus: int = 0  # of each machine that works
    kernels_per_gpu: int = 1  # submissions that share a GPU
    opener: executor.Opener = executor.open_tools


@dataclass(frozen=True)
class BatchResult:
    """How a batch ended."""

    summary: BatchSummary
    outputs: BatchOutputs

    @property
    def exit_code(self) -> int:
        """0: everything graded or refused. 2: something is ungraded through a fault of ours."""
        return 2 if self.summary.problems or self.summary.left or self.summary.stopped else 0


def compute_threads(jobs: int) -> int:
    """Threads of each job, when `jobs` of them share this machine's cores."""
    return max(1, count_cores() // jobs)


def compute_default_jobs() -> int:
    """As many as cores and memory allow."""
    memory_gib = MEMORY_LIMIT / 2**30  # that of the machine, or of the container or job that this runs in
    return max(1, min(count_cores(), int(memory_gib // KERNEL_GIB), JOBS_MAX))


def run_batch(request: BatchRequest, staffing: WorkerSettings, console: Console, quiet: bool = False) -> BatchResult:
    """Take a class in, grade what is missing, hand out. Raises GraderError."""
    profiles.require_fit(request.profile, request.precision)
    store = Store(request.folder / "store")
    with translate_write_errors(request.folder), store.lock():
        intake = read_class(request.source, store.uploads, load_roster(request), apart_from=request.folder)
        require_something(request, intake)
        check_inputs(request, intake)
        save_batch(request, intake)
        return _grade(request, intake, staffing, console, quiet, execute=True)


def require_something(request: BatchRequest, intake: Intake) -> None:
    """Refuse a source with nothing in it: somebody named another one. Raises GraderError."""
    if not (intake.uploads or intake.refusals):
        raise GraderError(f"{request.source} holds nothing that was handed in; name the zip from Canvas or a folder.")


def rejudge(folder: Path, staffing: WorkerSettings, console: Console, quiet: bool = False) -> BatchResult:
    """Judge what is stored by the suite, rubric and thresholds of today; execute nothing. Raises GraderError."""
    remembered = load_batch(folder)
    request = remembered.request.model_copy(update={"folder": folder})
    with translate_write_errors(folder), Store(folder / "store").lock():
        require_as_asked(request, remembered.intake)
        return _grade(request, remembered.intake, staffing, console, quiet, execute=False)


def require_as_asked(request: BatchRequest, intake: Intake) -> None:
    """Refuse to judge again what was graded in another way than the class was last asked for. Raises GraderError."""
    found = [find_last_entry(request, upload) for upload in intake.uploads]
    others = [e for e in found if e and e.status != history.REFUSED and (e.profile, e.seed) != get_settings(request)]
    if others:
        raise GraderError(
            f"{len(others)} of {len(found)} uploads were graded with profile {others[0].profile} and seed "
            f"{others[0].seed}, and then {request.profile} and seed {request.seed} were asked for and not finished; "
            "run that `batch` command again first."
        )


def renew_outputs(folder: Path, changes: dict[str, object]) -> tuple[SavedBatch, BatchOutputs]:
    """Hand out again without judging, by changed files, which later commands then know of. Raises GraderError."""
    remembered = load_batch(folder)
    request = remembered.request.model_copy(update={"folder": folder, **changes})
    with translate_write_errors(folder), Store(folder / "store").lock():
        handed = hand_out(request, remembered.intake)
        save_batch(request, remembered.intake)
    return SavedBatch(request=request, intake=remembered.intake), handed


def _grade(
    request: BatchRequest, intake: Intake, staffing: WorkerSettings, console: Console, quiet: bool, execute: bool
) -> BatchResult:
    order = make_config(request, staffing, execute)
    tasks = scheduling.plan(intake.uploads, order, find_conditions(request))
    tally = carry_out(intake, tasks, order, staffing, BatchDisplay(console, len(tasks), quiet))
    if tally.left and tally.stopped:
        raise GraderError(f"{tally.stopped} {tally.left} of {tally.total} uploads wait; run the same command again.")
    return BatchResult(tally, hand_out(request, intake))


def carry_out(
    intake: Intake, tasks: list[Task], order: BatchConfig, staffing: WorkerSettings, board: BatchDisplay
) -> BatchSummary:
    """Have the tasks done; no worker is started when there are none."""
    if not tasks:
        return BatchSummary(len(intake.uploads), len(intake.uploads))
    with (
        share_sandbox(order, staffing) as shared,
        staffing.workers() as cluster,
        board,
        executor.connect(cluster, shared, board.tell, staffing.opener, staffing.gpus > 0) as workers,
    ):
        return scheduling.grade(intake.uploads, tasks, shared, workers, board)


@contextmanager
def share_sandbox(order: BatchConfig, staffing: WorkerSettings) -> Iterator[BatchConfig]:
    """The order, with a sandbox that workers of this machine share. Raises GraderError.

    What warm kernels need is then imported once and not by every worker, and meanwhile the workers start.
    """
    if not (staffing.local and order.isolates):
        yield order
        return
    cache_dir, limits = locate_cache(ROOT, os.environ), Limits(cell_s=order.cell_s, notebook_s=order.run_s)
    checkpoint, metrics = resolve_checkpoint(order.profile, cache_dir), prepare_metrics(cache_dir)
    gpus = profiles.uses_gpu(order.profile)
    with open_sandbox(checkpoint, metrics, limits, threads=order.threads, gpus=gpus) as sandbox:
        yield order.model_copy(update={"sandbox": sandbox.ticket()})


def make_config(request: BatchRequest, staffing: WorkerSettings, execute: bool) -> BatchConfig:
    """What workers are told."""
    return BatchConfig(
        folder=request.folder,
        profile=request.profile,
        seed=request.seed,
        cell_s=request.cell_s,
        run_s=request.run_s,
        threads=staffing.threads,
        gpus=staffing.gpus,
        kernels_per_gpu=staffing.kernels_per_gpu,
        precision=request.precision,
        code=digest_execution(ROOT),
        parts=digest_judging(ROOT),
        sandboxed=request.sandboxed,
        keep_weights=request.keep_weights,
        execute=execute,
    )


def find_conditions(request: BatchRequest) -> Conditions:
    """What evidence depends on besides. Raises GraderError."""
    checkpoint = resolve_checkpoint(request.profile, locate_cache(ROOT, os.environ))
    return Conditions(checkpoint.sha256, resolve_reviews(ROOT, os.environ).sha256)


def load_roster(request: BatchRequest) -> tuple[Student, ...]:
    """Who is in the class, so far as the export says. Raises GraderError."""
    export = read_gradebook(request)
    return () if export is None else read_roster(export)


@contextmanager
def translate_write_errors(folder: Path) -> Iterator[None]:
    """Makes one sentence of what the file system refuses the controller."""
    try:
        yield
    except OSError as error:
        raise explain_refusal(f"write to {folder}", error, ANOTHER_FOLDER) from error


def format_notes(handed: BatchOutputs) -> tuple[str, ...]:
    """What staff should know, a line each."""
    return tuple(f"note: {sanitise_line(note)}" for note in handed.notes)


def format_summary(ended: BatchResult) -> str:
    """One line: what happened."""
    tally, handed = ended.summary, ended.outputs
    graded = tally.uploads(TaskStatus.GRADED)
    counts = [
        f"{tally.total} uploads: {graded} graded now ({tally.executed} executed), {tally.done_before} before",
        f"{tally.uploads(TaskStatus.REFUSED)} refused" if tally.uploads(TaskStatus.REFUSED) else "",
        f"{len(tally.problems)} ungraded, named above" if tally.problems else "",
        f"{len({grade.student.key for grade in handed.grades})} students",
        format_without_grade(handed),
        f"{handed.outdated} executed by other code than today's" if handed.outdated else "",
    ]
    return ", ".join(part for part in counts if part)


def format_without_grade(handed: BatchOutputs) -> str:
    """How many students handed in and have no grade; nothing where all have one."""
    return f"{handed.ungraded} of them without a grade, see index.html" if handed.ungraded else ""


def describe_location(request_folder: Path, handed: BatchOutputs) -> str:
    """One line that says where things are."""
    names = ", ".join(path.name for path in handed.files)
    return f"In {request_folder} on {socket.gethostname()}: {names}, submissions/"
