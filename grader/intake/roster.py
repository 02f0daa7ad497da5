"""The students of a class, and the student that a name or an id means."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from typing import Final

from grader.errors import GraderError
from grader.intake.canvas_names import format_owner
from grader.intake.gradebook_export import Person, read_export
from grader.intake.uploads import Student
from grader.text import sanitise

MAX_SLUG_CHARS: Final = 40  # of at most four bytes each: a folder's name has 255 bytes, and ids follow
RESERVED: Final = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])$", re.IGNORECASE)  # names of devices on Windows


def read_roster(export: bytes) -> tuple[Student, ...]:
    """Return the students in a gradebook export from Canvas, without the Test Student. Raises GraderError.

    Rows with the same Canvas id are one student, in the sections of all of them. The keys do not depend on the order of
    the rows: decisions are kept under them, and the next list may be sorted in another way.
    """
    taken, rows = NameRegistry(), defaultdict[object, list[Person]](list)
    for person in read_export(export).people:
        if not person.is_test_student:
            rows[person.row if person.canvas_id is None else person.canvas_id].append(person)
    names = Counter(_fold(make_user_key(person.name, person.canvas_id)) for person, *_ in rows.values())
    shared = {name for name, count in names.items() if count > 1}
    return tuple(
        Student(
            key=taken.take(_make_roster_key(person, shared)),
            name=person.name,
            canvas_id=person.canvas_id,
            sis_user_id=person.sis_user_id,
            login=person.login,
            section=", ".join(dict.fromkeys(one.section for one in (person, *others) if one.section)) or None,
            participant=person.participant,
        )
        for person, *others in rows.values()
    )


def read_test_students(export: bytes) -> frozenset[int]:
    """Return the Canvas ids of the Test Student, who is the course's student view. Raises GraderError."""
    ids = (person.canvas_id for person in read_export(export).people if person.is_test_student)
    return frozenset(canvas_id for canvas_id in ids if canvas_id is not None)


def _make_roster_key(person: Person, shared: Container[str]) -> str:
    """Make a key; for people who share a name and have no Canvas ids, a digest of login or id ends it."""
    key = make_user_key(person.name, person.canvas_id)
    if person.canvas_id is not None or _fold(key) not in shared:
        return key
    identity = person.login or person.sis_user_id or person.participant or ""
    return f"{key}-{hashlib.sha256(identity.encode()).hexdigest()[:6]}"


def make_user_key(name: str, canvas_id: int | None) -> str:
    """Make the same key from a roster's "Lovelace, Ada" and from a file's `lovelaceada`."""
    return slugify(format_owner(name)) + (f"_{canvas_id}" if canvas_id is not None else "")


def slugify(text: str) -> str:
    """Write `text` as a folder may be called on any system; letters of any script stay."""
    plain = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", text))[:MAX_SLUG_CHARS].strip("._-")
    return f"{plain}_" if RESERVED.match(plain.split(".")[0]) else plain or "submission"


def make_name_key(name: str, unique: bool) -> str:
    """Make a key for somebody known only by the name of a file. It depends on no other file: grades are filed under it.

    Args:
        unique: nobody else's name makes the same slug.
    """
    key = slugify(name)
    if unique and len(name) <= MAX_SLUG_CHARS:
        return key
    return f"{key}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def find_alike(names: Iterable[str]) -> frozenset[str]:
    """Return the names whose slugs a file system may confuse."""
    same: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        same[_fold(slugify(name))].add(name)
    return frozenset(name for group in same.values() if len(group) > 1 for name in group)


def _fold(name: str) -> str:
    """Return a form that is equal for names that a file system may confuse: in case, or in the form of a letter."""
    return unicodedata.normalize("NFKC", name).casefold()


