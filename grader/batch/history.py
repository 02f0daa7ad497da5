"""What was ever said of one upload: a line of JSON for each result that differs from the one before, and why.

The line that counts is the last one. Earlier results themselves stay in the store under the key that the line names.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from grader.batch.digests import EXECUTION
from grader.batch.messages import BatchConfig, Task
from grader.batch.store import write
from grader.model import FrozenModel, Result, ScoreStatus

NAME: Final = "history.jsonl"
FIRST: Final = "first result"
REFUSED: Final = "refused"
AGAIN: Final = "graded again after a fault of ours"


class HistoryEntry(FrozenModel):
    """One result of one upload. `depends` are digests of what executed and what judged it, by name."""

    at: datetime
    why: str
    evidence: str
    result: str
    status: str  # graded, ungraded or refused
    points: float | None
    possible: float
    profile: str
    seed: int
    depends: dict[str, str]
    changed: tuple[str, ...] = ()  # "step1.accuracy: failed → passed", since the entry before
    verdicts: dict[str, str] = Field(default_factory=dict)
    message: str = ""
    sha256: str = ""  # of the notebook; entries of older versions do not say

    def is_settled(self, evidence: str, result: str) -> bool:
        """Whether nothing is left to do. A refusal depends on no suite: nothing was there to be judged."""
        if self.status == REFUSED:
            return self.evidence == evidence
        return self.status == ScoreStatus.GRADED and self.result == result


def read(folder: Path) -> tuple[HistoryEntry, ...]:
    """All entries of an upload's folder, oldest first. Lines that cannot be read are passed over."""
    try:
        lines = (folder / NAME).read_bytes().splitlines()
    except OSError:
        return ()
    return tuple(entry for line in lines if (entry := _entry(line)))


def read_last(folder: Path) -> HistoryEntry | None:
    """The entry that counts."""
    entries = read(folder)
    return entries[-1] if entries else None


def _entry(line: bytes) -> HistoryEntry | None:
    try:
        return HistoryEntry.model_validate_json(line)
    except ValidationError:
        return None


def note(folder: Path, order: BatchConfig, task: Task, status: str, result: Result | None, message: str = "") -> None:
    """Add what was found, unless it is what was found before. Raises OSError."""
    path = folder / NAME
    before = read_last(folder)
    entry = _build_entry(before, order, task, status, result, message)
    if before and _is_same(before, entry):
        return
    written = path.read_bytes() if path.is_file() else b""  # as it is: other versions write lines that we cannot read
    gap = b"\n" if written and not written.endswith(b"\n") else b""
    write(path, written + gap + f"{entry.model_dump_json()}\n".encode())


def _build_entry(
    before: HistoryEntry | None, order: BatchConfig, task: Task, status: str, result: Result | None, message: str
) -> HistoryEntry:
    verdicts = {check.id: check.verdict.value for check in result.checks} if result else {}
    return HistoryEntry(
        at=datetime.now(UTC),
        why=explain(before, order, task),
        evidence=task.evidence,
        result=task.result,
        status=status,
        points=result.score.points if result else None,
        possible=result.score.possible if result else 0.0,
        profile=order.profile,
        seed=order.seed,
        depends={EXECUTION: task.code, **order.parts} if task.code else order.parts,
        changed=list_changes(before.verdicts if before else {}, verdicts),
        verdicts=verdicts,
        message=message,
        sha256=task.notebook.stem,
    )


def explain(before: HistoryEntry | None, order: BatchConfig, task: Task) -> str:
    """Why there is a new result."""
    if before is None:
        return FIRST
    now = {EXECUTION: task.code, **order.parts}
    then = {EXECUTION: task.code, **before.depends}  # older versions did not note what executed
    reasons = [f"{name} changed" for name, digest in now.items() if then.get(name) != digest]
    if before.profile != order.profile:
        reasons.append(f"profile {order.profile} instead of {before.profile}")
    if before.seed != order.seed:
        reasons.append(f"seed {order.seed} instead of {before.seed}")
    if before.evidence != task.evidence and not reasons:
        reasons.append("executed again")
    return ", ".join(reasons) or AGAIN


def list_changes(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """Checks whose verdict differs; none when there was nothing to compare with."""
    if not before:
        return ()
    ids = dict.fromkeys((*before, *now))
    return tuple(f"{i}: {before.get(i, 'absent')} → {now.get(i, 'absent')}" for i in ids if before.get(i) != now.get(i))


def _is_same(before: HistoryEntry, now: HistoryEntry) -> bool:
    return (before.result, before.status, before.message) == (now.result, now.status, now.message)
