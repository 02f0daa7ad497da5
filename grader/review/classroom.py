"""A class as the page sees it: read once, and afterwards only what has changed.

A page needs the grades of all students, for the filters. They follow from a result for each upload, and from the
decisions. Results are kept in memory and read again where the time or the size of a history has changed: it is written
last, so that it says that the rest is there.
"""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from grader.batch import decisions as book
from grader.batch import history
from grader.batch import request as requests
from grader.batch.attempts import add_progress
from grader.batch.outputs import ALIKE, Outcome, find_outcome, settle_class
from grader.batch.request import BatchRequest, SavedBatch, load_batch
from grader.grades.decisions import (
    Appeal,
    Decision,
    Reviewed,
    Rulings,
    Withdrawal,
    list_in_force,
    use_todays_keys,
)
from grader.grades.grade import Grade, Progress, tell_apart
from grader.grades.overrides import Override, OverrideKind
from grader.grades.policy import GradingPolicy, NameIndex
from grader.grades.settlement import change_check, list_students
from grader.intake.uploads import Intake, Student, Upload
from grader.model import CheckResult, Result

LOOK_EVERY_S: Final = 1.0  # at the histories of all uploads: a stat each, which costs time on a network's file system

Stamp = tuple[int, int] | None  # time and size of a file; None where there is none


@dataclass(frozen=True)
class Attempt:
    """One file of a student, and its result, if there is one."""

    upload: Upload
    outcome: Outcome


@dataclass(frozen=True)
class Dossier:
    """All that the page knows about one student. `decisions` are about them, oldest first; `held` are in force."""

    grade: Grade
    attempts: tuple[Attempt, ...] = ()
    decisions: tuple[Decision, ...] = ()
    held: tuple[Decision, ...] = ()
    overrides: Mapping[str, Override] = field(default_factory=dict)  # changes of checks that apply, by the check's id
    alike: tuple[Student, ...] = ()  # others with similar code, when the outputs were written last
    earlier: frozenset[str] = frozenset()  # ids of the decisions that were made for an earlier file

    @property
    def code(self) -> str:
        """The name of the student in addresses."""
        return self.grade.student.code

    @cached_property
    def checks(self) -> tuple[CheckResult, ...]:
        """The checks of the upload that counts, as people changed them."""
        return self.list_checks(self.grade.result)

    @property
    def upload_id(self) -> str:
        """The id of the file that counts; empty without one."""
        return self.grade.upload.id if self.grade.upload else ""

    @property
    def sha256(self) -> str:
        """The content of the file that counts; empty without one."""
        return self.grade.upload.sha256 if self.grade.upload else ""

    @property
    def seen(self) -> str:
        """The last decision about the student: a page that knows an older one is out of date."""
        return self.decisions[-1].id if self.decisions else ""

    @property
    def is_reviewed(self) -> bool:
        """True if a person has looked at the file that counts."""
        marks = [d.matter for d in self.held if isinstance(d.matter, Reviewed)]
        return any(mark.upload == self.upload_id and mark.sha256 in ("", self.sha256) for mark in marks)

    @cached_property
    def appeals(self) -> dict[str, Appeal]:
        """The appeals, by check."""
        return {d.matter.contests: d.matter for d in self.held if isinstance(d.matter, Appeal)}

    @property
    def has_comment(self) -> bool:
        """True if a person wrote to the student."""
        return bool(self.grade.comment or self.grade.check_comments)

    @property
    def has_open_appeal(self) -> bool:
        """True if an appeal has no answer."""
        return any(not appeal.answer for appeal in self.appeals.values())

    @property
    def tags(self) -> tuple[str, ...]:
        """Words beside the name."""
        marks = {
            "appeal": self.has_open_appeal,
            "changed by a person": any(isinstance(d.matter, Override) for d in self.held),
            "comment": self.has_comment,
            "reviewed": self.is_reviewed,
            "similar code": bool(self.alike),
            f"{len(self.attempts)} files": len(self.attempts) > 1,
        }
        return tuple(text for text, applies in marks.items() if applies)

    def list_checks(self, result: Result | None) -> tuple[CheckResult, ...]:
        """List the checks of a result, as people changed them."""
        return tuple(change_check(c, self.overrides.get(c.id)) for c in (result.checks if result else ()))


@dataclass(frozen=True)
class ClassView:
    """A class at one moment. `dossiers` are in the order of names, by code."""

    request: BatchRequest
    policy: GradingPolicy = field(default_factory=GradingPolicy)
    dossiers: Mapping[str, Dossier] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    notes: tuple[str, ...] = ()
    possible: float = 0.0  # points of the whole rubric, with what a person marks
    unwritten: int = 0  # decisions that gradebook, feedback and dashboard do not show yet
    intake: Intake = field(default_factory=lambda: Intake(source="", uploads=()))

    def compare_attempts(self, dossier: Dossier) -> Progress | None:
        """Return what changed since the attempt before the one that counts; None without one."""
        (grade,) = add_progress(self.request, self.intake, [dossier.grade])
        return grade.since

    @cached_property
    def titles(self) -> dict[str, str]:
        """The titles of all checks, by id, in the order of the suite."""
        results = (dossier.grade.result for dossier in self.dossiers.values())
        return {check.id: check.title for result in results if result for check in result.checks}


