"""A class's submissions, from a Canvas archive or a folder: who handed in what, and what cannot be graded.

Understood are, in a zip archive as in a folder: files under the names that Canvas gives them, what Moodle and
Gradescope export, one folder per student, and loose notebooks named after their authors; also the one archive of such a
class that lies in a folder or an archive. What is taken is stored once per content; nothing is executed and no notebook
is parsed here.

Decisions. An upload of somebody who is not on the roster is graded all the same and named in the notes: rosters are
older than late arrivals. A student with several notebooks has several uploads, in the order of Canvas's attachment
ids. Canvas's archive holds the latest attempt alone, so a student's files in it are one attempt; in a folder per
student each file is one, in the order of their names, but for the files of one archive. The notebooks in a zip archive
that a student handed in are that student's uploads; their `entry` is the archive's, under which Canvas takes feedback
back. Where all entries are anonymous nobody can be missing.

What one student hands in must not cost the others anything: bytes and notebooks are counted for each.
"""

import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Final

from grader.errors import GraderError
from grader.intake import unpacking
from grader.intake.canvas_names import CanvasName, EntryKind, format_owner, list_readings
from grader.intake.compression import may_hold_notebook, unpack_head
from grader.intake.file_kinds import (
    HAND_IN,
    HEAD_BYTES,
    LIKELY_NOTEBOOK,
    NOTEBOOK,
    OTHER_FORMATS,
    ZIP,
    explain_name,
    looks_like_notebook,
)
from grader.intake.other_platforms import (
    METADATA,
    SUBMISSION,
    OwnedFolder,
    Participant,
    Place,
    find_moodle_owner,
    list_groups,
    read_gradescope_owners,
    read_moodle_owners,
)
from grader.intake.roster import NameRegistry, Roster, find_alike, make_name_key, make_user_key, normalise_name, slugify
from grader.intake.unpacking import Bounds, FoundEntry, HashedFiles, RejectedEntry, RejectionError, SourceEntry
from grader.intake.uploads import Intake, Refusal, Student, Upload
from grader.text import join_first, sanitise

LOOSE: Final = re.compile(r"\.(?:zip|txt|json)$", re.IGNORECASE)  # what else may stand behind an author's name
LEVELS: Final = 2  # an archive in a student's archive is opened, one in that is not
USUAL: Final = Bounds()
ANONYMOUS: Final = "Some entries are anonymous: it is not known whose they are, nor who is missing."
LEFT_OUT: Final = "The files of Canvas's test student are left out."
REFUSED_BYTES_MAX: Final = 20 * 2**20  # of a refused file that is kept for staff
LOOKED_INTO_MAX: Final = 20  # archives that might hold a class; where there are more, each student has one
NAMED_MAX: Final = 5  # files in one note
TYPED: Final = {EntryKind.TEXT: "is text typed into Canvas", EntryKind.LINK: "is a link"}


@dataclass(frozen=True)
class Ownership:
    """A file and its owner. `inside` is the file's path in a student's own archive, or empty."""

    entry: str
    student: Student
    name: CanvasName
    inside: str = ""
    level: int = 0  # how many archives of the student it lies in
    at: datetime | None = None  # when it was handed in, where the source says so

    @property
    def file_name(self) -> str:
        """The file's path as its author knows it."""
        return self.inside or self.name.display_name


