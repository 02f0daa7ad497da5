"""A class's submissions, from a Canvas archive or a folder: who handed in what, and what cannot be graded.

Three shapes are understood, in a zip archive as in a folder: files under the names that Canvas gives them, one folder
per student, loose notebooks named after their authors. What is taken is stored once per content; nothing is executed
and no notebook is parsed here.

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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from grader.errors import GraderError
from grader.intake.canvas_names import CanvasName, EntryKind, format_owner, list_readings
from grader.intake.notebook import HAND_IN
from grader.intake.roster import (
    NameRegistry,
    Roster,
    find_alike,
    make_canvas_key,
    make_name_key,
    normalise_name,
    slugify,
)
from grader.intake.unpacking import (
    Bounds,
    FoundEntry,
    Quota,
    RejectedEntry,
    RejectionError,
    copy,
    is_junk,
    keep,
    list_archive,
    list_folder,
    open_archive,
    open_temporary_file,
    require_few_entries,
)
from grader.intake.uploads import Intake, Refusal, Student, Upload
from grader.text import sanitise

NOTEBOOK: Final = re.compile(r"\.ipynb(\.txt|\.json)?$", re.IGNORECASE)  # browsers add the second suffix
OTHER_FILES: Final = {
    ".py": "is a Python script",
    ".html": "is a web page",
    ".htm": "is a web page",
    ".pdf": "is a PDF",
    ".docx": "is a Word document",
    ".rar": "is a rar archive",
    ".7z": "is a 7z archive",
    ".gz": "is a gz archive",
    ".tar": "is a tar archive",
}
TYPED: Final = {EntryKind.TEXT: "is text typed into Canvas", EntryKind.LINK: "is a link"}


@dataclass(frozen=True)
class Ownership:
    """A file and whose it is. `inside` is its path in a student's own archive, or empty."""

    entry: str
    student: Student
    display_name: str
    late: bool = False
    attachment_id: int | None = None
    kind: EntryKind = EntryKind.FILE
    anonymous: bool = False
    inside: str = ""


@dataclass(frozen=True)
class Entry:
    """One entry of the source with its owner: to be taken, or refused for a reason known before reading."""

    ownership: Ownership
    file: FoundEntry | RejectedEntry


@dataclass
class ArchiveReader:
    """What one reading of a source gathers."""

    files: Path
    quota: Quota
    taken: list[tuple[Ownership, str]] = field(default_factory=list)  # with the SHA-256
    refusals: list[Refusal] = field(default_factory=list)
    notebooks: Counter[str] = field(default_factory=Counter)  # by student

    def take(self, owned: Ownership, looked: FoundEntry) -> None:
        """Store a notebook. Raises Rejected, GraderError."""
        self.notebooks[owned.student.key] += 1
        most = self.quota.bounds.student_notebooks
        if self.notebooks[owned.student.key] > most:
            raise RejectionError(f"is one of more than {most} notebooks; hand in one")
        self.taken.append((owned, keep(looked, self.files, self.quota, owned.student.key)))

    def refuse(self, owned: Ownership, reason: str) -> None:
        """Note one file that cannot be graded; `reason` is a sentence without its subject."""
        name = sanitise(owned.inside or owned.display_name)
        sentence = f"'{name}' {reason}."
        self.refusals.append(
            Refusal(entry=owned.entry, reason=sentence, student=owned.student, attachment_id=owned.attachment_id)
        )


