"""One execution: fill a job folder, have a broker drive a sandboxed kernel over it, keep what came out."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from grader import __version__, challenges
from grader.errors import DiskFullError
from grader.execution import broker, collection, profiles
from grader.execution.broker import BrokerLost, BrokerRequest, Report
from grader.execution.driver import Limits
from grader.execution.gpu_pool import is_out_of_memory
from grader.execution.job import Job, Setup, prepare
from grader.execution.memory import MemorySampler
from grader.execution.progress import Listener, SilentListener
from grader.execution.record import RunConditions, RunRecord
from grader.intake.notebook import Submission
from grader.model import RunStatus
from grader.sandbox import SCRATCH, Backend
from grader.sandbox.folders import open_temporary_folder, release

NEEDED_DISK_GIB = 2
LEFT_DISK_MIB = 32  # less at the end of a run: something in it could not be written


def execute(
    submission: Submission, setup: Setup, evidence: Path, listener: Listener | None = None, limits: Limits | None = None
) -> RunRecord:
    """Run the notebook under the profile and leave everything that judging needs in the folder `evidence`.

    What was in the folder before is replaced when the run has ended. A fault of ours is tried once more, and so is a
    run for which a shared GPU had too little memory: alone. Raises GraderError when the grader or the machine is at
    fault before the notebook runs.
    """
    listener, limits = listener or SilentListener(), limits or Limits()
    first = _execute_in_slot(submission, setup, evidence, listener, limits)
    if first.summary.status is RunStatus.INFRA_ERROR:
        return _execute_in_slot(submission, setup, evidence, listener, limits)
    if setup.gpu_pool and is_out_of_memory(first.summary.failed_cells):
        return _execute_in_slot(submission, setup, evidence, listener, limits, alone=True)
    return first


def _execute_in_slot(
    submission: Submission, setup: Setup, evidence: Path, listener: Listener, limits: Limits, alone: bool = False
) -> RunRecord:
    """One execution, with a seat at a GPU if there are seats."""
    if setup.gpu_pool is None:
        return _execute_once(submission, setup, evidence, listener, limits)
    listener.stage("waiting for a GPU alone" if alone else "waiting for a GPU")
    with setup.gpu_pool.taken(alone) as environ:
        return _execute_once(submission, replace(setup, environ=environ), evidence, listener, limits)


def _execute_once(
    submission: Submission, setup: Setup, evidence: Path, listener: Listener, limits: Limits
) -> RunRecord:
    listener.stage("starting the kernel")
    began = time.perf_counter()
    try:
        with _folders(evidence) as (job_folder, scratch, partial), MemorySampler() as memory:
            inside = SCRATCH if setup.sandbox.backend is not Backend.NONE else scratch
            job = prepare(job_folder, inside, submission, setup, challenges.draw(setup.seed))
            report = _carry_out(submission, setup, job, partial, listener, limits)
            require_disk(partial, LEFT_DISK_MIB / 1024)  # what a full disk did to the run is not the student's fault
            report = collection.complete(report, submission, partial)
            wall_s = time.perf_counter() - began
            record = collection.build_record(submission, build_conditions(setup), report, wall_s, memory.peak_mib)
            collection.save(record, partial)
            _replace(partial, evidence)
    except OSError as error:
        raise collection.explain_not_stored(evidence, error) from error
    return record


def build_conditions(setup: Setup) -> RunConditions:
    """The circumstances of a run, for its record."""
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
def _folders(evidence: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Folders of one run: the job, a scratch folder, and the evidence as it grows, beside where it will be."""
    require_disk(Path(tempfile.gettempdir()), NEEDED_DISK_GIB)
    evidence.parent.mkdir(parents=True, exist_ok=True)
    with open_temporary_folder("a4-") as name, open_temporary_folder(".evidence-", evidence.parent) as partial:
        folder = name.resolve()
        (folder / "scratch").mkdir()
        yield folder / "job", folder / "scratch", partial


def require_disk(folder: Path, gib: float) -> None:
    """Raise NoRoom when less is free."""
    if shutil.disk_usage(folder).free < gib * 2**30:
        size = f"{gib:.2g} GiB" if gib >= 1 else f"{gib * 1024:.0f} MiB"
        raise DiskFullError(f"Less than {size} are free in {folder}; free disk space and retry.")


def _carry_out(
    submission: Submission, setup: Setup, job: Job, partial: Path, listener: Listener, limits: Limits
) -> Report:
    """The broker's report; one of our own making when the broker was lost."""
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
    )
    try:
        return broker.run(order, listener, limits.total_s)
    except BrokerLost as lost:
        return Report(
            status=RunStatus.INFRA_ERROR,
            reason=f"the process that talks to the kernel was lost: {lost}",
            cells=(),
            training_cells={},
            probes={},
            timings={},
            peak_memory_mib=0,
        )


def _replace(partial: Path, evidence: Path) -> None:
    """Put the complete evidence where older evidence may be."""
    shutil.rmtree(evidence, ignore_errors=True)
    release(partial)
    partial.rename(evidence)