def read_class(
    source: Path,
    files: Path,
    roster: Sequence[Student] = (),
    bounds: Bounds = USUAL,
    apart_from: Path | None = None,
    test_students: Container[int | None] = frozenset(),
) -> Intake:
    """Read a Canvas archive (zip) or a folder, and store what can be graded in `files`. Raises GraderError.

    Args:
        apart_from: a folder of the grader, which holds `files` and may lie in the source.
        test_students: Canvas ids of nobody, whose files are left out.
    """
    reader = ArchiveReader(HashedFiles(files, bounds))
    known = Roster(roster)
    with ExitStack() as opened:
        listed = opened.enter_context(_open_source(source, apart_from or files, bounds))
        owners, inside = OwnerResolver(known), ClassInside(known, files, bounds)
        found = owners.resolve(inside.enter(listed, opened))
        owned = [(ownership, entry) for ownership, entry in found if ownership.student.canvas_id not in test_students]
        for ownership, entry in owned:
            reader.take(ownership, entry)
    uploads = tuple(_list_uploads(reader.taken))
    named = dict.fromkeys(ownership.student for ownership, _ in owned if ownership.name.anonymous_id is None)
    anonymous = any(ownership.name.anonymous_id is not None for ownership, _ in owned)
    present = {upload.student.key for upload in uploads}
    about = {**owners.notes, **dict(_write_notes_on_students(known, uploads, named))}
    return Intake(
        source=str(source),
        uploads=uploads,
        refusals=tuple(sorted(reader.refusals, key=lambda refusal: (refusal.entry, refusal.reason))),
        missing=() if anonymous and not named else tuple(s for s in known.students if s.key not in present),
        notes=(
            *about,
            *(ANONYMOUS,) * (anonymous and bool(known.students)),
            *(LEFT_OUT,) * (len(owned) < len(found)),
            *inside.notes,
            *_describe_left_out((*inside.beside, *owners.left_out)),
        ),
        concerns=about,
        groups=list_groups(owners.teams),
    )


def read_hand_in(folder: Path, files: Path, bounds: Bounds = USUAL) -> tuple[tuple[Upload, ...], tuple[Refusal, ...]]:
    """Read a folder in which one student's files lie, as they were handed in together. Raises GraderError.

    Returns the notebooks, which are stored in `files`, and what cannot be graded.
    """
    reader, student = ArchiveReader(HashedFiles(files, bounds)), Student(key="student", name="student")
    for entry in unpacking.list_folder(folder, bounds, files):
        reader.take(Ownership(entry.entry, student, _name_file("student", entry.parts[-1])), entry)
    return tuple(_list_uploads(reader.taken)), tuple(reader.refusals)


def locate_upload(files: Path, upload: Upload) -> Path:
    """Return the path of an upload's bytes."""
    return files / f"{upload.sha256}.ipynb"


@contextmanager
def _open_source(source: Path, apart_from: Path, bounds: Bounds) -> Iterator[list[SourceEntry]]:
    """List every entry of the source; they can be read as long as the block lives."""
    if source.is_dir():
        yield list(unpacking.list_folder(source.resolve(), bounds, apart_from.resolve()))
        return
    try:
        with source.open("rb") as stream, unpacking.open_archive(stream, bounds.entries) as archive:
            yield sorted(_list_archive(archive), key=lambda item: item.entry)
    except RejectionError as rejected:
        raise GraderError(f"{source} {rejected}; download the submissions from Canvas again.") from rejected
    except FileNotFoundError as error:
        raise GraderError(f"{source} does not exist; name the zip archive from Canvas or a folder.") from error
    except PermissionError as error:
        raise GraderError(f"{source} may not be read; check its permissions.") from error


def _list_archive(archive: zipfile.ZipFile) -> list[SourceEntry]:
    """List a zip archive. Where no name has a slash, backslashes stand for it, as older programs of Windows write."""
    infos = archive.infolist()
    names = [info.orig_filename for info in infos]
    if any("/" in name for name in names):
        return list(unpacking.list_archive(archive))
    try:
        for info, name in zip(infos, names, strict=True):
            info.orig_filename = name.replace("\\", "/")
        return list(unpacking.list_archive(archive))
    finally:  # a file is opened only if it has the same name where its bytes stand
        for info, name in zip(infos, names, strict=True):
            info.orig_filename = name


