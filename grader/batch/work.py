"""One submission through the stages, in a worker. Whatever goes wrong becomes an outcome that names the stage."""

import errno
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from grader.batch import history
from grader.batch.log import Log
from grader.batch.messages import (
    BatchConfig,
    Recipient,
    Stage,
    StoredJudgement,
    Task,
    TaskOutcome,
    TaskStatus,
)
from grader.batch.store import Store
from grader.errors import DiskFullError, GraderError, SubmissionError
from grader.execution.progress import Listener
from grader.model import Result, RunStatus, ScoreStatus, SubmissionRef, Verdict
from grader.reporting.files import write_reports
from grader.reporting.sanitisation import sanitise_line

EXECUTED: Final = "executed.ipynb"
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


class GradingTools(Protocol):
    """What a worker has at hand: warm kernels and a suite that is loaded. Raises GraderError, and SubmissionError."""

    def execute(self, task: Task, folder: Path, listener: Listener) -> RunStatus:
        """Leave evidence and ledger of the notebook in `folder`."""

    def judge(self, folder: Path) -> StoredJudgement:
        """Judge what `execute` left."""


class _InfrastructureError(Exception):
    """The execution failed through a fault of ours, and may be tried again."""


class TaskRunner:
    """One task in the hands of a worker."""

    def __init__(self, order: BatchConfig, equipment: GradingTools, task: Task, tell: Callable[[str], None]) -> None:
        """`tell`: hears where the work has come to, one line at a time."""
        self.order, self.equipment, self.task = order, equipment, task
        self.store = Store(order.folder / "store")
        self.log = Log([order.submissions / r.id for r in task.recipients], tell)
        self.stage, self.executed = Stage.EXECUTE, False
        self.began = time.monotonic()

    def run(self) -> TaskOutcome:
        """All stages that are still to be done. Raises nothing but what ends a process."""
        try:
            with self.log:
                return self.graded()
        except SubmissionError as error:
            return self.note(
                self.ended(TaskStatus.REFUSED, self.restore_file_name(self.task.recipients[0], str(error))),
                history.REFUSED,
            )
        except _InfrastructureError as error:
            return self.failed(TaskStatus.FAILED, str(error))
        except (GraderError, OSError) as error:
            return self.failed(TaskStatus.FULL if is_disk_full(error) else TaskStatus.FAILED, describe_error(error))
        except Exception as error:  # the last resort: one submission must not stop the others
            self.log.text(traceback.format_exc())
            return self.failed(TaskStatus.FAILED, f"{type(error).__name__}: {error}")

    def graded(self) -> TaskOutcome:
        """The outcome when nothing goes wrong."""
        stored = self.store.read_judgement(self.task.result)
        judged = stored if stored and is_grade(stored) else self.judge_evidence()
        self.at(Stage.REPORT)
        for recipient in self.task.recipients:
            self.report(recipient, judged)
        if is_grade(judged):
            return self.ended(TaskStatus.GRADED, "", judged.result)
        self.stage = Stage.EXECUTE if judged.result.run.status is RunStatus.INFRA_ERROR else Stage.JUDGE
        return self.ended(TaskStatus.UNGRADED, explain_ungraded(judged), judged.result)

    def judge_evidence(self) -> StoredJudgement:
        """Evidence from the store, or from an execution, judged."""
        found = self.store.evidence(self.task.evidence)
        if found.is_dir():
            return self.judge(found)
        if not self.order.execute:
            raise GraderError("Nothing is stored of it, so it cannot be judged; grade it first.")
        with self.store.open_incoming(self.task.evidence) as folder:
            status = self.equipment.execute(self.task, folder, self.log)
            self.executed = True
            if status is RunStatus.INFRA_ERROR:
                return self.give_up(folder)
            return self.judge(self.store.publish(folder, self.task.evidence))

    def give_up(self, folder: Path) -> StoredJudgement:
        """After the last try, a judgement that says that it was our fault; its evidence is not stored."""
        if self.task.tries_left > 1:
            raise _InfrastructureError(self.log.last or "the kernel could not be run")
        judged = self.judge(folder)
        for recipient in self.task.recipients:
            link_or_copy(folder / "evidence" / EXECUTED, self.order.submissions / recipient.id / EXECUTED)
        return judged

    def judge(self, folder: Path) -> StoredJudgement:
        """A judgement, stored. One that is no grade too: a person may give it points, and reports then tell of them."""
        self.at(Stage.JUDGE)
        judged = self.equipment.judge(folder)
        self.store.keep(self.task.result, judged)
        return judged

    def report(self, recipient: Recipient, judged: StoredJudgement) -> None:
        """Everything that one upload gets. The history comes last: it says that the rest is there."""
        folder = self.order.submissions / recipient.id
        name = SubmissionRef(name=recipient.name, sha256=judged.result.submission.sha256)
        result = judged.result.model_copy(update={"submission": name})
        write_reports(result, judged.details, folder)
        link_or_copy(self.store.evidence(self.task.evidence) / "evidence" / EXECUTED, folder / EXECUTED)
        history.note(folder, self.order, self.task, result.score.status, result)

    def at(self, stage: Stage) -> None:
        """Go on to a stage."""
        self.stage = stage
        self.log.stage(stage)

    def failed(self, fate: TaskStatus, message: str) -> TaskOutcome:
        """An outcome that is our fault; in the history only when nothing is tried any more."""
        outcome = self.ended(fate, message)
        last = fate is TaskStatus.FAILED and self.task.tries_left <= 1
        return self.note(outcome, ScoreStatus.UNGRADED) if last else outcome

    def note(self, outcome: TaskOutcome, status: str) -> TaskOutcome:
        """An outcome without a result, in the history of every upload."""
        for recipient in self.task.recipients:
            with _ignore_write_errors():
                folder = self.order.submissions / recipient.id
                message = self.restore_file_name(recipient, outcome.message)
                history.note(folder, self.order, self.task, status, None, message)
        return outcome

    def restore_file_name(self, recipient: Recipient, message: str) -> str:
        """A sentence about the stored file, with the name that its author gave it."""
        known = {self.task.notebook.name, *(other.file for other in self.task.recipients)}
        for name in known:
            message = message.replace(f"'{name}'", f"'{recipient.file}'")
        return message

    def ended(self, fate: TaskStatus, message: str, result: Result | None = None) -> TaskOutcome:
        """The outcome, also in the log."""
        text = sanitise_line(message)
        with _ignore_write_errors():
            self.log.text(f"{fate} after {self.stage}{text and f': {text}'}")
        return TaskOutcome(
            task=self.task,
            status=fate,
            stage=self.stage,
            message=text,
            run=result.run.status if result else "",
            points=result.score.points if result else None,
            possible=result.score.possible if result else 0.0,
            executed=self.executed,
            seconds=round(time.monotonic() - self.began, 2),
            host=socket.gethostname(),
        )


