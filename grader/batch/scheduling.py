"""What is left to do of a class, and doing it: hand out tasks, try again where we failed, stop where nothing helps."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from grader.batch import history
from grader.batch.digests import EXECUTION, hash_values
from grader.batch.messages import BatchConfig, Recipient, Task, TaskOutcome, TaskStatus
from grader.batch.store import Store
from grader.errors import GraderError
from grader.intake.archive import locate_upload
from grader.intake.uploads import Upload
from grader.model import ScoreStatus
from grader.text import sanitise

TICK_S: Final = 0.5
LONELY_S: Final = 30.0  # without any worker, before it is said


class Executor(Protocol):
    """Who does the work. The controller hands out as many tasks as there are hands."""

    def slots(self) -> int:
        """How many tasks can be worked on at once; 0 while no worker is there."""

    def submit(self, task: Task) -> None:
        """Hand out a task."""

    def taken(self, timeout_s: float) -> TaskOutcome | None:
        """The next outcome, or None when there is none in time."""


class BatchListener(Protocol):
    """Who is told how it goes."""

    def given(self, task: Task) -> None:
        """A task was handed out."""

    def ended(self, outcome: TaskOutcome, again: bool) -> None:
        """A task came back; `again`: it will be tried once more."""

    def on_no_workers(self) -> None:
        """There is no worker."""


@dataclass
class BatchSummary:
    """What became of a batch."""

    total: int = 0  # uploads
    done_before: int = 0
    outcomes: list[TaskOutcome] = field(default_factory=list)
    stopped: str = ""  # why not everything was tried

    def uploads(self, *fates: TaskStatus) -> int:
        """How many uploads met one of these fates."""
        return sum(len(o.task.recipients) for o in self.outcomes if o.status in fates)

    @property
    def executed(self) -> int:
        """How many notebooks were executed."""
        return sum(outcome.executed for outcome in self.outcomes)

    @property
    def problems(self) -> list[TaskOutcome]:
        """What is our fault."""
        return [o for o in self.outcomes if o.status not in (TaskStatus.GRADED, TaskStatus.REFUSED)]

    @property
    def left(self) -> int:
        """Uploads that nothing was found out about."""
        return (
            self.total - self.done_before - self.uploads(*(fate for fate in TaskStatus if fate is not TaskStatus.FULL))
        )


@dataclass(frozen=True)
class Conditions:
    """What evidence depends on besides the notebook, so far as the order does not say it."""

    checkpoint_sha256: str
    reviews_sha256: str

    def make_evidence_key(self, sha256: str, order: BatchConfig) -> str:
        """Name of the evidence of a notebook."""
        limits = (order.cell_s, order.run_s)
        data = (self.checkpoint_sha256, self.reviews_sha256, order.seed)
        return hash_values(sha256, order.code, order.profile, order.precision, *data, *limits, order.sandboxed)


def plan(uploads: Sequence[Upload], order: BatchConfig, circumstances: Conditions) -> list[Task]:
    """One task for each content that some upload still needs something of, in the order of the uploads."""
    store = Store(order.folder / "store")
    tasks: dict[str, Task] = {}
    for upload in uploads:
        entry = history.read_last(order.submissions / upload.id)
        evidence, code = circumstances.make_evidence_key(upload.sha256, order), order.code
        if not order.execute and entry is not None:  # whatever version of the grader executed it
            evidence, code = entry.evidence, entry.depends.get(EXECUTION, "")
        result = hash_values(evidence, order.parts)
        if entry and entry.is_settled(evidence, result) and _is_there(order.submissions / upload.id, entry):
            continue
        recipient = Recipient(id=upload.id, name=upload.id, file=sanitise(upload.display_name))
        known = tasks.get(result)
        recipients = (*known.recipients, recipient) if known else (recipient,)
        notebook = locate_upload(store.uploads, upload)
        tasks[result] = Task(notebook=notebook, evidence=evidence, result=result, recipients=recipients, code=code)
    return list(tasks.values())


def _is_there(folder: Path, entry: history.HistoryEntry) -> bool:
    """Whether the result that was noted is there too. A machine that stops may leave an empty file."""
    result = folder / "result.json"
    return entry.status == history.REFUSED or (result.is_file() and result.stat().st_size > 0)


def run(
    tasks: Iterable[Task], crew: Executor, audience: BatchListener, enough: Callable[[], str] = str
) -> Iterator[TaskOutcome]:
    """Outcomes as they come. `enough` says why to stop handing out, or nothing. Raises GraderError to stop at once."""
    waiting, out, alone_s = deque(tasks), 0, 0.0
    while waiting or out:
        hands = crew.slots()
        while waiting and out < hands and not enough():
            task = waiting.popleft()
            crew.submit(task)
            audience.given(task)
            out += 1
        if not out and enough():
            return
        outcome = crew.taken(TICK_S)
        if outcome is None:
            alone_s = 0.0 if hands else alone_s + TICK_S
            if alone_s == LONELY_S:
                audience.on_no_workers()
            continue
        out -= 1
        again = outcome.status is TaskStatus.FAILED and outcome.task.tries_left > 1
        audience.ended(outcome, again)
        if outcome.status is TaskStatus.HALT:
            raise GraderError(outcome.message)
        if again:
            waiting.append(outcome.task.model_copy(update={"tries_left": outcome.task.tries_left - 1}))
        else:
            yield outcome


def grade(
    uploads: Sequence[Upload], tasks: Sequence[Task], order: BatchConfig, crew: Executor, audience: BatchListener
) -> BatchSummary:
    """Carry out tasks. Stops handing out when a disk is full. Raises GraderError."""
    tally = BatchSummary(len(uploads), len(uploads) - sum(len(task.recipients) for task in tasks))
    for outcome in run(tasks, crew, audience, lambda: tally.stopped):
        tally.outcomes.append(outcome)
        if outcome.status is TaskStatus.LOST:
            note_lost(outcome, order)
        if outcome.status is TaskStatus.FULL:
            tally.stopped = outcome.message
    return tally


def note_lost(outcome: TaskOutcome, order: BatchConfig) -> None:
    """What no worker lived to write down. Raises OSError."""
    for recipient in outcome.task.recipients:
        folder = order.submissions / recipient.id
        folder.mkdir(parents=True, exist_ok=True)
        history.note(folder, order, outcome.task, ScoreStatus.UNGRADED, None, outcome.message)