class ClassInside:
    """A class's archive that lies in a folder or another archive, with a list of grades, say, beside it.

    One student must not make a class of nothing: with other hand-ins beside it, it is opened as a student's, and noted.
    """

    def __init__(self, roster: Roster, files: Path, bounds: Bounds) -> None:
        self.notes: list[str] = []
        self.beside: list[str] = []  # what nobody handed in
        self._roster = roster
        whole = {"nested_bytes": bounds.total_bytes, "student_bytes": bounds.total_bytes}
        self._storage = HashedFiles(files, replace(bounds, nested_entries=bounds.entries, **whole))

    def enter(self, listed: list[SourceEntry], opened: ExitStack) -> list[SourceEntry]:
        """Return the entries of the class, which can be read until `opened` ends. Raises GraderError."""
        handed_in = [entry for entry in listed if _may_be_handed_in(entry.parts[-1])]
        archives = [entry for entry in handed_in if isinstance(entry, FoundEntry) and self._may_hold_class(entry)]
        looked_into = archives if len(archives) <= LOOKED_INTO_MAX else []
        classes = {entry.entry: inner for entry in looked_into if (inner := self._list_class(entry, opened))}
        names = [f"'{sanitise(name)}'" for name in classes]
        if not classes or len(classes) < len(handed_in) or not _lie_around(listed, archives[0]):
            said = "looks like the submissions of a whole class, and lies beside those of others: it is taken for one"
            self.notes += [f"{name} {said} student's. If it is a class, name that file itself." for name in names]
            return listed
        if len(classes) > 1:
            raise GraderError(
                f"Expected the submissions of one class, found several in {' and '.join(names)}; name one."
            )
        self.notes.append(f"The submissions are those in {names[0]}.")
        self.beside += [entry.entry for entry in listed if entry.entry not in classes]
        return classes[archives[0].entry]

    def _may_hold_class(self, entry: FoundEntry) -> bool:
        """Return True for a zip archive that no name gives to a student."""
        name = entry.parts[-1]
        named = list_readings(name) or find_moodle_owner(entry.parts)
        words = (entry.parts[0], Path(name).stem)
        return name.lower().endswith(".zip") and not named and not any(map(self._roster.find, words))

    def _list_class(self, entry: FoundEntry, opened: ExitStack) -> list[SourceEntry]:
        with suppress(RejectionError), ExitStack() as mine:
            archive = mine.enter_context(self._storage.open_nested(entry, "class"))
            found = sorted(_list_archive(archive), key=lambda item: item.entry)
            people = {owner for item in found if (owner := find_moodle_owner(item.parts))}
            exported = any(item.parts[-1] == METADATA for item in found)
            if len(people) > 1 or exported or _find_canvas_folders(found):
                opened.push(mine.pop_all())
                return found
        return []


def _lie_around(entries: Iterable[SourceEntry], inner: SourceEntry) -> bool:
    """Return True if none of the files lies in a folder of its own, beside the one that is meant."""
    return all(inner.parts[: len(entry.parts) - 1] == entry.parts[:-1] for entry in entries)


def _strip_wrapper(entries: Sequence[SourceEntry], roster: Roster) -> Sequence[SourceEntry]:
    """Leave out the one folder that holds all hand-ins, which packing makes, unless it is called after a student."""
    places = [item.parts for item in entries if _may_be_handed_in(item.parts[-1])]
    tops = {parts[0] for parts in places}
    deep = all(len(parts) > 1 for parts in places)
    if len(tops) != 1 or not deep or len(places) < 2 or roster.find(next(iter(tops))):
        return entries
    return [replace(item, parts=item.parts[1:]) if item.parts[0] in tops else item for item in entries]


def _may_be_handed_in(name: str) -> bool:
    return LIKELY_NOTEBOOK.search(name) is not None or name.lower().endswith(".zip") or bool(list_readings(name))


