"""The words of a batch: what was ordered, one task of it, and what became of the task. Sent between processes."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from grader.model import FrozenModel, Precision, Profile, Result, StaffDetails

TRIES: Final = 3  # a fault of ours is tried so often


class Stage(StrEnum):
    """How far a submission has come; a failure names it."""

    SETUP = "setup"
    EXECUTE = "execute"
    JUDGE = "judge"
    REPORT = "report"


class TaskStatus(StrEnum):
    """What became of a task."""

    GRADED = "graded"
    REFUSED = "refused"  # theirs: it cannot be graded as handed in
    UNGRADED = "ungraded"  # judged, and yet without points: our fault, or waiting for a person; recorded as such
    FAILED = "failed"  # ours, and nothing was recorded yet: worth another try
    LOST = "lost"  # ours: the workers that had it died, each in its turn
    FULL = "full"  # no room on a disk: nothing else will go better
    HALT = "halt"  # this worker cannot grade anything


class BatchConfig(FrozenModel):
    """What all submissions of a batch have in common. Folders are those of a file system that all workers share."""

    folder: Path  # results of the class
    profile: Profile
    seed: int
    cell_s: float
    run_s: float
    threads: int
    precision: Precision = Precision.AUTO
    code: str  # digest of what executes: a worker with other code is of no use
    parts: dict[str, str]  # digests of what judges, by name
    gpus: int = 0  # of each machine that works
    kernels_per_gpu: int = 1  # submissions that share a GPU
    sandboxed: bool = True
    keep_weights: bool = False
    execute: bool = True  # False: judge what is stored
    sandbox: dict[str, Any] | None = None  # ticket of one that is open on this machine; without it workers open theirs

    @property
    def isolates(self) -> bool:
        """Whether notebooks run in sandboxes at all."""
        return self.execute and self.sandboxed

    @property
    def submissions(self) -> Path:
        """Folder of one folder per upload."""
        return self.folder / "submissions"


class Recipient(FrozenModel):
    """An upload that gets the reports of a task: several when contents are equal."""

    id: str
    name: str  # as it stands in the reports
    file: str  # as its author knows it


class Task(FrozenModel):
    """One content to be graded. `evidence` and `result` are keys in the store.

    `code` is the digest of what executes it, or did when its evidence is older; empty where that was not noted.
    """

    notebook: Path
    evidence: str
    result: str
    recipients: tuple[Recipient, ...]
    code: str = ""
    tries_left: int = TRIES

    @property
    def name(self) -> str:
        """What the task is called in lines for people."""
        first, *others = self.recipients
        return f"{first.id} and {len(others)} equal to it" if others else first.id


class StoredJudgement(FrozenModel):
    """What is stored of a judgement."""

    result: Result
    details: StaffDetails


class TaskOutcome(FrozenModel):
    """What became of one task: small, since the controller keeps all of them."""

    task: Task
    status: TaskStatus
    stage: Stage = Stage.REPORT  # where it ended
    message: str = ""  # one line, unless it was graded
    run: str = ""  # how the execution ended
    points: float | None = None
    possible: float = 0.0
    executed: bool = False
    seconds: float = 0.0
    host: str = ""
