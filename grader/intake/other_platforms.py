"""Archives of submissions that Moodle and Gradescope make: whose each folder is.

Moodle: a folder for each student, `Jane Doe_12345_assignsubmission_file`, or the same before each file's own name where
folders were not asked for. The number is the participant's in this assignment, which the grading worksheet names as
`Participant 12345`; with blind marking the name is `Participant`. A group's name may stand in front: `Team A-Jane Doe`.

Gradescope: folders `submission_111` in a folder `…_export`, beside `submission_metadata.yml`, which names all who
handed a submission in, and when.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grader.intake.unpacking import Bounds, FoundEntry, RejectionError, SourceEntry, read_entry
from grader.intake.uploads import Group, Student

Place = tuple[str, ...]  # the path of a folder

METADATA: Final = "submission_metadata.yml"
METADATA_BYTES_MAX: Final = 16 * 2**20  # some kilobytes for each student
SUBMISSION: Final = re.compile("submission_[0-9]+")
MAJORITY: Final = 4  # so many students in folders of a platform are its class, whatever one other file is called
MOODLE: Final = re.compile(r"(?P<name>[^/]+)_(?P<number>[0-9]{1,18})_assignsubmission_[a-z]+(?:_(?P<file>.*))?")


@dataclass(frozen=True)
class Participant:
    """A student as another platform names them, by the words that a roster may know."""

    name: str
    number: str = ""  # unique in the archive
    words: tuple[str, ...] = ()  # the surest first

    @property
    def key(self) -> str:
        """A name for a key, where the roster does not know them."""
        return f"{self.name}_{self.number}" if self.number else self.name

    @property
    def behind_groups(self) -> tuple[str, ...]:
        """What the name may be where a group's name and a hyphen stand in front of it."""
        parts = self.name.split("-")
        return tuple("-".join(parts[start:]).strip() for start in range(1, len(parts)))


@dataclass(frozen=True)
class OwnedFolder:
    """A folder, and all who handed it in together, and when, as far as that is known."""

    owners: tuple[Participant, ...]
    at: datetime.datetime | None = None


def read_moodle_owners(
    entries: Sequence[SourceEntry], handed_in: Sequence[SourceEntry]
) -> dict[str, tuple[Participant, str]]:
    """Return whose each file of an archive of Moodle is, and its own name, by its entry; nothing if it is none.

    Args:
        handed_in: the entries that look like work of a student. One name alone like Moodle's may be a student's.
    """
    found = {item.entry: owner for item in entries if (owner := find_moodle_owner(item.parts))}
    around = {item.parts[:depth] for item in entries if item.entry in found for depth in range(len(item.parts))}
    looks = {item.entry for item in handed_in}
    others = sum(
        item.entry not in found and (item.entry in looks or item.parts[:-1] not in around)  # a folder of somebody's
        for item in entries
    )
    return found if others * MAJORITY <= len({owner for owner, _ in found.values()}) else {}


def find_moodle_owner(parts: tuple[str, ...]) -> tuple[Participant, str] | None:
    """Return whose file this is in an archive of Moodle, and the file's own name; None if it is not from one."""
    for depth, part in enumerate(parts):
        if found := MOODLE.fullmatch(part):
            file = parts[-1] if depth < len(parts) - 1 else found["file"] or part
            return Participant(found["name"], found["number"], (found["name"],)), file
    return None


def read_gradescope_owners(
    entries: Sequence[SourceEntry], handed_in: Sequence[SourceEntry]
) -> dict[Place, OwnedFolder]:
    """Return whose each folder is, by its path, from the metadata of Gradescope; nothing if there is none to read."""
    found = next((e for e in entries if e.parts[-1] == METADATA and isinstance(e, FoundEntry)), None)
    if found is None:
        return {}
    top = found.parts[:-1]
    outside = [e for e in entries if e.parts[: len(top)] != top]
    if any(top[: len(e.parts) - 1] != e.parts[:-1] for e in outside):
        return {}  # a student may have handed in such a file, and here is the folder of another one
    folders = _read_metadata(found, top)
    held = {e.parts[: len(top) + 1] for e in entries} & folders.keys()
    loose = sum(e in outside for e in handed_in)
    return folders if held and loose * MAJORITY <= len(held) else {}


def _read_metadata(found: FoundEntry, top: Place) -> dict[Place, OwnedFolder]:
    try:
        import yaml  # the students' kit has none and reads no archives

        table = yaml.load(read_entry(found, METADATA_BYTES_MAX, Bounds()), Loader=yaml.CSafeLoader)
    except (RejectionError, yaml.YAMLError, RecursionError):
        return {}
    rows = table.items() if isinstance(table, dict) else ()
    folders = {str(name): _read_folder(row) for name, row in rows if isinstance(row, dict)}
    return {(*top, name): folder for name, folder in folders.items() if folder.owners}


def _read_folder(row: dict[Any, Any]) -> OwnedFolder:
    listed, at = row.get(":submitters"), row.get(":created_at")
    people = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    known = isinstance(at, datetime.datetime) and at.tzinfo is not None
    return OwnedFolder(tuple(map(_read_participant, people)), at if known else None)


def _read_participant(person: dict[Any, Any]) -> Participant:
    name, sid, email = (str(person.get(key) or "") for key in (":name", ":sid", ":email"))
    return Participant(name or email or sid, sid, tuple(word for word in (email, sid, name) if word))


def list_groups(teams: Sequence[Sequence[Student]]) -> tuple[Group, ...]:
    """Make a group of each team of several students, named after them."""
    several = [tuple(dict.fromkeys(team)) for team in teams]
    return tuple(Group(name=" and ".join(s.name for s in team), members=team) for team in several if len(team) > 1)
