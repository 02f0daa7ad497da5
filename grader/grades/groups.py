"""Groups that hand in together, from a CSV file.

Canvas writes one (People, the tab of the group set, Import or Export): `name`, `canvas_user_id`, `user_id`, `login_id`,
`group_name` and more. One's own needs the columns `student` and `group`; a student is named by key, Canvas id, SIS id,
login or name.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from grader.grades.policy import list_names
from grader.grades.sheets import open_text, read_sheet
from grader.intake.roster import Roster, make_user_key, normalise_name
from grader.intake.uploads import Group, Intake, Student
from grader.text import sanitise

OWN: Final = ("student", "group")
CANVAS: Final = ("name", "canvas_user_id", "group_name")


def load_groups(path: Path) -> tuple[Group, ...]:
    """Read the groups in a file; students without one are left out. Raises GraderError."""
    with open_text(path, "groups") as text:
        sheet = read_sheet(text)
        ours = {*OWN} <= {*sheet.columns}
        if not (ours or {*CANVAS} <= {*sheet.columns}):
            raise ValueError(f"it has neither the columns {' and '.join(OWN)} nor those of Canvas's export of groups")
        found: defaultdict[str, list[Student]] = defaultdict(list)
        for place, cells in sheet.rows:
            if name := cells.get("group" if ours else "group_name"):
                found[name].append(_read_own(cells, place) if ours else _read_canvas(cells, place))
    return tuple(Group(name=name, members=tuple(dict.fromkeys(members))) for name, members in found.items())


def _read_own(cells: dict[str, str], place: str) -> Student:
    if "student" not in cells:
        raise ValueError(f"{place} names no student")
    return Student(key=cells["student"], name=cells["student"])


def _read_canvas(cells: dict[str, str], place: str) -> Student:
    number, name = cells.get("canvas_user_id", ""), cells.get("name", "")
    if not (number.isdecimal() and len(number) < 19):
        raise ValueError(f"{place} has no canvas_user_id")
    return Student(
        key=make_user_key(name or "student", int(number)),
        name=name or number,
        canvas_id=int(number),
        sis_user_id=cells.get("user_id"),
        login=cells.get("login_id"),
    )


def add_groups(intake: Intake, groups: Sequence[Group], everybody: Sequence[Student], file: str = "") -> Intake:
    """Return the intake with these groups beside those that it has; members are students of the class.

    Who is in one of these and in one of before leaves that one. Somebody whom only Canvas's export of groups knows
    joins the class. Notes name who is no student, and who is in two groups.
    """
    found, notes = _find_members(groups, Roster(everybody))
    homes = {member.key: group.name for group in found for member in group.members}
    kept = [
        group.model_copy(update={"members": stay})
        for group in intake.groups
        if (stay := tuple(member for member in group.members if member.key not in homes))
    ]
    moves = [move for group in intake.groups for move in _describe_moves(group, homes, file)]
    names = {group.name for group in kept}
    apart = [g.model_copy(update={"name": f"{g.name} ({file or 2})"}) if g.name in names else g for g in found]
    return intake.model_copy(update={"groups": (*kept, *apart), "notes": (*intake.notes, *notes, *moves)})


def _find_members(groups: Iterable[Group], roster: Roster) -> tuple[list[Group], list[str]]:
    """Return the groups with the students of the class that their members are, and notes."""
    notes, found = list[str](), list[Group]()
    taken: set[str] = set()
    for group in groups:
        members = []
        for member in group.members:
            student = _find(member, group.name, roster) or (member if member.canvas_id is not None else None)
            if student is None:
                notes.append(f"'{sanitise(member.name)}' of the group '{sanitise(group.name)}' is no student here.")
            elif student.key in taken:
                notes.append(f"{sanitise(student.name)} is in two groups, and counts in the first.")
            else:
                members.append(student)
                taken.add(student.key)
        found.append(Group(name=group.name, members=tuple(members)))
    return found, notes


def _describe_moves(group: Group, homes: Mapping[str, str], file: str) -> Iterator[str]:
    """Tell who of a group is in another one by now; nothing where all of them are in the same one, as in a new list."""
    moved = [f"{sanitise(m.name)} ('{sanitise(homes[m.key])}')" for m in group.members if m.key in homes]
    if moved and len({homes.get(member.key) for member in group.members}) > 1:
        yield (
            f"In another group than '{sanitise(group.name)}' by {file or 'a newer file'}, which was given later and "
            f"holds: {', '.join(moved)}."
        )


def _find(member: Student, group: str, roster: Roster) -> Student | None:
    if (student := roster.find(member.name, member.canvas_id)) is not None:
        # Canvas's archive names only the group and one member's id: then the name of the member is news.
        is_group = member.canvas_id is not None and normalise_name(student.name) == normalise_name(group)
        return student.model_copy(update={"name": member.name}) if is_group else student
    by_name = [s for s in roster.students if list_names(s) & list_names(member)]
    return by_name[0] if len(by_name) == 1 else None
