"""What a class holds once another source is read into its folder: whom it adds, who stays, under which key.

Decisions. A source may hold a part of the class, as the zip of one late student does: who handed in before and is not
in it stays, with the files of then. A source in which nobody is of the class is another class's, and is not taken: it
would be graded by the rules and the gradebook of this one. A student whose key changed, because a list of students came
later or a file of nearly the same name, keeps the old one as an alias, under which decisions are found.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from grader.errors import GraderError
from grader.intake.roster import AmbiguousName, NameRegistry, Roster
from grader.intake.uploads import Group, Intake, Refusal, Student, Upload
from grader.text import join_first, sanitise

NAMED_MAX: Final = 10  # students in one note
Mark = tuple[str, object]  # what tells a file, or a student, again


def continue_class(
    intake: Intake, before: Intake, roster: Sequence[Student], folder: Path, nobody: Container[int | None] = frozenset()
) -> Intake:
    """Return what a class holds that held `before` and gets a new source. Raises GraderError.

    Args:
        roster: the students on the class's list, as it is now.
        nobody: Canvas ids of test students, of whom nothing stays.
    """
    today = _find_today(intake, before, roster)
    _require_same_class(intake, before, today, roster, folder)
    intake, today = _keep_keys(intake, before, today)
    present = {student.key for student in _list_authors(intake)}
    gone = [s for s in _list_authors(before) if today.get(s.key, s).key not in present and s.canvas_id not in nobody]
    return _Remainder(before, {student.key: today.get(student.key, student) for student in gone}).add_to(intake)


def _find_today(intake: Intake, before: Intake, roster: Sequence[Student]) -> dict[str, Student]:
    """Return who the students of before are today, by the key of then: by their files, their keys, or the list."""
    students = {student.key: student for student in _list_students(intake)}
    marks = {mark: student for student in students.values() for mark in _mark_student(student)}
    files, listed, today = _find_by_files(intake, before), Roster(roster), dict[str, Student]()
    for student in _list_students(before):
        named = (marks[mark] for mark in _mark_student(student) if mark in marks)
        if found := files.get(student.key) or next(named, None) or _find_on_list(student, listed):
            today[student.key] = students.get(found.key, found)
    return today


def _find_by_files(intake: Intake, before: Intake) -> dict[str, Student]:
    """Return the one who has today all that is left of what a student handed in before, by the key of then."""
    owners = {mark: author for item, author in _list_items(intake) for mark in _mark_file(item)}
    found = defaultdict[str, dict[str, Student]](dict)
    for item, author in _list_items(before):
        found[author.key] |= {owners[mark].key: owners[mark] for mark in _mark_file(item) if mark in owners}
    return {key: next(iter(today.values())) for key, today in found.items() if len(today) == 1}


def _find_on_list(student: Student, listed: Roster) -> Student | None:
    with suppress(AmbiguousName):  # a number for a name: then nothing tells who it is
        return listed.find(student.name, student.canvas_id)
    return None


def _require_same_class(
    intake: Intake, before: Intake, today: Mapping[str, Student], roster: Iterable[Student], folder: Path
) -> None:
    """Raise GraderError if nobody in the source is of the class, which are those of before and a list with any of them.

    Those who were only on the list of before are of the class as well: they may be late.
    """
    then, now = _list_authors(before), _list_authors(intake)
    known, listed = {student.key for student in today.values()}, {student.key for student in roster}
    if any(student.key in today and today[student.key].key in listed for student in then):
        known |= listed
    if then and not any(student.key in known for student in now):
        raise GraderError(
            f"{intake.source} belongs to another class: expected files of anybody in {folder}, where "
            f"{_count(then)} handed in ({_format_names(then)}); found those of {_count(now)} ({_format_names(now)}). "
            "Name a new folder with OUT= (--out); for late students of this class, name a GRADEBOOK that lists all, "
            "or the zip of all."
        )


def _keep_keys(intake: Intake, before: Intake, today: Mapping[str, Student]) -> tuple[Intake, dict[str, Student]]:
    """Give the students the keys of earlier runs as aliases, unless one is somebody's key or would be two students'."""
    taken = {student.key for student in _list_students(intake)}
    earlier = [(today[s.key].key, alias) for s in _list_students(before) if s.key in today for alias in _list_keys(s)]
    claims = Counter(alias for _, alias in dict.fromkeys(earlier))
    aliases = defaultdict[str, list[str]](list)
    for key, alias in dict.fromkeys(earlier):
        if alias not in taken and claims[alias] == 1:
            aliases[key].append(alias)

    def name(student: Student) -> Student:
        return student.model_copy(update={"aliases": tuple(sorted(aliases[student.key]))})

    return _rename(intake, {s.key: name(s) for s in _list_students(intake)}), {k: name(s) for k, s in today.items()}


@dataclass(frozen=True)
class _Remainder:
    """Those who handed in before and are not in the new source: the key of then, and the student of today."""

    before: Intake
    students: Mapping[str, Student]

    def add_to(self, intake: Intake) -> Intake:
        """Return the intake with what they handed in, and a note."""
        if not self.students:
            return intake
        uploads, refusals = self._list_uploads(intake), self._list_refusals()
        graded = {upload.student.key for upload in uploads}
        names = {student.name for student in _list_authors(self.before) if student.key in self.students}
        concerns = {note: name for note, name in self.before.concerns.items() if name in names}
        people = _format_names(list(self.students.values()))
        note = (
            f"In the class from before and not in this source: {_count(self.students)} ({people}). "
            "Their files and grades stay; OUT=folder (--out) makes a class without them."
        )
        update = {
            "uploads": (*intake.uploads, *uploads),
            "refusals": (*intake.refusals, *refusals),
            "missing": tuple(student for student in intake.missing if student.key not in graded),
            "groups": (*intake.groups, *self._list_groups(intake)),
            "notes": tuple(dict.fromkeys((note, *intake.notes, *concerns))),
            "concerns": {**concerns, **intake.concerns},
        }
        return intake.model_copy(update=update)

    def _list_uploads(self, intake: Intake) -> list[Upload]:
        ids = NameRegistry()
        for upload in intake.uploads:
            ids.take(upload.id)
        mine = [upload for upload in self.before.uploads if upload.student.key in self.students]
        return [u.model_copy(update={"id": ids.take(u.id), "student": self.students[u.student.key]}) for u in mine]

    def _list_refusals(self) -> list[Refusal]:
        mine = [(r, self.students.get(r.student.key)) for r in self.before.refusals if r.student]
        return [refusal.model_copy(update={"student": student}) for refusal, student in mine if student]

    def _list_groups(self, intake: Intake) -> list[Group]:
        """List the groups of which nobody is in the new source."""
        present = {student.key for student in _list_authors(intake)}
        present |= {member.key for group in intake.groups for member in group.members}
        found = []
        for group in self.before.groups:
            members = tuple(self.students.get(member.key, member) for member in group.members)
            if present.isdisjoint(m.key for m in members) and any(m.key in self.students for m in group.members):
                found.append(group.model_copy(update={"members": members}))
        return found


def _list_items(intake: Intake) -> Iterator[tuple[Upload | Refusal, Student]]:
    yield from ((upload, upload.student) for upload in intake.uploads)
    yield from ((refusal, refusal.student) for refusal in intake.refusals if refusal.student)


def _list_authors(intake: Intake) -> list[Student]:
    """List those who handed in anything."""
    return list({student.key: student for _, student in _list_items(intake)}.values())


def _list_students(intake: Intake) -> list[Student]:
    members = (member for group in intake.groups for member in group.members)
    return list({s.key: s for s in (*members, *intake.missing, *_list_authors(intake))}.values())


def _list_keys(student: Student) -> tuple[str, ...]:
    return student.key, *student.aliases


def _mark_file(item: Upload | Refusal) -> Iterator[Mark]:
    """Yield what tells a file again: its name in the source, or the content under a number of Canvas's."""
    yield "entry", item.entry
    if item.attachment_id is not None and item.sha256:
        yield "attachment", (item.attachment_id, item.sha256)


def _mark_student(student: Student) -> Iterator[Mark]:
    yield from (("key", key) for key in _list_keys(student))
    if student.canvas_id is not None:
        yield "canvas", student.canvas_id


def _rename(intake: Intake, students: Mapping[str, Student]) -> Intake:
    """Return the intake with other descriptions of its students, by their keys."""

    return intake.model_copy(
        update={
            "uploads": tuple(u.model_copy(update={"student": students[u.student.key]}) for u in intake.uploads),
            "refusals": tuple(
                r.model_copy(update={"student": students[r.student.key]}) if r.student else r for r in intake.refusals
            ),
            "missing": tuple(students[student.key] for student in intake.missing),
            "groups": tuple(
                group.model_copy(update={"members": tuple(students[member.key] for member in group.members)})
                for group in intake.groups
            ),
        }
    )


def _count(students: Sized) -> str:
    return f"{len(students)} student{'s' * (len(students) != 1)}"


def _format_names(students: Sequence[Student]) -> str:
    return join_first(sorted(sanitise(student.name) for student in students), NAMED_MAX, "; ")
