"""Students, their files, and the contents of an archive. Knows no file format."""

import hashlib
from datetime import datetime

from pydantic import Field

from grader.model import FrozenModel


class Student(FrozenModel):
    """One student, or one group that hands in together. `key` is unique in a class and safe as a file's name."""

    key: str
    name: str  # as staff know it
    canvas_id: int | None = None
    sis_user_id: str | None = None
    login: str | None = None
    section: str | None = None
    participant: str | None = None  # what Moodle's worksheet calls them in this assignment: `Participant 101`
    aliases: tuple[str, ...] = ()  # the keys that earlier runs knew them by

    @property
    def code(self) -> str:
        """What the student is called where nobody is to know who it is. It does not change when others hand in."""
        return hashlib.sha256(self.key.encode("utf-8", "replace")).hexdigest()[:8]


class Upload(FrozenModel):
    """One file of one student, to be graded. `id` is unique in a class and safe as a folder's name."""

    id: str
    student: Student
    entry: str  # path in the archive exactly as downloaded: Canvas recognises feedback by it
    display_name: str  # the file's name as its author knows it
    sha256: str
    late: bool = False  # as the archive marks it
    attachment_id: int | None = None
    submitted_at: datetime | None = None
    is_own_time: bool = False  # the time is surely that of this file, and not of another attempt
    attempt: int = 1  # order among what one student handed in, from 1; files handed in together have the same


class Refusal(FrozenModel):
    """A file that was handed in and cannot be graded; `reason` is a sentence for its author."""

    entry: str
    reason: str
    student: Student | None = None
    attachment_id: int | None = None
    sha256: str = ""  # of the file, where it is kept


class Group(FrozenModel):
    """Students who hand in together: what one of them hands in counts for all."""

    name: str
    members: tuple[Student, ...]


class Intake(FrozenModel):
    """Everything found in one archive or folder. `missing`: students on the roster without a file that can be graded.

    A student whose files were all refused is in `refusals` and in `missing`. `notes` are for staff, one sentence each.
    """

    source: str
    uploads: tuple[Upload, ...]
    refusals: tuple[Refusal, ...] = ()
    missing: tuple[Student, ...] = ()
    notes: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    unreadable: tuple[Upload, ...] = ()  # taken for notebooks, and refused when they were opened
    concerns: dict[str, str] = Field(default_factory=dict)  # the student's name, by those notes that are about one
