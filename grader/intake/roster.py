"""Who is in the class, and whose an upload is."""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from grader.intake.canvas_names import format_owner
from grader.intake.gradebook_export import Person, read_export
from grader.intake.uploads import Student

HASH_CHARS: Final = 6
MAX_SLUG_CHARS: Final = 40  # of at most four bytes each: a folder's name has 255 bytes, and ids follow
RESERVED: Final = re.compile(r"^(con|prn|aux|nul|com[0-9]|lpt[0-9])$", re.IGNORECASE)  # names of devices on Windows


def read_roster(export: bytes) -> tuple[Student, ...]:
    """The students of a teacher's gradebook export from Canvas, without the Test Student. Raises GraderError."""
    taken = NameRegistry()
    return tuple(_student(person, taken) for person in read_export(export).people if not person.is_test_student)


def _student(person: Person, taken: "NameRegistry") -> Student:
    return Student(
        key=taken.take(make_canvas_key(person.name, person.canvas_id)),
        name=person.name,
        canvas_id=person.canvas_id,
        sis_user_id=person.sis_user_id,
        login=person.login,
        section=person.section,
    )


def make_canvas_key(name: str, canvas_id: int | None) -> str:
    """The same key from a roster's "Lovelace, Ada" and from a file's `lovelaceada`."""
    return slugify(format_owner(name)) + (f"_{canvas_id}" if canvas_id is not None else "")


def slugify(text: str) -> str:
    """`text` as a folder may be called on any system; letters of any script stay."""
    plain = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", text))[:MAX_SLUG_CHARS].strip("._-")
    return f"{plain}_" if RESERVED.match(plain.split(".")[0]) else plain or "submission"


def make_name_key(name: str, unique: bool) -> str:
    """Key of somebody of whom only the name of a file is known. It depends on no other file, since grades hang on it.

    unique: nobody else's name makes the same slug.
    """
    key = slugify(name)
    if unique and len(name) <= MAX_SLUG_CHARS:
        return key
    return f"{key}-{hashlib.sha256(name.encode()).hexdigest()[:HASH_CHARS]}"


def find_alike(names: Iterable[str]) -> frozenset[str]:
    """The names whose slugs a file system may not tell apart."""
    same: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        same[_form(slugify(name))].add(name)
    return frozenset(name for group in same.values() if len(group) > 1 for name in group)


def _form(name: str) -> str:
    """What a file system may take for the same name has the same form."""
    return unicodedata.normalize("NFKC", name).casefold()


class NameRegistry:
    """Gives every name once, also where a file system tells neither case nor forms of a letter apart."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, wanted: str) -> str:
        """`wanted`, or `wanted-2`, `wanted-3` and so on where that is taken."""
        name, count = wanted, 1
        while (form := _form(name)) in self._taken:
            count += 1
            name = f"{wanted}-{count}"
        self._taken.add(form)
        return name


class Roster:
    """Finds students by Canvas id, else by login, SIS id or name; a name that two share finds neither."""

    def __init__(self, students: Sequence[Student]) -> None:
        self.students = tuple(students)
        self._by_id: dict[int | None, Student] = {s.canvas_id: s for s in students if s.canvas_id is not None}
        self._by_word: defaultdict[str, set[Student]] = defaultdict(set)
        for student in students:
            for word in _words(student):
                self._by_word[word].add(student)

    def has(self, canvas_id: int | None) -> bool:
        """Whether a user is in the class."""
        return canvas_id in self._by_id

    def find(self, name: str, canvas_id: int | None = None) -> Student | None:
        """The student meant by an id, or by a name as people and programs write it where one of them has no id."""
        if canvas_id is None and re.fullmatch("[0-9]{1,18}", name):
            canvas_id = int(name) if int(name) in self._by_id else None
        if canvas_id in self._by_id:
            return self._by_id[canvas_id]
        found = [s for s in self._by_word.get(normalise_name(name), ()) if canvas_id is None or s.canvas_id is None]
        return found[0] if len(found) == 1 else None


def _words(student: Student) -> Iterable[str]:
    """What a student may be called: login with and without its domain, SIS id, name in both orders."""
    login = student.login or ""
    last, _, first = student.name.partition(",")
    words = (login, login.partition("@")[0], student.sis_user_id or "", student.name, f"{first}{last}", student.key)
    return {normalise_name(word) for word in words} - {""}


def normalise_name(name: str) -> str:
    """What stays of a name when case, spaces, punctuation and forms of letters are put aside."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", name)).casefold()
