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

from grader.assets.cache import cache_folder
from grader.assets.hub import resolve_checkpoint
from grader.assets.metrics import prepare_metrics
from grader.assets.reviews import resolve_reviews
from grader.batch import crew, history, running
from grader.batch.board import Board
from grader.batch.digests import code_digest, judging_digests
from grader.batch.order import Fate, Order, Task
from grader.batch.outputs import Handed, asked, hand_out, look_over, read_gradebook, said
from grader.batch.request import Remembered, Request, recall, remember
from grader.batch.running import Circumstances, Tally
from grader.batch.store import Store
from grader.errors import ANOTHER_FOLDER, GraderError, refused
from grader.execution import profiles
from grader.execution.driver import Limits
from grader.execution.isolation import open_sandbox
from grader.intake.archive import read_class
from grader.intake.roster import read_roster
from grader.intake.uploads import Intake, Student
from grader.machine.cores import usable_cores
from grader.paths import ROOT
from grader.reporting.inert import inert_line

KERNEL_GIB: Final = 4  # memory that one job needs at its peak, with what its worker needs
JOBS_MAX: Final = 16
Workers = Callable[[], AbstractContextManager[Any]]  # a Dask cluster, or the address of one


@dataclass(frozen=True)
class Staffing:
    """Who does the work: `workers` opens a cluster, in which each worker computes with so many `threads`."""

    workers: Workers
    threads: int
    here: bool = False  # all of them on this machine
    gpus: int = 0  # of each machine that works
    kernels_per_gpu: int = 1  # submissions that share a GPU
    opener: crew.Opener = crew.open_bench


@dataclass(frozen=True)
class Ended:
    """How a batch ended."""

    tally: Tally
    handed: Handed

    @property
    def exit_code(self) -> int:
        """0: everything graded or refused. 2: something is ungraded through a fault of ours."""
        return 2 if self.tally.problems or self.tally.left or self.tally.stopped else 0


