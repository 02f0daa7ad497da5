"""The times of handing in, from Canvas: its archive of submissions says only that a file is late."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from grader.errors import GraderError
from grader.gradebook.canvas_upload import connect, find_assignment, list_submissions, translate_errors
from grader.grades.times import ATTACHMENTS, COLUMNS


def fetch(course_id: int, assignment_id: int, out: Path, environ: Mapping[str, str] = os.environ) -> int:
    """Write the times of handing in to a CSV file and return how many there are. Raises GraderError."""
    with translate_errors():
        submissions = list_submissions(find_assignment(connect(environ), course_id, assignment_id))
    handed_in = [found for found in submissions if getattr(found, "submitted_at", None)]
    rows = [(found.user_id, found.submitted_at, " ".join(str(a.id) for a in found.attachments)) for found in handed_in]
    try:
        with out.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([(*COLUMNS, ATTACHMENTS), *rows])
    except OSError as error:
        raise GraderError(f"Cannot write {out} ({error.strerror}); name another file.") from error
    return len(rows)
