"""Reading of the file names in Canvas's "Download Submissions" archive.

A name is `{owner}[_LATE]_{user id}_{attachment id}_{file name}`, for anonymous grading
`[LATE_]anon_{anonymous id}_{attachment id}_{file name}`, and for what was typed into Canvas
`{owner}[_LATE]_{user id}_text.html` or `…_link.html`. The owner is the sortable name of a student, or the name of a
group, in lower case and without what is no word character. (Canvas: lib/content_zipper.rb.)

A group called `lab_7` makes a name that can be read in two ways, so all readings are returned, likeliest first; a
roster tells which user exists.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

MAX_READINGS: Final = 8  # a name of thousands of numbers has thousands of readings

# Looks ahead, so that overlapping pairs of numbers are all found.
_IDS = re.compile(r"(?=_([0-9]+)_([0-9]+)_(.))", re.DOTALL)
_TYPED = re.compile(r"^(.+)_([0-9]+)_(text|link)\.html$", re.DOTALL)
_ANONYMOUS = re.compile(r"^(LATE_)?anon_([^_]*[^_0-9][^_]*)_(?:([0-9]+)_(.+)|(text|link)\.html)$", re.DOTALL)


class EntryKind(StrEnum):
    """The form in which work was handed in."""

    FILE = "file"
    TEXT = "text"  # typed into Canvas
    LINK = "link"


@dataclass(frozen=True)
class CanvasName:
    """One reading of a name. Canvas writes either `user_id` or `anonymous_id`, other programs neither."""

    owner: str
    user_id: int | None
    anonymous_id: str | None
    late: bool
    kind: EntryKind
    attachment_id: int | None  # only files have one
    display_name: str  # NFC


def list_readings(name: str) -> tuple[CanvasName, ...]:
    """Return every way to read a file name as one that Canvas made, likeliest first; nothing if it is not one."""
    plain = unicodedata.normalize("NFC", name)
    if found := _ANONYMOUS.match(plain):
        late, identity, attachment, file, typed = found.groups()
        number = int(attachment[:18]) if attachment else None
        kind = EntryKind(typed or "file")
        return (CanvasName("anon", None, identity, late is not None, kind, number, file or f"{typed}.html"),)
    return tuple(islice(_list_user_readings(plain), MAX_READINGS))


def _list_user_readings(name: str) -> Iterator[CanvasName]:
    for found in _IDS.finditer(name):
        if found.start():
            owner, late = _strip_late(name[: found.start()])
            user_id, attachment_id = int(found[1][:18]), int(found[2][:18])
            yield CanvasName(owner, user_id, None, late, EntryKind.FILE, attachment_id, name[found.start(3) :])
    if typed := _TYPED.match(name):
        owner, late = _strip_late(typed[1])
        yield CanvasName(owner, int(typed[2][:18]), None, late, EntryKind(typed[3]), None, f"{typed[3]}.html")


def _strip_late(owner: str) -> tuple[str, bool]:
    stripped = owner.removesuffix("_LATE")
    return (stripped, True) if stripped and stripped != owner else (owner, False)


def format_owner(sortable_name: str) -> str:
    """Write a name as Canvas does in file names: "Ångström, Åsa" becomes "ångströmåsa"."""
    return re.sub(r"\W", "", unicodedata.normalize("NFC", sortable_name)).lower()