class OwnerResolver:
    """The owner of each file, by the names that Canvas or a student gave it."""

    def __init__(self, roster: Roster) -> None:
        self.notes: dict[str, str] = {}  # each with the name of the student whom it is about
        self.left_out: list[str] = []  # files that nobody handed in
        self.teams: list[tuple[Student, ...]] = []  # students who handed in together, as the source names them
        self._roster = roster
        self._strangers: dict[tuple[str, str], Student] = {}  # by how they were named -> the same student each time
        self._keys = NameRegistry()
        self._plain: set[int | None] = set()  # users whom some entry names in its first reading
        self._alike: frozenset[str] = frozenset()  # names of strangers that would get the same key
        for student in roster.students:
            # Under the name alone one of several who have it was known to earlier versions: it is nobody else's.
            for key in dict.fromkeys((student.key, make_user_key(student.name, student.canvas_id))):
                self._keys.take(key)

    def resolve(self, entries: Sequence[SourceEntry]) -> list[tuple[Ownership, SourceEntry]]:
        """Return every entry with its owner. A folder with files of several Canvas users is no student's folder."""
        if owners := read_moodle_owners(entries, [item for item in entries if _may_be_handed_in(item.parts[-1])]):
            return [*self._find_in_moodle(entries, owners), *self._resolve_others(entries, owners)]
        if folders := read_gradescope_owners(entries, [e for e in entries if _may_be_handed_in(e.parts[-1])]):
            theirs = [item for item in entries if _find_place(item, folders) is not None]
            others = self._resolve_others(entries, {item.entry for item in theirs})
            return [*self._find_in_gradescope(theirs, folders), *others]
        return self._resolve_names(_strip_wrapper(entries, self._roster))

    def _resolve_others(
        self, entries: Sequence[SourceEntry], theirs: Collection[str]
    ) -> list[tuple[Ownership, SourceEntry]]:
        """Return with their owners what lies beside the folders of a platform and looks handed in. Note the rest."""
        within = next(item.parts for item in entries if item.entry in theirs)
        others = [_strip_common(item, within) for item in entries if item.entry not in theirs]
        handed_in = [i for i in others if _may_be_handed_in(i.parts[-1]) or SUBMISSION.fullmatch(i.parts[0])]
        self._leave_out(item for item in others if item not in handed_in and item.parts[-1] != METADATA)
        return self._resolve_names(handed_in)

    def _leave_out(self, entries: Iterable[SourceEntry]) -> None:
        self.left_out += [item.entry for item in entries]

    def _resolve_names(self, entries: Sequence[SourceEntry]) -> list[tuple[Ownership, SourceEntry]]:
        flat = _find_canvas_folders(entries)
        strange = [item for item in entries if item.parts[:-1] in flat and self._is_strange(item)]
        self._leave_out(strange)
        entries = [item for item in entries if item not in strange]
        self._alike = find_alike({_derive_owner_name(item, item.parts[:-1] in flat) for item in entries})
        self._plain = {found[0].user_id for item in entries if (found := list_readings(item.parts[-1]))}
        return [(self._find_owner(item, item.parts[:-1] in flat), item) for item in entries]

    def _is_strange(self, item: SourceEntry) -> bool:
        """Return True if nobody handed in what lies among Canvas's files: a list of grades, say."""
        return not (_may_be_handed_in(item.parts[-1]) or self._roster.find(Path(item.parts[-1]).stem))

    def _find_owner(self, item: SourceEntry, flat: bool) -> Ownership:
        name = item.parts[-1]
        if (flat or len(item.parts) == 1) and (found := list_readings(name)):
            named = self._choose_likeliest(found)
            return Ownership(item.entry, self._find_user(named), named)
        owner = _derive_owner_name(item, flat)
        key = make_name_key(owner, unique=owner not in self._alike)
        student = self._roster.find(owner) or self._add_stranger("name", owner, key, owner, None)
        return Ownership(item.entry, student, _name_file(owner, name))

    def _find_in_moodle(
        self, entries: Iterable[SourceEntry], owners: Mapping[str, tuple[Participant, str]]
    ) -> Iterator[tuple[Ownership, SourceEntry]]:
        people = dict.fromkeys(owner for owner, _ in owners.values())
        found = self._find_participants(list(people))
        for item in entries:
            if item.entry in owners:
                owner, file = owners[item.entry]
                yield Ownership(item.entry, found[owner], _name_file(owner.name, file)), item

    def _find_participants(self, people: Sequence[Participant]) -> dict[Participant, Student]:
        """Find the students by number, or else by a name that is nobody else's in the archive."""
        found = {p: student for p in people if (student := self._find_numbered(p))}
        plain = {p: student for p in people if p not in found and (student := self._roster.find_by_any(p.words))}
        behind = {p: s for p in people if p not in found and p not in plain and (s := self._find_behind_group(p))}
        claims = Counter(student.key for student in (*found.values(), *plain.values()))
        claims_behind = claims + Counter(student.key for student in behind.values())
        named = Counter(p.name for p in people)
        for person in (p for p in people if p not in found):
            student = plain.get(person) or behind.get(person)
            if student is None or (claims if person in plain else claims_behind)[student.key] > 1:
                name = f"{person.name} {person.number}" if named[person.name] > 1 else person.name
                student = self._add_participant(person, name)
            elif person in behind:
                said = f"The files of '{sanitise(person.name)}' count for {sanitise(student.name)}"
                self.notes[f"{said}: the name of a group stands in front."] = student.name
            found[person] = student
        return found

    def _find_numbered(self, person: Participant) -> Student | None:
        return self._roster.find_participant(person.number, (person.name, *person.behind_groups))

    def _find_behind_group(self, person: Participant) -> Student | None:
        return next((student for name in person.behind_groups if (student := self._roster.find(name))), None)

    def _find_in_gradescope(
        self, entries: Iterable[SourceEntry], folders: Mapping[Place, OwnedFolder]
    ) -> Iterator[tuple[Ownership, SourceEntry]]:
        """Yield the files that somebody handed in; the first of those who did so together has them."""
        teams = {place: tuple(map(self._find_participant, folder.owners)) for place, folder in folders.items()}
        self.teams = list(teams.values())
        for item in entries:
            if (place := _find_place(item, folders)) is not None:
                owner, name = teams[place][0], _name_file(place[-1], item.parts[-1])
                yield Ownership(item.entry, owner, name, at=folders[place].at), item

    def _find_participant(self, person: Participant) -> Student:
        return self._roster.find_by_any(person.words) or self._add_participant(person, person.name)

    def _add_participant(self, person: Participant, name: str) -> Student:
        key = make_name_key(person.key, unique=True)
        return self._add_stranger("participant", person.key, key, name, None)

    def _choose_likeliest(self, found: tuple[CanvasName, ...]) -> CanvasName:
        """Return the first reading whose user is in the class, a later one only if nobody else is that user for sure.

        An author chooses the end of a file's name, which may look like somebody else's.
        """
        first, *later = found
        possible = (r for r in later if self._roster.has(r.user_id) and r.user_id not in self._plain)
        return first if self._roster.has(first.user_id) else next(possible, first)

    def _find_user(self, named: CanvasName) -> Student:
        if named.anonymous_id is not None:
            key = f"anon_{slugify(named.anonymous_id)}"
            return self._add_stranger("anonymous", named.anonymous_id, key, f"anonymous {named.anonymous_id}", None)
        if student := self._roster.find(named.owner, named.user_id):
            self._note_other_name(named, student)
            return student
        key = make_user_key(named.owner, named.user_id)
        return self._add_stranger("user", str(named.user_id), key, named.owner, named.user_id)

    def _note_other_name(self, named: CanvasName, student: Student) -> None:
        note = (
            f"The files of '{sanitise(named.owner)}' carry the user id of {sanitise(student.name)} and "
            "count for that student: the entry of a group, or a name that changed."
        )
        if normalise_name(format_owner(student.name)) != normalise_name(named.owner):
            self.notes[note] = student.name

    def _add_stranger(self, how: str, identity: str, key: str, name: str, canvas_id: int | None) -> Student:
        if (how, identity) not in self._strangers:
            student = Student(key=self._keys.take(key), name=name, canvas_id=canvas_id)
            self._strangers[how, identity] = student
        return self._strangers[how, identity]


