"""Messages between a controller and its workers: the configuration of a batch, a task, and the outcome of a task."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from grader.model import FrozenModel, Precision, Profile, Result, StaffDetails

TRIES: Final = 3  # attempts at a task that fails through a fault of the grader


class Stage(StrEnum):
    """The stages of a submission; a failure names the one that it happened in."""

    SETUP = "setup"
    EXECUTE = "execute"
    JUDGE = "judge"
    REPORT = "report"


class TaskStatus(StrEnum):
    """The end of a task."""

    GRADED = "graded"
    REFUSED = "refused"  # the submission cannot be graded as handed in
    UNGRADED = "ungraded"  # judged and recorded, but without points: the grader is at fault, or a person has to decide
    FAILED = "failed"  # the grader is at fault and nothing is recorded yet: worth another try
    LOST = "lost"  # the workers that had it died, one after another
    FULL = "full"  # a disk is full: nothing else will go better
    HALT = "halt"  # this worker cannot grade anything

    @property
    def is_problem(self) -> bool:
        """Return True if the task left no grade and the submission is not the reason."""
        return self not in (TaskStatus.GRADED, TaskStatus.REFUSED)


class RunSettings(FrozenModel):
    """Settings for executing the notebooks of a class. `folder` holds the results of the class."""

    folder: Path
    profile: Profile = Profile.QUICK
    seed: int = 0
    precision: Precision = Precision.AUTO
    cell_s: float = 1800
    run_s: float = 3600
    sandboxed: bool = True
    keep_weights: bool = False

    @property
    def submissions(self) -> Path:
        """Return the folder that holds one folder per upload."""
        return self.folder / "submissions"


class BatchConfig(RunSettings):
    """The configuration of a batch. Folders are those of a file system that all workers share."""

    threads: int
    code: str  # digest of what executes: a worker with other code is of no use
    parts: dict[str, str]  # digests of what judges, by name
    reviews_sha256: str = ""  # of the class: a worker that finds others is of no use
    gpus: int = 0  # of each machine that works
    kernels_per_gpu: int = 1  # submissions that share a GPU
    execute: bool = True  # False: judge what is stored
    # Ticket of one that is open on this machine; without it each worker opens one.
    sandbox: dict[str, Any] | None = None

    @property
    def isolates(self) -> bool:
        """Return True if notebooks run in sandboxes."""
        return self.execute and self.sandboxed


class Recipient(FrozenModel):
    """An upload that gets the reports of a task: several when contents are equal."""

    id: str
    file: str  # as its author knows it


class Task(FrozenModel):
    """One content to be graded. `evidence` and `result` are keys in the store.

    `code` is the digest of the code that executes it, or that did, if its evidence is older; empty if not recorded.
    """

    notebook: Path
    evidence: str
    result: str
    recipients: tuple[Recipient, ...]
    code: str = ""
    tries_left: int = TRIES

    @property
    def name(self) -> str:
        """Return the name of the task for people."""
        first, *others = self.recipients
        return f"{first.id} and {len(others)} equal to it" if others else first.id


class StoredJudgement(FrozenModel):
    """A judgement as it is stored."""

    result: Result
    details: StaffDetails


class TaskOutcome(FrozenModel):
    """The outcome of one task: small, since the controller keeps all of them."""

    task: Task
    status: TaskStatus
    stage: Stage = Stage.REPORT  # where it ended
    message: str = ""  # one line, unless it was graded
    points: float | None = None
    possible: float = 0.0
    executed: bool = False
    seconds: float = 0.0