class NameRegistry:
    """Names that are in use; gives each out once, and none that a file system may confuse with another."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """Return `wanted`, or `wanted-2`, `wanted-3` and so on where that is taken."""
        name, count = wanted, 1
        while (folded := _fold(name)) in self._taken:
            count += 1
            name = f"{wanted}-{count}"
        self._taken.add(folded)
        return name


class AmbiguousName(GraderError):
    """A number that means two students."""


class Roster:
    """The students of a class by Canvas id, else by login, SIS id or name; a name that two share finds neither."""

    def __init__(self, students: Sequence[Student]) -> None:
        self.students = tuple(students)
        self._by_id: dict[int | None, Student] = {s.canvas_id: s for s in students if s.canvas_id is not None}
        self._by_word: defaultdict[str, set[Student]] = defaultdict(set)
        for student in students:
            for word in _list_words(student):
                self._by_word[word].add(student)
        numbered = ((find_number(student.participant), student) for student in students if student.participant)
        self._by_number = {number: student for number, student in numbered if number}

    def has(self, canvas_id: int | None) -> bool:
        """Return True if this user is in the class."""
        return canvas_id in self._by_id

    def find(self, name: str, canvas_id: int | None = None) -> Student | None:
        """Find the student of an id, or of a name as people and programs write it where one of them has no id.

        Raises AmbiguousName for a number that is the Canvas id of one student and means another one, too.
        """
        if canvas_id in self._by_id:
            return self._by_id[canvas_id]
        found = [s for s in self._by_word.get(normalise_name(name), ()) if canvas_id is None or s.canvas_id is None]
        numbered = self._by_id.get(_read_canvas_id(name)) if canvas_id is None else None
        if numbered is None:
            return found[0] if len(found) == 1 else None
        if others := sorted(student.name for student in found if student != numbered):
            raise AmbiguousName(
                f"'{name}' is the Canvas id of {sanitise(numbered.name)}, and the SIS id or login of "
                f"{' and '.join(map(sanitise, others))}: nobody knows whose files these are; call them by name."
            )
        return numbered

    def find_participant(self, number: str, names: Iterable[str]) -> Student | None:
        """Find the student of a number in Moodle's worksheet, if one of the names that stand with it agrees.

        Numbers are those of one assignment: in the worksheet of another they are somebody else's.
        """
        student = self._by_number.get(number)
        if student is None:
            return None
        mine = _list_orders(student) | {normalise_name(student.participant or "")}
        said = {normalise_name(form) for name in names for form in (name, f"{name}{number}")}
        return student if mine & said else None

    def find_by_any(self, words: Iterable[str]) -> Student | None:
        """Find the student whom the first clear one of several words means. Raises AmbiguousName if none is clear."""
        unclear: AmbiguousName | None = None
        for word in words:
            try:
                if student := self.find(word):
                    return student
            except AmbiguousName as error:
                unclear = unclear or error
        if unclear:
            raise unclear
        return None


def _read_canvas_id(name: str) -> int | None:
    """Read a number as Canvas writes ids: zeros in front are those of another id."""
    return int(name) if re.fullmatch("[1-9][0-9]{0,17}", name) else None


def _list_words(student: Student) -> set[str]:
    """List what a student may be called: login with and without its domain, SIS id, name in both orders."""
    login = student.login or ""
    words = (login, login.partition("@")[0], student.sis_user_id or "", student.participant or "", student.key)
    return ({normalise_name(word) for word in (*words, *student.aliases)} | _list_orders(student)) - {""}


def _list_orders(student: Student) -> set[str]:
    """List the name of a student in both orders."""
    last, _, first = student.name.partition(",")
    return {normalise_name(student.name), normalise_name(f"{first}{last}")} - {""}


def find_number(participant: str) -> str:
    """Return the number at the end of what Moodle's worksheet calls somebody."""
    found = re.search("[0-9]{1,18}$", participant)
    return found[0] if found else ""


def normalise_name(name: str) -> str:
    """Reduce a name to its letters and digits, without differences of case or of the form of a letter."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", name)).casefold()