def share(jobs: int) -> int:
    """Threads of each job, when `jobs` of them share this machine's cores."""
    return max(1, usable_cores() // jobs)


def default_jobs() -> int:
    """As many as cores and memory allow."""
    memory_gib = MEMORY_LIMIT / 2**30  # that of the machine, or of the container or job that this runs in
    return max(1, min(usable_cores(), int(memory_gib // KERNEL_GIB), JOBS_MAX))


def batch(request: Request, staffing: Staffing, console: Console, quiet: bool = False) -> Ended:
    """Take a class in, grade what is missing, hand out. Raises GraderError."""
    profiles.require_fit(request.profile, request.precision)
    store = Store(request.folder / "store")
    with writable(request.folder), store.sole():
        intake = read_class(request.source, store.uploads, roster(request), apart_from=request.folder)
        require_something(request, intake)
        look_over(request, intake)
        remember(request, intake)
        return _graded(request, intake, staffing, console, quiet, execute=True)


def require_something(request: Request, intake: Intake) -> None:
    """Refuse a source with nothing in it: somebody named another one. Raises GraderError."""
    if not (intake.uploads or intake.refusals):
        raise GraderError(f"{request.source} holds nothing that was handed in; name the zip from Canvas or a folder.")


def rejudge(folder: Path, staffing: Staffing, console: Console, quiet: bool = False) -> Ended:
    """Judge what is stored by the suite, rubric and thresholds of today; execute nothing. Raises GraderError."""
    remembered = recall(folder)
    request = remembered.request.model_copy(update={"folder": folder})
    with writable(folder), Store(folder / "store").sole():
        require_as_asked(request, remembered.intake)
        return _graded(request, remembered.intake, staffing, console, quiet, execute=False)


def require_as_asked(request: Request, intake: Intake) -> None:
    """Refuse to judge again what was graded in another way than the class was last asked for. Raises GraderError."""
    found = [said(request, upload) for upload in intake.uploads]
    others = [e for e in found if e and e.status != history.REFUSED and (e.profile, e.seed) != asked(request)]
    if others:
        raise GraderError(
            f"{len(others)} of {len(found)} uploads were graded with profile {others[0].profile} and seed "
            f"{others[0].seed}, and then {request.profile} and seed {request.seed} were asked for and not finished; "
            "run that `batch` command again first."
        )


def reported(folder: Path, changes: dict[str, object]) -> tuple[Remembered, Handed]:
    """Hand out again without judging, by changed files, which later commands then know of. Raises GraderError."""
    remembered = recall(folder)
    request = remembered.request.model_copy(update={"folder": folder, **changes})
    with writable(folder), Store(folder / "store").sole():
        handed = hand_out(request, remembered.intake)
        remember(request, remembered.intake)
    return Remembered(request=request, intake=remembered.intake), handed


def _graded(
    request: Request, intake: Intake, staffing: Staffing, console: Console, quiet: bool, execute: bool
) -> Ended:
    order = make_order(request, staffing, execute)
    tasks = running.plan(intake.uploads, order, circumstances(request))
    tally = carry_out(intake, tasks, order, staffing, Board(console, len(tasks), quiet))
    if tally.left and tally.stopped:
        raise GraderError(f"{tally.stopped} {tally.left} of {tally.total} uploads wait; run the same command again.")
    return Ended(tally, hand_out(request, intake))


def carry_out(intake: Intake, tasks: list[Task], order: Order, staffing: Staffing, board: Board) -> Tally:
    """Have the tasks done; no worker is started when there are none."""
    if not tasks:
        return Tally(len(intake.uploads), len(intake.uploads))
    with (
        sharing(order, staffing) as shared,
        staffing.workers() as cluster,
        board,
        crew.connected(cluster, shared, board.tell, staffing.opener, staffing.gpus > 0) as workers,
    ):
        return running.grade(intake.uploads, tasks, shared, workers, board)


@contextmanager
def sharing(order: Order, staffing: Staffing) -> Iterator[Order]:
    """The order, with a sandbox that workers of this machine share. Raises GraderError.

    What warm kernels need is then imported once and not by every worker, and meanwhile the workers start.
    """
    if not (staffing.here and order.isolates):
        yield order
        return
    cache_dir, limits = cache_folder(ROOT, os.environ), Limits(cell_s=order.cell_s, notebook_s=order.run_s)
    checkpoint, metrics = resolve_checkpoint(order.profile, cache_dir), prepare_metrics(cache_dir)
    gpus = profiles.uses_gpu(order.profile)
    with open_sandbox(checkpoint, metrics, limits, threads=order.threads, gpus=gpus) as sandbox:
        yield order.model_copy(update={"sandbox": sandbox.ticket()})


def make_order(request: Request, staffing: Staffing, execute: bool) -> Order:
    """What workers are told."""
    return Order(
        folder=request.folder,
        profile=request.profile,
        seed=request.seed,
        cell_s=request.cell_s,
        run_s=request.run_s,
        threads=staffing.threads,
        gpus=staffing.gpus,
        kernels_per_gpu=staffing.kernels_per_gpu,
        precision=request.precision,
        code=code_digest(ROOT),
        parts=judging_digests(ROOT),
        sandboxed=request.sandboxed,
        keep_weights=request.keep_weights,
        execute=execute,
    )


def circumstances(request: Request) -> Circumstances:
    """What evidence depends on besides. Raises GraderError."""
    checkpoint = resolve_checkpoint(request.profile, cache_folder(ROOT, os.environ))
    return Circumstances(checkpoint.sha256, resolve_reviews(ROOT, os.environ).sha256)


def roster(request: Request) -> tuple[Student, ...]:
    """Who is in the class, so far as the export says. Raises GraderError."""
    export = read_gradebook(request)
    return () if export is None else read_roster(export)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Makes one sentence of what the file system refuses the controller."""
    try:
        yield
    except OSError as error:
        raise refused(f"write to {folder}", error, ANOTHER_FOLDER) from error


def notes(handed: Handed) -> tuple[str, ...]:
    """What staff should know, a line each."""
    return tuple(f"note: {inert_line(note)}" for note in handed.notes)


def summary(ended: Ended) -> str:
    """One line: what happened."""
    tally, handed = ended.tally, ended.handed
    graded = tally.uploads(Fate.GRADED)
    counts = [
        f"{tally.total} uploads: {graded} graded now ({tally.executed} executed), {tally.done_before} before",
        f"{tally.uploads(Fate.REFUSED)} refused" if tally.uploads(Fate.REFUSED) else "",
        f"{len(tally.problems)} ungraded, named above" if tally.problems else "",
        f"{len({grade.student.key for grade in handed.grades})} students",
        without_grade(handed),
    ]
    return ", ".join(part for part in counts if part)


def without_grade(handed: Handed) -> str:
    """How many students handed in and have no grade; nothing where all have one."""
    return f"{handed.ungraded} of them without a grade, see index.html" if handed.ungraded else ""


def where(request_folder: Path, handed: Handed) -> str:
    """One line that says where things are."""
    names = ", ".join(path.name for path in handed.files)
    return f"In {request_folder} on {socket.gethostname()}: {names}, submissions/"
