"""One submission through the stages, in a worker. Whatever goes wrong becomes an outcome that names the stage."""

import contextlib
import errno
import shutil
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from grader.batch import history
from grader.batch.history import EntryStatus
from grader.batch.log import Log
from grader.batch.messages import BatchConfig, Recipient, Stage, StoredJudgement, Task, TaskOutcome, TaskStatus
from grader.batch.store import Store
from grader.errors import DiskFullError, GraderError, SubmissionError
from grader.execution.progress import Listener
from grader.model import Result, RunStatus, ScoreStatus, SubmissionRef, Verdict
from grader.reporting.files import write_reports
from grader.reporting.sanitisation import sanitise_line

EXECUTED: Final = "executed.ipynb"


class GradingTools(Protocol):
    """A worker's tools: warm kernels and a suite that is loaded. They raise GraderError and SubmissionError."""

    def execute(self, task: Task, folder: Path, listener: Listener) -> RunStatus:
        """Leave evidence and ledger of the notebook in `folder`."""

    def judge(self, folder: Path) -> StoredJudgement:
        """Judge what `execute` left."""


class TaskRunner:
    """Takes one task through the stages."""

    def __init__(self, config: BatchConfig, tools: GradingTools, task: Task, tell: Callable[[str], None]) -> None:
        """`tell` hears how far the work is, one line at a time."""
        self.config, self.tools, self.task = config, tools, task
        self.store = Store(config.folder / "store")
        self.log = Log([config.submissions / r.id for r in task.recipients], tell)
        self.stage, self.executed = Stage.EXECUTE, False
        self.began = time.monotonic()

    def run(self) -> TaskOutcome:
        """Run the stages that are not done yet. Raises nothing, except what ends a process."""
        try:
            self.log.begin()
            return self._grade()
        except SubmissionError as error:
            message = self._restore_file_name(self.task.recipients[0], str(error))
            return self._note(self._end(TaskStatus.REFUSED, message), EntryStatus.REFUSED)
        except (GraderError, OSError) as error:
            return self._fail(TaskStatus.FULL if is_disk_full(error) else TaskStatus.FAILED, describe_error(error))
        except Exception as error:  # the last resort: one submission must not stop the others
            with contextlib.suppress(OSError):
                self.log.text(traceback.format_exc())
            return self._fail(TaskStatus.FAILED, f"{type(error).__name__}: {error}")

    def _grade(self) -> TaskOutcome:
        judged = self.store.read_judgement(self.task.result)
        if judged is None or not is_grade(judged):  # a fault of the grader is looked into again
            judged = self._judge_evidence()
        self._begin(Stage.REPORT)
        for recipient in self.task.recipients:
            self._report(recipient, judged)
        if is_grade(judged):
            return self._end(TaskStatus.GRADED, "", judged.result)
        self.stage = Stage.EXECUTE if judged.result.run.status is RunStatus.INFRA_ERROR else Stage.JUDGE
        return self._end(TaskStatus.UNGRADED, explain_ungraded(judged), judged.result)

    def _judge_evidence(self) -> StoredJudgement:
        """Judge evidence from the store, or from an execution."""
        found = self.store.evidence(self.task.evidence)
        if found.is_dir():
            return self._judge(found)
        if not self.config.execute:
            raise GraderError("Nothing is stored of it, so it cannot be judged; grade it first.")
        with self.store.open_incoming(self.task.evidence) as folder:
            status = self.tools.execute(self.task, folder, self.log)
            self.executed = True
            if status is not RunStatus.INFRA_ERROR:
                return self._judge(self.store.publish(folder, self.task.evidence))
            if self.task.tries_left > 1:
                raise GraderError(self.log.last or "the kernel could not be run")
            judged = self._judge(folder)  # it says that the grader is at fault; such evidence is not stored
            for recipient in self.task.recipients:
                link_or_copy(folder / "evidence" / EXECUTED, self.config.submissions / recipient.id / EXECUTED)
            return judged

    def _judge(self, folder: Path) -> StoredJudgement:
        """Judge, and store the judgement, even one without points: a person may give points that reports then show."""
        self._begin(Stage.JUDGE)
        judged = self.tools.judge(folder)
        self.store.keep(self.task.result, judged)
        return judged

    def _report(self, recipient: Recipient, judged: StoredJudgement) -> None:
        """Write everything that one upload gets. The history comes last: it says that the rest is there."""
        folder = self.config.submissions / recipient.id
        name = SubmissionRef(name=recipient.id, sha256=judged.result.submission.sha256)
        result = judged.result.model_copy(update={"submission": name})
        write_reports(result, judged.details, folder)
        link_or_copy(self.store.evidence(self.task.evidence) / "evidence" / EXECUTED, folder / EXECUTED)
        history.note(folder, self.config, self.task, EntryStatus(result.score.status), result)

    def _begin(self, stage: Stage) -> None:
        self.stage = stage
        self.log.stage(stage)

    def _fail(self, status: TaskStatus, message: str) -> TaskOutcome:
        """Build an outcome that is the grader's fault; the history has it only after the last try."""
        outcome = self._end(status, message)
        last = status is TaskStatus.FAILED and self.task.tries_left <= 1
        return self._note(outcome, EntryStatus.UNGRADED) if last else outcome

    def _note(self, outcome: TaskOutcome, status: EntryStatus) -> TaskOutcome:
        """Note an outcome without a result in the history of every upload."""
        for recipient in self.task.recipients:
            message = self._restore_file_name(recipient, outcome.message)
            with contextlib.suppress(OSError):  # a note that finds no room on the disk is no second failure
                history.note(self.config.submissions / recipient.id, self.config, self.task, status, message=message)
        return outcome

    def _restore_file_name(self, recipient: Recipient, message: str) -> str:
        """Replace the name of the stored file by the name that its author knows."""
        for name in {self.task.notebook.name, *(other.file for other in self.task.recipients)}:
            message = message.replace(f"'{name}'", f"'{recipient.file}'")
        return message

    def _end(self, status: TaskStatus, message: str, result: Result | None = None) -> TaskOutcome:
        """Build the outcome, and write it to the log."""
        text = sanitise_line(message)
        with contextlib.suppress(OSError):
            self.log.text(f"{status} after {self.stage}{text and f': {text}'}")
        return TaskOutcome(
            task=self.task,
            status=status,
            stage=self.stage,
            message=text,
            points=result.score.points if result else None,
            possible=result.score.possible if result else 0.0,
            executed=self.executed,
            seconds=round(time.monotonic() - self.began, 2),
        )


def is_grade(judged: StoredJudgement) -> bool:
    """Return True if every check could be judged."""
    return judged.result.score.status is ScoreStatus.GRADED


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links; nothing where it is missing."""
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


def is_disk_full(error: BaseException) -> bool:
    """Return True if a disk without room is behind an error."""
    if isinstance(error, DiskFullError):
        return True
    causes = (error, error.__cause__, error.__context__)
    return any(isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) for cause in causes)


def describe_error(error: GraderError | OSError) -> str:
    """Describe a failure in a line."""
    return str(error) if isinstance(error, GraderError) else f"{error.strerror or error} ({error.filename or 'a file'})"


def explain_ungraded(judged: StoredJudgement) -> str:
    """Explain why a judgement is no grade: the grader's fault in a check, or what a check waits for."""
    broken = [check for check in judged.result.checks if check.verdict is Verdict.ERROR]
    faults = [f"{c.title}: {judged.details.faults[c.id]}" for c in broken if c.id in judged.details.faults]
    waits = [f"{check.title}: {check.rationale}" for check in broken]
    return next(iter((*faults, *waits, *judged.details.notes)), "nothing could be judged")