def read_class(
    source: Path,
    files: Path,
    roster: Sequence[Student] = (),
    bounds: Bounds | None = None,
    apart_from: Path | None = None,
) -> Intake:
    """Read a Canvas archive (zip) or a folder, and store what can be graded in `files`. Raises GraderError.

    apart_from: a folder of our own, which holds `files` and may lie in the source.
    """
    desk = ArchiveReader(files, Quota(bounds or Bounds()))
    known = Roster(roster)
    with _open_source(source, apart_from or files, desk.quota.bounds) as looked:
        owners = OwnerResolver(known)
        pieces = owners.resolve(_strip_wrapper(looked, lambda name: known.find(name) is not None))
        for piece in pieces:
            _take(piece, desk, unpack=True)
    uploads = _uploads(desk.taken)
    return Intake(
        source=str(source),
        uploads=uploads,
        refusals=tuple(sorted(desk.refusals, key=lambda refusal: (refusal.entry, refusal.reason))),
        missing=_find_missing(known, uploads, pieces),
        notes=(*owners.notes, *_notes(known, uploads, pieces)),
    )


def locate_upload(files: Path, upload: Upload) -> Path:
    """Where the bytes of an upload are."""
    return files / f"{upload.sha256}.ipynb"


@contextmanager
def _open_source(source: Path, ours: Path, bounds: Bounds) -> Iterator[list[FoundEntry | RejectedEntry]]:
    """Every entry of the source; they can be read as long as the block lives."""
    if source.is_dir():
        yield list(list_folder(source.resolve(), bounds, apart_from=ours.resolve()))
        return
    try:
        with open_archive(source, bounds.entries) as archive:
            yield sorted(list_archive(archive), key=lambda item: item.entry)
    except RejectionError as rejected:
        raise GraderError(f"{source} {rejected}; download the submissions from Canvas again.") from rejected
    except FileNotFoundError as error:
        raise GraderError(f"{source} does not exist; name the zip archive from Canvas or a folder.") from error
    except PermissionError as error:
        raise GraderError(f"{source} may not be read; check its permissions.") from error


def _strip_wrapper(
    looked: list[FoundEntry | RejectedEntry], is_student: Callable[[str], bool]
) -> list[FoundEntry | RejectedEntry]:
    """The entries without the one folder that holds all hand-ins, which packing makes. It is called after nobody."""
    places = [item.parts for item in looked if _may_be_handed_in(item.parts[-1])]
    tops = {parts[0] for parts in places}
    deep = all(len(parts) > 1 for parts in places)
    if len(tops) != 1 or not deep or len(places) < 2 or is_student(*tops):
        return looked
    return [replace(item, parts=item.parts[1:]) if item.parts[0] in tops else item for item in looked]


def _may_be_handed_in(name: str) -> bool:
    return NOTEBOOK.search(name) is not None or name.lower().endswith(".zip") or bool(list_readings(name))


