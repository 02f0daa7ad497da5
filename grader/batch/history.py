"""The results of one upload over time: a line of JSON for each that differs from the one before, with the reason.

The last line counts. Earlier results themselves stay in the store under the key that the line names. Staff are told of
last lines that an older version of the grader wrote, so that nobody takes their results for new.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from grader.batch.digests import EXECUTION, digest_execution, digest_judging
from grader.batch.messages import BatchConfig, Task
from grader.batch.store import append_lines
from grader.model import FrozenModel, Result
from grader.paths import ROOT

NAME: Final = "history.jsonl"
FIRST: Final = "first result"
AGAIN: Final = "graded again after a fault of the grader"


class EntryStatus(StrEnum):
    """The outcome for an upload."""

    GRADED = "graded"
    UNGRADED = "ungraded"
    REFUSED = "refused"  # it cannot be graded as handed in, whatever the tests are


class HistoryEntry(FrozenModel):
    """One result of one upload. `depends` are digests of what executed and what judged it, by name."""

    at: datetime
    why: str
    evidence: str
    result: str
    status: EntryStatus
    points: float | None
    possible: float
    profile: str
    seed: int
    depends: dict[str, str]
    changed: tuple[str, ...] = ()  # "step1.accuracy: failed → passed", since the entry before
    verdicts: dict[str, str] = Field(default_factory=dict)
    message: str = ""  # why there is no result.json; empty where there is one
    sha256: str = ""  # of the notebook; missing in entries of older versions

    @property
    def is_refused(self) -> bool:
        """Return True if the upload cannot be graded as handed in."""
        return self.status is EntryStatus.REFUSED

    def is_settled(self, evidence: str, result: str) -> bool:
        """Return True if nothing is left to do. A refusal does not depend on the suite: nothing was judged."""
        if self.is_refused:
            return self.evidence == evidence
        return self.status is EntryStatus.GRADED and self.result == result


def read(folder: Path) -> tuple[HistoryEntry, ...]:
    """Read all entries of an upload's folder, oldest first. Lines that cannot be read are skipped."""
    try:
        lines = (folder / NAME).read_bytes().splitlines()
    except OSError:
        return ()
    return tuple(entry for line in lines if (entry := _parse(line)))


def read_last(folder: Path) -> HistoryEntry | None:
    """Read the entry that counts."""
    return next(reversed(read(folder)), None)


def _parse(line: bytes) -> HistoryEntry | None:
    try:
        return HistoryEntry.model_validate_json(line)
    except ValidationError:
        return None


def note(
    folder: Path, config: BatchConfig, task: Task, status: EntryStatus, result: Result | None = None, message: str = ""
) -> None:
    """Add an entry, unless it repeats the last one. Raises OSError."""
    path = folder / NAME
    before = read_last(folder)
    verdicts = {check.id: check.verdict.value for check in result.checks} if result else {}
    entry = HistoryEntry(
        at=datetime.now(UTC),
        why=explain(before, config, task),
        evidence=task.evidence,
        result=task.result,
        status=status,
        points=result.score.points if result else None,
        possible=result.score.possible if result else 0.0,
        profile=config.profile,
        seed=config.seed,
        depends={EXECUTION: task.code, **config.parts} if task.code else config.parts,
        changed=list_changes(before.verdicts if before else {}, verdicts),
        verdicts=verdicts,
        message=message,
        sha256=task.notebook.stem,
    )
    if before and (before.result, before.status, before.message) == (entry.result, entry.status, entry.message):
        return
    append_lines(path, [entry.model_dump_json()])  # to what is there: other versions write lines that we cannot read


def explain(before: HistoryEntry | None, config: BatchConfig, task: Task) -> str:
    """Explain why there is a new result."""
    if before is None:
        return FIRST
    now = {EXECUTION: task.code, **config.parts}
    then = {EXECUTION: task.code, **before.depends}  # older versions did not record what executed
    reasons = [f"{name} changed" for name, digest in now.items() if then.get(name) != digest]
    if before.profile != config.profile:
        reasons.append(f"profile {config.profile} instead of {before.profile}")
    if before.seed != config.seed:
        reasons.append(f"seed {config.seed} instead of {before.seed}")
    if before.evidence != task.evidence and not reasons:
        reasons.append("executed again")
    return ", ".join(reasons) or AGAIN


def list_changes(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    """List the checks whose verdict differs; none if there is nothing to compare with."""
    ids = dict.fromkeys((*before, *now)) if before else {}
    return tuple(f"{i}: {before.get(i, 'absent')} → {now.get(i, 'absent')}" for i in ids if before.get(i) != now.get(i))


def list_executed_before(entries: Iterable[HistoryEntry]) -> list[HistoryEntry]:
    """List those whose evidence comes from older code. A refusal has no evidence."""
    return [e for e in entries if not e.is_refused and e.depends.get(EXECUTION) != digest_execution(ROOT)]


def list_judged_before(entries: Iterable[HistoryEntry]) -> list[HistoryEntry]:
    """List those judged by other tests, points, thresholds or code than today's. Reports are anyway written again."""
    today = {name: digest for name, digest in digest_judging(ROOT).items() if name != "reports"}
    return [e for e in entries if not e.is_refused and any(e.depends.get(n) != d for n, d in today.items())]


def describe_outdated(entries: Sequence[HistoryEntry]) -> tuple[str, ...]:
    """Describe what is outdated in a class, given the last entry of each upload; nothing if all is up to date."""
    executed, judged = list_executed_before(entries), list_judged_before(entries)
    notes = []
    if executed:
        codes = ", ".join(sorted({e.depends.get(EXECUTION, "")[:8] or "not recorded" for e in executed}))
        verdicts = "" if judged else " Their verdicts are up to date, their evidence is not."
        notes.append(
            f"{len(executed)} of {len(entries)} uploads were executed by older code (version {codes}; now "
            f"{digest_execution(ROOT)[:8]}).{verdicts} Run `make batch` again to execute them."
        )
    if judged:
        note = f"{len(judged)} of {len(entries)} uploads were judged by other tests, points or code than today's."
        notes.append(f"{note} Run `make rejudge` to judge them again.")
    return tuple(notes)
