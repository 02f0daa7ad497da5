"""Which uploads a student had, over all runs: an archive from Canvas holds the latest attempt alone.

`CLASS/attempts.jsonl` has a line for each upload that a run found for the first time. What became of it stands in its
history, so that a correction round can say what is fixed, what is new and what is still open since the attempt before.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime, ValidationError

from grader.batch import history
from grader.batch.request import BatchRequest
from grader.batch.store import append_lines
from grader.grades.grade import Grade, Progress
from grader.intake.uploads import Intake, Upload
from grader.model import CheckResult, FrozenModel, Verdict

NAME: Final = "attempts.jsonl"
OPEN: Final = (Verdict.FAILED, Verdict.BLOCKED)


class AttemptRecord(FrozenModel):
    """One upload, and when a run first found it. `attempt` orders what was found at the same time."""

    student: str
    upload: str
    sha256: str
    attempt: int
    at: AwareDatetime

    @property
    def order(self) -> tuple[datetime, int]:
        """The place among a student's attempts; files handed in together share it."""
        return self.at, self.attempt


def note_attempts(folder: Path, intake: Intake, before: Intake | None = None) -> None:
    """Add the uploads that no earlier run found. Raises OSError.

    Args:
        before: what the last run found: the same file under another key is noted as found when it was.
    """
    known = {(record.upload, record.sha256): record for record in reversed(read_attempts(folder))}
    earlier = {_identify_file(u): known.get((u.id, u.sha256)) for u in (before.uploads if before else ())}
    new = [upload for upload in intake.uploads if (upload.id, upload.sha256) not in known]
    if not new:
        return
    now = datetime.now(UTC)
    records = [_record(upload, earlier.get(_identify_file(upload)), now) for upload in new]
    append_lines(folder / NAME, [record.model_dump_json() for record in records])


def _record(upload: Upload, first: AttemptRecord | None, now: datetime) -> AttemptRecord:
    attempt, at = (first.attempt, first.at) if first else (upload.attempt, now)
    return AttemptRecord(student=upload.student.key, upload=upload.id, sha256=upload.sha256, attempt=attempt, at=at)


def _identify_file(upload: Upload) -> tuple[object, ...]:
    """Return what a file keeps whoever is taken for its author."""
    return upload.attachment_id or upload.entry, upload.display_name, upload.sha256


def read_attempts(folder: Path) -> list[AttemptRecord]:
    """Read all uploads that runs found, oldest first. Lines that cannot be read are skipped."""
    path = folder / NAME
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(AttemptRecord.model_validate_json(line))
        except ValidationError:
            continue
    return found


def find_first_seen(folder: Path, intake: Intake) -> dict[str, datetime]:
    """Return when a run first found each upload, by its id; those of which no run noted it are left out."""
    seen = {_identify(record.upload, record.sha256): record.at for record in reversed(read_attempts(folder))}
    found = {upload.id: seen.get(_identify(upload.id, upload.sha256)) for upload in intake.uploads}
    return {name: at for name, at in found.items() if at}


def _identify(upload: str, sha256: str) -> tuple[str, str]:
    """Return what an upload keeps when its student is renamed: the ids of student and attachment behind the name."""
    ids = re.search(r"_\d+_\d+$", upload)
    return ids[0] if ids else upload, sha256


def add_progress(request: BatchRequest, intake: Intake, grades: Iterable[Grade]) -> tuple[Grade, ...]:
    """Return the grades with what changed since each student's attempt before."""
    records = read_attempts(request.folder)
    teams = {member.key: group.members for group in intake.groups for member in group.members}
    mine: dict[str, list[AttemptRecord]] = {}
    for record in records:
        mine.setdefault(record.student, []).append(record)
    made = []
    for grade in grades:
        team = teams.get(grade.student.key, (grade.student,))
        keys = [key for member in team for key in (member.key, *member.aliases)]
        before = _find_verdicts_before(request, grade, [record for key in keys for record in mine.get(key, ())])
        made.append(grade.model_copy(update={"since": _compare(before, grade)}) if before else grade)
    return tuple(made)


def _find_verdicts_before(request: BatchRequest, grade: Grade, records: list[AttemptRecord]) -> Mapping[str, str]:
    """Return the last verdicts on the attempt before the one that counts; nothing if there was none."""
    upload = grade.upload
    now = next((r for r in records if upload and (r.upload, r.sha256) == (upload.id, upload.sha256)), None)
    if now is None:
        return {}
    for record in sorted((r for r in records if r.order < now.order), key=lambda r: r.order, reverse=True):
        entries = [e for e in history.read(request.submissions / record.upload) if e.sha256 == record.sha256]
        if entries and entries[-1].verdicts:
            return entries[-1].verdicts
    return {}


def _compare(before: Mapping[str, str], grade: Grade) -> Progress:
    """Compare checks that were judged both times. What a person decided says nothing of an attempt."""
    decided = {one.check.id for one in grade.decided}
    checks = [c for c in (grade.result.checks if grade.result else ()) if c.id in before and c.id not in decided]
    return Progress(
        fixed=tuple(c.title for c in checks if before[c.id] in OPEN and c.verdict is Verdict.PASSED),
        new=tuple(c.title for c in checks if before[c.id] == Verdict.PASSED and _is_open(c)),
        still_open=tuple(c.title for c in checks if before[c.id] in OPEN and _is_open(c)),
    )


def _is_open(check: CheckResult) -> bool:
    return check.verdict in OPEN
