"""Plans what is left to do of a class, and does it: hands out tasks, tries failed ones again, stops at a full disk."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from grader.batch import history
from grader.batch.digests import EXECUTION, hash_values
from grader.batch.history import EntryStatus
from grader.batch.messages import BatchConfig, Recipient, Task, TaskOutcome, TaskStatus
from grader.batch.store import Store
from grader.errors import GraderError
from grader.intake.archive import locate_upload
from grader.intake.uploads import Upload
from grader.text import sanitise

TICK_S: Final = 0.5
LONELY_S: Final = 30.0  # without any worker, before it is mentioned


class Executor(Protocol):
    """The workers. The controller hands out as many tasks as there are slots."""

    def count_slots(self) -> int:
        """Return how many tasks can be worked on at once; 0 while no worker is there."""

    def submit(self, task: Task) -> None:
        """Hand out a task."""

    def wait(self, timeout_s: float) -> TaskOutcome | None:
        """Return the next outcome, or None when there is none in time."""


class BatchListener(Protocol):
    """Receives events of a batch as they happen."""

    def on_start(self, task: Task) -> None:
        """Note that a task was handed out."""

    def on_end(self, outcome: TaskOutcome, again: bool) -> None:
        """Note that a task came back; `again`: it will be tried once more."""

    def on_no_workers(self) -> None:
        """Note that there is no worker."""


@dataclass
class BatchSummary:
    """The outcomes of a batch."""

    total: int = 0  # uploads
    done_before: int = 0
    outcomes: list[TaskOutcome] = field(default_factory=list)
    stopped: str = ""  # why not everything was tried

    def count_uploads(self, *statuses: TaskStatus) -> int:
        """Count the uploads whose tasks ended so."""
        return sum(len(o.task.recipients) for o in self.outcomes if o.status in statuses)

    @property
    def executed(self) -> int:
        """The number of notebooks that were executed."""
        return sum(outcome.executed for outcome in self.outcomes)

    @property
    def problems(self) -> list[TaskOutcome]:
        """The outcomes without a grade that are not the submission's fault."""
        return [o for o in self.outcomes if o.status.is_problem]

    @property
    def left(self) -> int:
        """The number of uploads that nothing is known about."""
        return self.total - self.done_before - self.count_uploads(*(s for s in TaskStatus if s is not TaskStatus.FULL))


@dataclass(frozen=True)
class Conditions:
    """The conditions of evidence besides the notebook and the configuration of the batch."""

    checkpoint_sha256: str
    reviews_sha256: str
    reviews_name: str = ""

    def make_evidence_key(self, sha256: str, config: BatchConfig) -> str:
        """Name the evidence of a notebook."""
        limits = (config.cell_s, config.run_s)
        data = (self.checkpoint_sha256, self.reviews_sha256, config.seed)
        return hash_values(sha256, config.code, config.profile, config.precision, *data, *limits, config.sandboxed)

    def make_result_key(self, evidence: str, config: BatchConfig) -> str:
        """Name the judgement of evidence. Thresholds depend on the reviews of today, which may not be those of then."""
        return hash_values(evidence, config.parts, self.reviews_sha256)


def plan(uploads: Sequence[Upload], config: BatchConfig, conditions: Conditions) -> list[Task]:
    """List one task for each content that some upload still needs something of, in the order of the uploads."""
    store = Store(config.folder / "store")
    tasks: dict[str, Task] = {}
    for upload in uploads:
        folder = config.submissions / upload.id
        entry, written = history.read_last(folder), folder / "result.json"
        evidence, code = conditions.make_evidence_key(upload.sha256, config), config.code
        if not config.execute and entry is not None:  # whatever version of the grader executed it
            evidence, code = entry.evidence, entry.depends.get(EXECUTION, "")
        result = conditions.make_result_key(evidence, config)
        there = written.is_file() and written.stat().st_size > 0  # a machine that stops may leave an empty file
        if entry and entry.is_settled(evidence, result) and (entry.is_refused or there):
            continue
        recipient = Recipient(id=upload.id, file=sanitise(upload.display_name))
        known = tasks.get(result)
        recipients = (*known.recipients, recipient) if known else (recipient,)
        notebook = locate_upload(store.uploads, upload)
        tasks[result] = Task(notebook=notebook, evidence=evidence, result=result, recipients=recipients, code=code)
    return list(tasks.values())


def grade(
    uploads: Sequence[Upload], tasks: Sequence[Task], config: BatchConfig, executor: Executor, listener: BatchListener
) -> BatchSummary:
    """Carry out tasks. Stops handing out when a disk is full. Raises GraderError if a worker cannot grade."""
    summary = BatchSummary(len(uploads), len(uploads) - sum(len(task.recipients) for task in tasks))
    waiting, out, lonely_s = deque(tasks), 0, 0.0
    while out or (waiting and not summary.stopped):
        slots = executor.count_slots()
        while waiting and out < slots and not summary.stopped:
            task = waiting.popleft()
            executor.submit(task)
            listener.on_start(task)
            out += 1
        outcome = executor.wait(TICK_S)
        if outcome is None:
            lonely_s = 0.0 if slots else lonely_s + TICK_S
            if lonely_s == LONELY_S:
                listener.on_no_workers()
            continue
        out -= 1
        left = outcome.task.tries_left - 1
        again = outcome.status is TaskStatus.FAILED and left > 0
        listener.on_end(outcome, again)
        if again:
            waiting.append(outcome.task.model_copy(update={"tries_left": left}))
        else:
            _record(outcome, config, summary)
    return summary


def _record(outcome: TaskOutcome, config: BatchConfig, summary: BatchSummary) -> None:
    """Add a last outcome to the summary. Raises GraderError if the worker cannot grade, and OSError."""
    summary.outcomes.append(outcome)
    if outcome.status is TaskStatus.HALT:
        raise GraderError(outcome.message)
    if outcome.status is TaskStatus.FULL:
        summary.stopped = outcome.message
    if outcome.status is TaskStatus.LOST:  # no worker lived to write it down
        for recipient in outcome.task.recipients:
            folder = config.submissions / recipient.id
            folder.mkdir(parents=True, exist_ok=True)
            history.note(folder, config, outcome.task, EntryStatus.UNGRADED, message=outcome.message)