def is_grade(judged: StoredJudgement) -> bool:
    """Whether no fault of ours is in it; otherwise it is judged again whenever there is an occasion."""
    return judged.result.score.status is ScoreStatus.GRADED


def link_or_copy(source: Path, target: Path) -> None:
    """The same file under another name, where the file system has such, or a copy. Nothing where there is no file."""
    if not source.is_file():
        return
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        partial.hardlink_to(source)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, partial)
    partial.replace(target)
    partial.unlink(missing_ok=True)  # two names of one file: POSIX leaves both


@contextmanager
def _ignore_write_errors() -> Iterator[None]:
    """A note that finds no room on the disk is no second failure."""
    try:
        yield
    except OSError:
        return


def is_disk_full(error: BaseException) -> bool:
    """Whether a disk without room is behind an error."""
    causes: list[BaseException | None] = [error, error.__cause__, error.__context__]
    return isinstance(error, DiskFullError) or any(isinstance(c, OSError) and c.errno in NO_ROOM for c in causes)


def describe_error(error: GraderError | OSError) -> str:
    """What to say of a failure."""
    return str(error) if isinstance(error, GraderError) else f"{error.strerror or error} ({error.filename or 'a file'})"


def explain_ungraded(judged: StoredJudgement) -> str:
    """Why a judgement is no grade: what staff are told of our fault, or what a check waits for."""
    broken = [check for check in judged.result.checks if check.verdict is Verdict.ERROR]
    faults = [note for check in broken for note in judged.details.notes if note.startswith(f"{check.id}: ")]
    waits = [f"{check.id}: {check.rationale}" for check in broken]
    return next(iter((*faults, *waits, *judged.details.notes)), "nothing could be judged")