def _find_place(item: SourceEntry, folders: Container[Place]) -> Place | None:
    """Return the folder in which a file lies, of those that somebody handed in."""
    return next((item.parts[:depth] for depth in range(len(item.parts)) if item.parts[:depth] in folders), None)


def _strip_common(item: SourceEntry, within: Place) -> SourceEntry:
    """Leave out the folders in which both this file and the class lie."""
    pairs = zip(item.parts[:-1], within, strict=False)
    return replace(item, parts=item.parts[sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)) :])


def _name_file(owner: str, file: str) -> CanvasName:
    """Name a file that Canvas did not name."""
    return CanvasName(owner, None, None, False, EntryKind.FILE, None, file)


def _derive_owner_name(item: SourceEntry, flat: bool) -> str:
    """Return the name of the student's folder, or the file's own."""
    return item.parts[0] if len(item.parts) > 1 and not flat else LOOSE.sub("", LIKELY_NOTEBOOK.sub("", item.parts[-1]))


def _find_canvas_folders(entries: Iterable[SourceEntry]) -> set[tuple[str, ...]]:
    users: defaultdict[tuple[str, ...], set[object]] = defaultdict(set)
    for item in entries:
        for reading in list_readings(item.parts[-1])[:1]:
            users[item.parts[:-1]].add(reading.user_id or reading.anonymous_id)
    return {folder for folder, found in users.items() if len(found) > 1}


