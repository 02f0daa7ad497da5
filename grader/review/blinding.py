"""Hides who a student is, in texts of any kind: names of files hold the names of people, and notes quote them.

What is found is what the class's list and the files' names say, in the spellings of everyday: with the family name
first, with other marks between the words, without accents. A first name alone is not found.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from grader.intake.uploads import Intake, Refusal, Student, Upload

A_FILE: Final = "a file"
A_STUDENT: Final = "a student"
LOGIN_CHARS_MIN: Final = 4  # a shorter one may be a word of the assignment
BETWEEN: Final = r"(?:%20|[\W_]){0,3}"  # the words of a name

_TAG: Final = re.compile(r"(<[^>]*>)")
_QUOTED_FILE: Final = re.compile(r"'[^'\n]*\.\w{1,6}'|\"[^\"\n]*\.\w{1,6}\"")  # also one inside of an archive
_WORD: Final = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f])*")  # accents may stand behind their letters
_LOGIN_BEHIND: Final = re.compile(r" \([^()]*\)$")  # which tells people of one name apart


@dataclass(frozen=True)
class Blinding:
    """What to hide, as patterns."""

    files: re.Pattern[str]
    people: re.Pattern[str]

    def hide(self, text: str) -> str:
        """Return a text without the names. Markup stays markup, and its tags stay as they are."""
        if isinstance(text, Markup):
            parts = _TAG.split(text)
            return Markup("".join(part if number % 2 else self._replace(part) for number, part in enumerate(parts)))
        return self._replace(text)

    def _replace(self, text: str) -> str:
        return self.people.sub(A_STUDENT, self.files.sub(A_FILE, text))

    def hide_in_note(self, note: str) -> str:
        """Return a note of the grader's without the names, and without any other file that it quotes."""
        return _QUOTED_FILE.sub(A_FILE, self.hide(note))


def blind(students: Iterable[Student], intake: Intake) -> Blinding:
    """Build what hides these students and their files."""
    known = {student.key: student for student in students}
    files = set[str]()
    handed_in: tuple[Upload | Refusal, ...] = (*intake.uploads, *intake.unreadable, *intake.refusals)
    for given in handed_in:
        if given.student and given.student.key in known:
            files |= {given.entry, given.entry.rpartition("/")[2], getattr(given, "display_name", "")}
    forms = {unicodedata.normalize(form, name) for name in files for form in ("NFC", "NFD")}
    keys = {re.escape(key) for student in known.values() for key in _list_keys(student)}
    names = {pattern for student in known.values() for pattern in _list_spellings(student)}
    return Blinding(_join({rf"'?{re.escape(name)}'?" for name in forms if name}), _join(keys, names))


def _list_keys(student: Student) -> Iterator[str]:
    yield student.key
    yield from (name for name in (student.login, student.sis_user_id) if name and len(name) >= LOGIN_CHARS_MIN)


def _list_spellings(student: Student) -> Iterator[str]:
    """List patterns of the student's name."""
    full = _LOGIN_BEHIND.sub("", student.name)
    for spelt in {unicodedata.normalize("NFC", full), unicodedata.normalize("NFD", full), _strip_accents(full)}:
        words = _WORD.findall(spelt)
        for order in (words, [*words[-1:], *words[:-1]], [*words[:1], *words[1:][-1:]], [*words[1:][-1:], *words[:1]]):
            if order:
                yield BETWEEN.join(map(re.escape, order))


def _strip_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _join(*groups: Collection[str]) -> re.Pattern[str]:
    """Join patterns to one that finds no part of a word: those of an earlier group first, and of a group the longest.

    Without any, it finds nothing.
    """
    patterns = [pattern for group in groups for pattern in sorted(group, key=lambda text: (-len(text), text))]
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(patterns)})(?![^\W_])" if patterns else r"(?!)", re.IGNORECASE)


NOTHING: Final = Blinding(_join(), _join())  # of a student's is known
