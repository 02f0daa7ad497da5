"""Groups that hand in together, from a CSV file.

Canvas writes one (People, the tab of the group set, Import or Export): `name`, `canvas_user_id`, `user_id`, `login_id`,
`group_name` and more. One's own needs the columns `student` and `group`; a student is named by key, Canvas id, SIS id,
login or name.
"""

from collections import defaultdict
from collections.abc import Sequence
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


def add_groups(intake: Intake, groups: Sequence[Group], everybody: Sequence[Student]) -> Intake:
    """Return the intake with these groups, in which members are students of the class; notes name who is not.

    Somebody whom only Canvas's export of groups knows joins the class.
    """
    roster, notes, found = Roster(everybody), list[str](), list[Group]()
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
    others = tuple(g for g in intake.groups if taken.isdisjoint(member.key for member in g.members))
    return intake.model_copy(update={"groups": (*others, *found), "notes": (*intake.notes, *notes)})


def _find(member: Student, group: str, roster: Roster) -> Student | None:
    if (student := roster.find(member.name, member.canvas_id)) is not None:
        # Canvas's archive names only the group and one member's id: then the name of the member is news.
        is_group = member.canvas_id is not None and normalise_name(student.name) == normalise_name(group)
        return student.model_copy(update={"name": member.name}) if is_group else student
    by_name = [s for s in roster.students if list_names(s) & list_names(member)]
    return by_name[0] if len(by_name) == 1 else None
