"""Executes one submission: fills a job folder, has a broker drive a sandboxed kernel in it, keeps what came out."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from grader import __version__, challenges
from grader.errors import ANOTHER_FOLDER, DiskFullError, explain_refusal
from grader.execution import broker, collection, profiles
from grader.execution.broker import BrokerLost, BrokerRequest, Report
from grader.execution.driver import Limits
from grader.execution.gpu_pool import is_out_of_memory
from grader.execution.isolation import choose_limits, has_gpu
from grader.execution.job import Job, Setup, prepare
from grader.execution.memory import MemorySampler
from grader.execution.progress import Listener, SilentListener
from grader.execution.record import RunConditions, RunRecord
from grader.intake.notebook import Submission
from grader.model import Profile, RunStatus
from grader.sandbox import SCRATCH, Backend
from grader.sandbox.folders import open_temporary_folder, release

NEEDED_DISK_GIB = 2
SILENT_S = 45  # where trainings take seconds, a cell below the last one that says nothing for so long only waits
DEATHS_MAX = 3  # in one cell: before that, somebody who looks for memory may have killed the kernel
EARLY = 0.75  # share of the notebook's limit that has to be left for another run
LEFT_DISK_MIB = 32  # less at the end of a run: something in it could not be written


def execute(
    submission: Submission, setup: Setup, evidence: Path, listener: Listener | None = None, limits: Limits | None = None
) -> RunRecord:
    """Run the notebook under the profile and leave everything that judging needs in the folder `evidence`.

    What was in the folder before is replaced when the run has ended. A run that the grader failed is tried once more,
    and so is, with a GPU alone, one for which a shared GPU had too little memory. A notebook whose kernel dies early is
    run again, too, within its limit: not only the notebook may have ended that process. Raises GraderError when the
    grader or the machine is at fault before the notebook runs.
    """
    silent_s = SILENT_S if setup.profile is Profile.STRUCTURE else None
    limits = limits or choose_limits(setup.profile, has_gpu())
    watcher, bounds = listener or SilentListener(), replace(limits, silent_s=silent_s)

    def attempt(alone: bool = False, notebook_s: float = limits.notebook_s) -> RunRecord:
        within = replace(bounds, notebook_s=notebook_s)
        if setup.gpu_pool is None:
            return _execute_once(submission, setup, evidence, watcher, within)
        watcher.stage("waiting for a whole GPU" if alone else "waiting for a GPU")
        with setup.gpu_pool.take(alone) as environ:
            return _execute_once(submission, replace(setup, environ=environ), evidence, watcher, within)

    first = _attempt_until_it_lives(attempt, limits.notebook_s, watcher)
    if first.summary.status is RunStatus.INFRA_ERROR:
        return _attempt_until_it_lives(attempt, limits.notebook_s, watcher)
    if setup.gpu_pool and is_out_of_memory(first.summary.failed_cells):
        return attempt(alone=True)
    return first


def _attempt_until_it_lives(attempt: Callable[..., RunRecord], notebook_s: float, watcher: Listener) -> RunRecord:
    """Return the first run whose kernel does not die, or the last one that is tried; all together keep to the limit.

    A notebook that ends its own process does so in the same cell each time.
    """
    began, deaths = time.monotonic(), Counter[str]()
    record = attempt()
    while record.summary.status is RunStatus.KERNEL_DIED:
        deaths[record.reason] += 1
        left_s = notebook_s - (time.monotonic() - began)
        if deaths[record.reason] == DEATHS_MAX or left_s < EARLY * notebook_s:
            break
        watcher.stage("the kernel died: running the notebook again")
        record = attempt(notebook_s=left_s)
    return record


def _execute_once(
    submission: Submission, setup: Setup, evidence: Path, listener: Listener, limits: Limits
) -> RunRecord:
    listener.stage("starting the kernel")
    began = time.perf_counter()
    try:
        with _make_folders(evidence) as (job_folder, scratch, partial), MemorySampler() as memory:
            inside = SCRATCH if setup.sandbox.backend is not Backend.NONE else scratch
            job = prepare(job_folder, inside, submission, setup, challenges.draw(setup.seed))
            report = _carry_out(submission, setup, job, partial, listener, limits)
            require_disk(partial, LEFT_DISK_MIB / 1024)  # what a full disk did to the run is not the student's fault
            report = collection.complete(report, submission, partial)
            wall_s = time.perf_counter() - began
            record = collection.build_record(submission, build_conditions(setup), report, wall_s, memory.peak_mib)
            (partial / collection.RUN).write_text(record.model_dump_json(indent=1), encoding="utf-8")
            shutil.rmtree(evidence, ignore_errors=True)
            release(partial)
            partial.rename(evidence)
    except OSError as error:
        raise explain_refusal(f"store the evidence in {evidence}", error, ANOTHER_FOLDER) from error
    return record


def build_conditions(setup: Setup) -> RunConditions:
    """Return the conditions of a run, for its record."""
    return RunConditions(
        profile=setup.profile,
        seed=setup.seed,
        checkpoint=setup.checkpoint.name,
        checkpoint_sha256=setup.checkpoint.sha256,
        reviews=setup.reviews.name,
        reviews_sha256=setup.reviews.sha256,
        synthetic=setup.reviews.synthetic,
        precision="bfloat16 autocast" if setup.bfloat16 else "float32, TF32 on a GPU" if setup.tf32 else "float32",
        budget=profiles.fingerprint(setup.profile),
        sandbox=setup.sandbox.backend.value,
        grader=__version__,
    )


@contextmanager
def _make_folders(evidence: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Make the folders of one run: the job, a scratch folder, and growing evidence, beside its final place."""
    require_disk(Path(tempfile.gettempdir()), NEEDED_DISK_GIB)
    evidence.parent.mkdir(parents=True, exist_ok=True)
    with open_temporary_folder("a4-") as name, open_temporary_folder(".evidence-", evidence.parent) as partial:
        folder = name.resolve()
        (folder / "scratch").mkdir()
        yield folder / "job", folder / "scratch", partial


def require_disk(folder: Path, gib: float) -> None:
    """Raise DiskFullError when less is free."""
    if shutil.disk_usage(folder).free < gib * 2**30:
        size = f"{gib:.2g} GiB" if gib >= 1 else f"{gib * 1024:.0f} MiB"
        raise DiskFullError(f"{folder} needs {size} of free disk space and has less; free disk space and retry.")


def _carry_out(
    submission: Submission, setup: Setup, job: Job, partial: Path, listener: Listener, limits: Limits
) -> Report:
    """Return the broker's report, or a report on its loss."""
    (partial / collection.RAW).mkdir()
    order = BrokerRequest(
        notebook=submission.notebook,
        ticket=setup.sandbox.ticket(),
        job=str(job.folder),
        evidence=str(partial / collection.RAW),
        environ=job.environ,
        bootstrap=job.bootstrap,
        probes=job.probes,
        limits=asdict(limits),
        output=str(partial),
        key=job.key,
    )
    try:
        return broker.run(order, listener, limits.total_s)
    except BrokerLost as lost:
        reason = f"the grader's process that talks to the kernel was lost: {lost}"
        return Report(status=RunStatus.INFRA_ERROR, reason=reason)
