"""Submission + profile → evidence folder. The only stage that starts a kernel."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grader import __version__, profiles
from grader.errors import GraderError
from grader.execution import collection
from grader.execution.driver import Driver, KernelLost, Limits
from grader.execution.job import Job, Setup, prepare
from grader.execution.kernel import kernel_manager
from grader.execution.memory import MemoryWatch
from grader.execution.progress import Listener, Silent
from grader.execution.record import Conditions, RunRecord
from grader.intake.notebook import Submission
from grader.model import RunStatus
from grader.oracle import challenges

NEEDED_DISK_GIB = 2
LEFT_DISK_MIB = 32  # less at the end of a run: something in it could not be written

__all__ = ["Limits", "Listener", "RunRecord", "Setup", "Silent", "execute"]


def execute(
    submission: Submission, setup: Setup, evidence: Path, listener: Listener | None = None, limits: Limits | None = None
) -> RunRecord:
    """Run the notebook under the profile and leave everything that judging needs in the folder `evidence`.

    The folder is emptied first. Raises GraderError when the grader or the machine is at fault.
    """
    driver = Driver(submission.notebook, limits or Limits(), listener or Silent())
    began = time.perf_counter()
    try:
        with _job_folder() as folder, MemoryWatch() as memory:
            job = prepare(folder, submission, setup, challenges.draw(setup.seed))
            status, reason = _drive(driver, job)
            _require_disk(folder, LEFT_DISK_MIB / 1024)  # what a full disk did to the run is not the student's fault
            shutil.rmtree(evidence, ignore_errors=True)
            evidence.mkdir(parents=True)
            if violation := collection.collect(job.evidence, evidence):
                status, reason = RunStatus.PROTOCOL_VIOLATION, violation
        wall_s = time.perf_counter() - began
        record = collection.record(submission, conditions(setup), driver, status, reason, wall_s, memory.peak_mib)
        collection.save(record, submission, driver.notebook, evidence)
    except OSError as error:
        raise collection.no_room(evidence, error) from error
    return record


def conditions(setup: Setup) -> Conditions:
    """The circumstances of a run, for its record."""
    return Conditions(
        profile=setup.profile,
        seed=setup.seed,
        checkpoint=setup.checkpoint.name,
        checkpoint_sha256=setup.checkpoint.sha256,
        reviews=setup.reviews.name,
        reviews_sha256=setup.reviews.sha256,
        synthetic=setup.reviews.synthetic,
        precision="bfloat16 autocast" if setup.bfloat16 else "float32",
        budget=profiles.fingerprint(setup.profile),
        sandbox="none",
        grader=__version__,
    )


@contextmanager
def _job_folder() -> Iterator[Path]:
    """A folder of its own for one run, gone afterwards."""
    _require_disk(Path(tempfile.gettempdir()), NEEDED_DISK_GIB)
    with tempfile.TemporaryDirectory(prefix="a4-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


def _require_disk(folder: Path, gib: float) -> None:
    if shutil.disk_usage(folder).free < gib * 2**30:
        raise GraderError(f"Less than {gib:.2g} GiB are free in {folder}; free disk space and retry.")


def _drive(driver: Driver, job: Job) -> tuple[RunStatus, str]:
    driver.listener.stage("starting the kernel")
    try:
        with kernel_manager() as manager:
            driver.run(manager, job.bootstrap, job.probes, str(job.folder), job.environ)
    except KernelLost as lost:
        return lost.status, str(lost)
    except RuntimeError as error:  # jupyter_client: the kernel did not start
        return RunStatus.INFRA_ERROR, f"the kernel did not start: {error}"
    return _ended(driver)


def _ended(driver: Driver) -> tuple[RunStatus, str]:
    statuses = {cell.status for cell in driver.cells}
    if "timeout" in statuses:
        return RunStatus.TIMEOUT, "a cell took longer than its limit and was interrupted"
    return (RunStatus.STUDENT_ERROR, "a cell raised an error") if "error" in statuses else (RunStatus.OK, "")