@dataclass
class ArchiveReader:
    """The files taken and refused in one reading of a source."""

    storage: HashedFiles
    taken: list[tuple[Ownership, str]] = field(default_factory=list)  # with the SHA-256
    refusals: list[Refusal] = field(default_factory=list)
    notebooks: Counter[str] = field(default_factory=Counter)  # by student

    def take(self, owned: Ownership, entry: SourceEntry) -> None:
        """Store one entry, or note why it cannot be graded. Raises GraderError."""
        try:
            if isinstance(entry, RejectedEntry):
                raise RejectionError(f"{entry.reason}; {HAND_IN}")
            if _is_archive(owned, entry):
                self._unpack(owned, entry)
            else:
                _require_notebook(owned, entry)
                self._keep(owned, entry)
        except RejectionError as rejected:
            reason, number = f"'{sanitise(owned.file_name)}' {rejected}.", owned.name.attachment_id
            refusal = Refusal(entry=owned.entry, reason=reason, student=owned.student, attachment_id=number)
            self.refusals.append(refusal.model_copy(update={"sha256": self._keep_refused(owned, entry)}))

    def _keep_refused(self, owned: Ownership, entry: SourceEntry) -> str:
        """Store a refused file for staff to look at, and return its hash; nothing where it cannot be read."""
        if isinstance(entry, RejectedEntry):
            return ""
        with suppress(RejectionError):
            return self.storage.keep(entry, owned.student.key, REFUSED_BYTES_MAX)
        return ""

    def _keep(self, owned: Ownership, found: FoundEntry) -> None:
        self._count(owned)
        self.taken.append((owned, self.storage.keep(found, owned.student.key)))

    def _count(self, owned: Ownership) -> None:
        """Count a notebook, or an archive in an archive, which may hold as many files again."""
        self.notebooks[owned.student.key] += 1
        most = self.storage.bounds.student_notebooks
        if self.notebooks[owned.student.key] > most:
            raise RejectionError(f"is one of more than {most} notebooks; hand in one")

    def _unpack(self, owned: Ownership, found: FoundEntry) -> None:
        """Take the notebooks in an archive that a student handed in."""
        if owned.level:
            self._count(owned)
        before = len(self.taken), len(self.refusals)
        with self.storage.open_nested(found, owned.student.key) as archive:
            for entry in _choose_entries(_list_archive(archive)):
                name = "/".join((*filter(None, (owned.inside,)), *entry.parts))
                self.take(replace(owned, inside=name, level=owned.level + 1), entry)
        if (len(self.taken), len(self.refusals)) == before:
            raise RejectionError(f"is a zip archive without a notebook; {HAND_IN}")