class OwnerResolver:
    """Tells whose each file is."""

    def __init__(self, roster: Roster) -> None:
        self.notes: list[str] = []
        self._roster = roster
        self._strangers: dict[tuple[str, str], Student] = {}  # by how they were named -> the same student each time
        self._keys = NameRegistry()
        self._plain: set[int | None] = set()  # users whom some entry names in its first reading
        self._alike: frozenset[str] = frozenset()  # names of strangers that would get the same key
        for student in roster.students:
            self._keys.take(student.key)

    def resolve(self, looked: Sequence[FoundEntry | RejectedEntry]) -> list[Entry]:
        """Every entry with its owner. A folder with files of several Canvas users is no student's folder."""
        flat = _canvas_folders(looked)
        self._alike = find_alike({_derive_owner_name(item, item.parts[:-1] in flat) for item in looked})
        self._plain = {found[0].user_id for item in looked if (found := list_readings(item.parts[-1]))}
        return [Entry(self._find_owner(item, item.parts[:-1] in flat), item) for item in looked]

    def _find_owner(self, item: FoundEntry | RejectedEntry, flat: bool) -> Ownership:
        name = item.parts[-1]
        if (flat or len(item.parts) == 1) and (found := list_readings(name)):
            return self._find_canvas_owner(item, self._choose_likeliest(found))
        return Ownership(item.entry, self._find_by_name(_derive_owner_name(item, flat)), name)

    def _choose_likeliest(self, found: tuple[CanvasName, ...]) -> CanvasName:
        """The first reading whose user is in the class. Later ones only where nobody else is that user for sure.

        An author chooses the end of a file's name, which may look like somebody else's.
        """
        first, *later = found
        possible = (r for r in later if self._roster.has(r.user_id) and r.user_id not in self._plain)
        return first if self._roster.has(first.user_id) else next(possible, first)

    def _find_canvas_owner(self, item: FoundEntry | RejectedEntry, named: CanvasName) -> Ownership:
        return Ownership(
            entry=item.entry,
            student=self._user(named),
            display_name=named.display_name,
            late=named.late,
            attachment_id=named.attachment_id,
            kind=named.kind,
            anonymous=named.anonymous_id is not None,
        )

    def _user(self, named: CanvasName) -> Student:
        if named.anonymous_id is not None:
            key = f"anon_{slugify(named.anonymous_id)}"
            return self._add_unknown("anonymous", named.anonymous_id, key, f"anonymous {named.anonymous_id}", None)
        if student := self._roster.find(named.owner, named.user_id):
            self._compare(named, student)
            return student
        key = make_canvas_key(named.owner, named.user_id)
        return self._add_unknown("user", str(named.user_id), key, named.owner, named.user_id)

    def _compare(self, named: CanvasName, student: Student) -> None:
        if normalise_name(format_owner(student.name)) != normalise_name(named.owner):
            note = (
                f"The files of '{sanitise(named.owner)}' carry the user id of {sanitise(student.name)} and "
                "count for that student: the entry of a group, or a name that changed."
            )
            if note not in self.notes:
                self.notes.append(note)

    def _find_by_name(self, name: str) -> Student:
        """The student that a folder or a file is called after."""
        if student := self._roster.find(name):
            return student
        return self._add_unknown("name", name, make_name_key(name, unique=name not in self._alike), name, None)

    def _add_unknown(self, how: str, identity: str, key: str, name: str, canvas_id: int | None) -> Student:
        if (how, identity) not in self._strangers:
            student = Student(key=self._keys.take(key), name=name, canvas_id=canvas_id)
            self._strangers[how, identity] = student
        return self._strangers[how, identity]


def _derive_owner_name(item: FoundEntry | RejectedEntry, flat: bool) -> str:
    """The name that tells whose a file is: that of the student's folder, or its own."""
    return item.parts[0] if len(item.parts) > 1 and not flat else NOTEBOOK.sub("", item.parts[-1])


def _canvas_folders(looked: Iterable[FoundEntry | RejectedEntry]) -> set[tuple[str, ...]]:
    users: defaultdict[tuple[str, ...], set[object]] = defaultdict(set)
    for item in looked:
        for reading in list_readings(item.parts[-1])[:1]:
            users[item.parts[:-1]].add(reading.user_id or reading.anonymous_id)
    return {folder for folder, found in users.items() if len(found) > 1}


def _take(piece: Entry, desk: ArchiveReader, unpack: bool) -> None:
    """Store one entry, or note why it cannot be graded."""
    owned, looked = piece.ownership, piece.file
    try:
        if isinstance(looked, RejectedEntry):
            raise RejectionError(f"{looked.reason}; {HAND_IN}")
        if owned.kind is EntryKind.FILE and unpack and owned.display_name.lower().endswith(".zip"):
            _take_nested(owned, looked, desk)
        else:
            _require_notebook(owned)
            desk.take(owned, looked)
    except RejectionError as rejected:
        desk.refuse(owned, str(rejected))


def _require_notebook(owned: Ownership) -> None:
    """Judge a file by its name; what is in it is judged when it is parsed. Raises Rejected."""
    name = owned.inside or owned.display_name
    if owned.kind is not EntryKind.FILE:
        raise RejectionError(f"{TYPED[owned.kind]}; {HAND_IN}")
    if is_junk((name.rpartition("/")[2],)):
        raise RejectionError(f"is a hidden file that a computer keeps for itself; {HAND_IN}")
    if not NOTEBOOK.search(name):
        raise RejectionError(f"{OTHER_FILES.get(Path(name).suffix.lower(), 'is no notebook')}; {HAND_IN}")


