"""Canvas's import of a gradebook, written from its rules and independent of the code under test.

Only the rules that decide what happens to scores: finding the delimiter, the header, rows that are no students,
students, assignments, decimal commas, what counts as a change. See lib/gradebook_importer.rb in Canvas.
"""

import csv
import io
import re
from dataclasses import dataclass, field

TOTALS = re.compile("(Current|Final) (Score|Points|Grade)|Override (Score|Grade|Status)")


@dataclass(frozen=True)
class User:
    id: int
    sortable_name: str
    sis_user_id: str = ""
    login: str = ""


@dataclass
class Course:
    """The state of Canvas: users, assignments (id -> title), scores ((user, assignment) -> text; EX: excused)."""

    users: list[User]
    assignments: dict[int, str]
    scores: dict[tuple[int, int], str] = field(default_factory=dict)
    unassigned: set[tuple[int, int]] = field(default_factory=set)


@dataclass
class Import:
    """The effects of an import."""

    changes: dict[tuple[int, int], str] = field(default_factory=dict)  # (user, assignment) -> new score; blank: deleted
    new_assignments: list[str] = field(default_factory=list)
    new_students: list[str] = field(default_factory=list)


def import_gradebook(course: Course, raw: bytes) -> Import:
    text = raw.decode("utf-8-sig")
    delimiter = guess_delimiter(text)
    kept = "".join(part for part in text.splitlines(keepends=True) if not re.fullmatch(r"[;, ]+", part.rstrip("\r\n")))
    table = [row for row in csv.reader(io.StringIO(kept, newline=""), delimiter=delimiter, strict=True) if row]
    table = [[decimal_point(cell) for cell in row] for row in table]
    header, *rows = table
    columns, done = read_header(course, header)
    points_row: list[str] = []
    for row in rows:
        if "Points Possible" in row[0]:
            points_row = row
        elif not all(re.fullmatch(r"\s*(Muted|Manual Posting.*)?\s*", cell, re.I) for cell in row if cell):
            read_student(course, header, columns, row, done)
    for index, assignment in columns.items():
        if points_row and re.search(r"read\s+only", points_row[index]):
            done.changes = {key: value for key, value in done.changes.items() if key[1] != assignment}
    return done


def guess_delimiter(text: str) -> str:
    """The first three lines as a file's lines are: a line ends at a newline only."""
    lines = io.StringIO(text, newline="\n").readlines()[:3]
    counts = {}
    for separator in ";,":
        try:
            sizes = {len(next(csv.reader([part], delimiter=separator, strict=True), [])) for part in lines}
        except csv.Error:
            sizes = set()
        counts[separator] = sizes.pop() if len(sizes) == 1 else 0
    return ";" if counts[";"] > counts[","] else ","


def decimal_point(cell: str) -> str:
    if not re.fullmatch(r"-?[0-9.,]+%?", cell):
        return cell
    *whole, last = re.split("[,.]", cell)
    return f"{''.join(whole)}.{last}" if whole else last


def read_header(course: Course, header: list[str]) -> tuple[dict[int, int], Import]:
    two = header[:2] == ["LastName", "FirstName"]
    assert two or ("Student" in header[0] and "ID" in header[1]), header
    at = 2 + two  # behind the name and the ID
    if re.search(r"SIS\s+Login\s+ID", header[at]):
        at += 1
    elif re.search(r"SIS\s+User\s+ID", header[at]) and re.search(r"SIS\s+Login\s+ID", header[at + 1]):
        at += 2
        at += bool(re.search(r"Integration\s+ID", header[at]))
        at += bool(re.search(r"Root\s+Account", header[at]))
    assert "Section" in header[at], header
    done, columns = Import(), dict[int, int]()
    for heading in header[at + 1 :]:
        if heading == "Notes" or TOTALS.search(heading):  # the one custom column of these courses
            continue
        found = re.search(r"\s\((\d+)\)$", heading)
        assignment = int(found[1]) if found and int(found[1]) in course.assignments else None
        by_title = next((i for i, title in course.assignments.items() if title == heading), None)
        if assignment is None and by_title is None:
            done.new_assignments.append(heading)
        else:
            columns[header.index(heading)] = assignment if assignment is not None else by_title or 0
    return columns, done


def read_student(course: Course, header: list[str], columns: dict[int, int], row: list[str], done: Import) -> None:
    user = find_user(course, dict(zip(header, row, strict=True)))
    if user is None:
        done.new_students.append(row[0])
        return
    for index, assignment in columns.items():
        key = (user.id, assignment)
        new, old = row[index].strip(), course.scores.get(key, "")
        if key in course.unassigned:
            new = ""
        if not same(old, new):
            done.changes[key] = new


def find_user(course: Course, row: dict[str, str]) -> User | None:
    by_id = {str(user.id): user for user in course.users}
    if found := by_id.get(row["ID"]):
        return found
    for heading, attribute in (("SIS User ID", "sis_user_id"), ("SIS Login ID", "login"), ("Student", "sortable_name")):
        if value := row.get(heading):
            for user in course.users:
                if getattr(user, attribute) == value:
                    return user
    return None


def same(old: str, new: str) -> bool:
    if old == new or (old in ("", "-") and new in ("", "-")):
        return True
    if not old or not new or "EX" in (old.upper(), new.upper()):
        return old.upper() == new.upper() == "EX"
    try:
        return f"{float(old):.2f}" == f"{float(new):.2f}"
    except ValueError:
        return False