def _choose_entries(entries: list[SourceEntry]) -> list[SourceEntry]:
    """Return what may be handed in of an archive. Odd names count where no file has the name of a notebook."""
    named = [entry for entry in entries if NOTEBOOK.search(entry.parts[-1])]
    others = [entry for entry in entries if entry not in named]
    return named + [
        entry
        for entry in others
        if isinstance(entry, RejectedEntry)
        or entry.parts[-1].lower().endswith(".zip")
        or (not named and may_hold_notebook(entry))
    ]


def _is_archive(owned: Ownership, entry: FoundEntry) -> bool:
    """Return True for a zip archive, by its name or else by its first bytes. Raises RejectionError."""
    if owned.name.kind is not EntryKind.FILE or owned.level >= LEVELS:
        return False
    suffix = Path(owned.file_name).suffix.lower()
    return suffix == ".zip" or (suffix not in OTHER_FORMATS and unpacking.read_head(entry, len(ZIP)) == ZIP)


def _require_notebook(owned: Ownership, entry: FoundEntry) -> None:
    """Refuse what is none by name and content. The whole content is judged when it is parsed. Raises RejectionError."""
    name = owned.file_name
    if owned.name.kind is not EntryKind.FILE:
        raise RejectionError(f"{TYPED[owned.name.kind]}; {HAND_IN}")
    if unpacking.is_junk((name.rpartition("/")[2],)):
        raise RejectionError(f"is a hidden file that a computer keeps for itself; {HAND_IN}")
    if NOTEBOOK.search(name) or looks_like_notebook(unpack_head(unpacking.read_head(entry, HEAD_BYTES))):
        return
    if kind := explain_name(Path(name).suffix.lower()):
        raise RejectionError(kind)
    if not LIKELY_NOTEBOOK.search(name):
        raise RejectionError(f"is no notebook; {HAND_IN}")


def _list_uploads(taken: Iterable[tuple[Ownership, str]]) -> Iterator[Upload]:
    """Order what was taken by student and attachment, with ids that stay the same when it is read again."""
    names = NameRegistry()
    attempts: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by student: what was handed in together -> number
    for owned, sha256 in sorted(taken, key=_order):
        key, attachment_id = owned.student.key, owned.name.attachment_id
        together = "" if attachment_id is not None else owned.entry
        yield Upload(
            id=names.take(key if attachment_id is None else f"{key}_{attachment_id}"),
            student=owned.student,
            entry=owned.entry,
            display_name=owned.file_name.rpartition("/")[2],
            sha256=sha256,
            late=owned.name.late,
            attachment_id=attachment_id,
            submitted_at=owned.at,
            is_own_time=owned.at is not None,
            attempt=attempts[key].setdefault(together, len(attempts[key]) + 1),
        )


def _order(taken: tuple[Ownership, str]) -> tuple[str, int, str, str]:
    owned, _ = taken
    return owned.student.key, owned.name.attachment_id or 0, owned.entry, owned.inside


def _describe_left_out(entries: Sequence[str]) -> Iterator[str]:
    """Name what lies beside the submissions and is none."""
    if entries:
        names = join_first([f"'{sanitise(entry)}'" for entry in entries], NAMED_MAX)
        yield f"Left out, because they lie beside the submissions and nobody handed them in: {names}."


def _write_notes_on_students(
    roster: Roster, uploads: Sequence[Upload], named: Iterable[Student]
) -> Iterator[tuple[str, str]]:
    """Yield notes on students with several notebooks, and on people who are not on the roster, each with the name."""
    for student, count in Counter(upload.student for upload in uploads).items():
        if count > 1:
            yield f"{sanitise(student.name)} handed in {count} notebooks.", student.name
    known = {student.key for student in roster.students}
    for student in named if known else ():
        if student.key not in known:
            yield f"{sanitise(student.name)} handed in work and is not on the roster.", student.name