def _take_nested(owned: Ownership, found: FoundEntry, desk: ArchiveReader) -> None:
    """Store the notebooks in an archive that a student handed in. An archive inside it is not opened."""
    bounds = desk.quota.bounds
    with open_temporary_file(desk.files) as packed:
        copy(found, packed, desk.quota, owned.student.key, bounds.nested_bytes)
        packed.flush()
        require_few_entries(packed, bounds.nested_entries)
        with open_archive(packed, bounds.nested_entries) as archive:
            _take_inside(owned, archive, desk)


def _take_inside(owned: Ownership, archive: zipfile.ZipFile, desk: ArchiveReader) -> None:
    before = len(desk.taken), len(desk.refusals)
    for looked in list_archive(archive):
        inside = replace(owned, inside="/".join(looked.parts))
        if (
            isinstance(looked, RejectedEntry)
            or NOTEBOOK.search(inside.inside)
            or inside.inside.lower().endswith(".zip")
        ):
            _take(Entry(inside, looked), desk, unpack=False)
    if (len(desk.taken), len(desk.refusals)) == before:
        raise RejectionError(f"is a zip archive without a notebook; {HAND_IN}")


def _uploads(taken: Iterable[tuple[Ownership, str]]) -> tuple[Upload, ...]:
    """What was taken, ordered by student and attachment, with ids that stay the same when it is read again."""
    order = sorted(taken, key=lambda pair: _place(pair[0]))
    ids = NameRegistry()
    attempts: defaultdict[str, list[str]] = defaultdict(list)  # by student
    return tuple(_upload(owned, sha256, ids, attempts[owned.student.key]) for owned, sha256 in order)


def _place(owned: Ownership) -> tuple[str, int, str, str]:
    return owned.student.key, owned.attachment_id or 0, owned.entry, owned.inside


def _upload(owned: Ownership, sha256: str, ids: NameRegistry, attempts: list[str]) -> Upload:
    """`attempts`: what else the student handed in before, one entry for each attempt."""
    attempt = "" if owned.attachment_id is not None else owned.entry
    if attempt not in attempts:
        attempts.append(attempt)
    suffix = f"_{owned.attachment_id}" if owned.attachment_id is not None else ""
    return Upload(
        id=ids.take(f"{owned.student.key}{suffix}"),
        student=owned.student,
        entry=owned.entry,
        display_name=owned.inside.rpartition("/")[2] or owned.display_name,
        sha256=sha256,
        late=owned.late,
        attachment_id=owned.attachment_id,
        attempt=attempts.index(attempt) + 1,
    )


def _find_missing(roster: Roster, uploads: Iterable[Upload], pieces: Sequence[Entry]) -> tuple[Student, ...]:
    if pieces and all(piece.ownership.anonymous for piece in pieces):
        return ()
    present = {upload.student.key for upload in uploads}
    return tuple(student for student in roster.students if student.key not in present)


def _notes(roster: Roster, uploads: Sequence[Upload], pieces: Sequence[Entry]) -> Iterator[str]:
    """What staff should know: several notebooks of one student, people who are not on the roster."""
    several = Counter(upload.student for upload in uploads)
    for student, count in several.items():
        if count > 1:
            yield f"{sanitise(student.name)} handed in {count} notebooks."
    if not roster.students:
        return
    known = {student.key for student in roster.students}
    for student in dict.fromkeys(piece.ownership.student for piece in pieces if not piece.ownership.anonymous):
        if student.key not in known:
            yield f"{sanitise(student.name)} handed in work and is not on the roster."
    if any(piece.ownership.anonymous for piece in pieces):
        yield "Some entries are anonymous: nobody can tell whose they are, nor who is missing."