class Classroom:
    """Reads the folder of a class, for many requests at once. Raises GraderError where it holds no class."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._saved = load_batch(folder)
        self._outcomes: dict[str, tuple[Stamp, Outcome]] = {}
        self._looked_at = -LOOK_EVERY_S
        self._stamps: tuple[Stamp, ...] = ()
        self._view: ClassView | None = None

    @property
    def last(self) -> ClassView | None:
        """The class as it was at the last look; None before the first."""
        return self._view

    def look(self) -> ClassView:
        """Return the class as it is now. Raises GraderError."""
        with self._lock:
            stamps = self._take_stamps()
            changed = self._view is None or stamps != self._stamps
            if changed and (not self._stamps or stamps[0] != self._stamps[0]):
                self._saved, self._outcomes = load_batch(self.folder), {}
            if self._renew_outcomes() or changed or self._view is None:
                self._view = self._build()
                self._stamps = stamps  # taken before reading: what is written meanwhile is seen the next time
            return self._view

    def _take_stamps(self) -> tuple[Stamp, ...]:
        return tuple(
            stamp(self.folder / name)
            for name in (requests.NAME, book.NAME, f"store/{book.HANDED_OUT}", f"store/{ALIKE}")
        )

    def _renew_outcomes(self) -> bool:
        """Read again what became of uploads whose history has changed; say whether there was one."""
        uploads = self._saved.intake.uploads
        known = all(upload.id in self._outcomes for upload in uploads)
        if known and time.monotonic() - self._looked_at < LOOK_EVERY_S:
            return False
        self._looked_at = time.monotonic()
        folder, before = self._saved.request.submissions, self._outcomes
        now = {upload.id: stamp(folder / upload.id / history.NAME) for upload in uploads}
        self._outcomes = {
            u.id: before[u.id] if self._is_known(u, now) else (now[u.id], find_outcome(self._saved.request, u))
            for u in uploads
        }
        return self._outcomes != before

    def _is_known(self, upload: Upload, now: Mapping[str, Stamp]) -> bool:
        return upload.id in self._outcomes and self._outcomes[upload.id][0] == now[upload.id]

    def _build(self) -> ClassView:
        outcomes = {name: outcome for name, (_, outcome) in self._outcomes.items()}
        rulings, grades = settle_class(self._saved.request, self._saved.intake, outcomes)
        decisions = book.read_decisions(self.folder)
        dossiers = collect_dossiers(self._saved, grades, outcomes, rulings, decisions)
        return ClassView(
            request=self._saved.request,
            policy=rulings.policy,
            dossiers={dossier.code: dossier for dossier in dossiers},
            decisions=decisions,
            notes=rulings.notes,
            possible=rulings.overrides.possible,
            intake=rulings.intake,
            unwritten=max(0, len(decisions) - book.count_handed_out(self.folder)),
        )


def collect_dossiers(
    saved: SavedBatch,
    grades: Iterable[Grade],
    outcomes: Mapping[str, Outcome],
    rulings: Rulings,
    decisions: Sequence[Decision],
) -> list[Dossier]:
    """Collect what there is about each student, in the order of names."""
    known = NameIndex(list_students(saved.intake))
    attempts, about, held = defaultdict(list), defaultdict(list), defaultdict(list)
    for upload in sorted(saved.intake.uploads, key=lambda upload: (upload.attempt, upload.id)):
        attempts[upload.student.key].append(Attempt(upload, outcomes[upload.id]))
    for group in rulings.intake.groups:  # what one of them hands in counts for all
        shared = [attempt for member in group.members for attempt in attempts[member.key]]
        attempts.update((member.key, shared) for member in group.members)
    decisions = use_todays_keys(decisions, known)
    for decision, name in name_students(decisions):
        about[name].append(decision)
    for decision, name in name_students(list_in_force(decisions)):
        held[name].append(decision)
    changes = defaultdict[str, dict[str, Override]](dict)
    for override in rulings.overrides.entries:
        if override.kind is OverrideKind.CHECK:
            changes[override.student][override.target] = override
    alike = read_alike(saved)
    found = [
        Dossier(
            grade=grade,
            attempts=tuple(attempts[key]),
            decisions=tuple(about[key]),
            held=tuple(held[key]),
            overrides=changes[key],
            alike=alike.get(key, ()),
            earlier=frozenset(rulings.earlier.get(key, ())),
        )
        for grade in tell_apart(grades)
        for key in [grade.student.key]
    ]
    return sorted(found, key=lambda d: (d.grade.student.name.casefold(), d.grade.student.key))


def read_alike(saved: SavedBatch) -> dict[str, tuple[Student, ...]]:
    """Read with whom each student has similar code, by key; nothing where the outputs do not say."""
    authors = {upload.id: upload.student for upload in saved.intake.uploads}
    try:
        groups = json.loads((saved.request.folder / "store" / ALIKE).read_bytes())
        found = [{authors[i].key: authors[i] for i in group if i in authors} for group in groups]
    except (OSError, ValueError, TypeError):
        return {}
    return {key: tuple(s for k, s in group.items() if k != key) for group in found for key in group if len(group) > 1}


def name_students(decisions: Iterable[Decision]) -> Iterator[tuple[Decision, str]]:
    """Pair decisions about one student with the name that they give them; withdrawals with that of what they end."""
    names: dict[str, str] = {}
    for decision in decisions:
        matter = decision.matter
        name = names.get(matter.decision, "") if isinstance(matter, Withdrawal) else getattr(matter, "student", "")
        if name:
            names[decision.id] = name
            yield decision, name


def list_about(decisions: Iterable[Decision], student: Student) -> list[Decision]:
    """List the decisions about a student."""
    names = NameIndex([student])
    return [decision for decision, name in name_students(decisions) if names.find_recorded(name)]


def stamp(path: Path) -> Stamp:
    """Return what changes when a file does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
