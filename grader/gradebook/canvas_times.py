"""When everybody handed in, asked of Canvas: its archive of submissions says only that a file is late."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from grader.errors import GraderError
from grader.gradebook.canvas_upload import connect, find_assignment, translate_errors
from grader.grades.times import COLUMNS


def fetch(course_id: int, assignment_id: int, out: Path, environ: Mapping[str, str] = os.environ) -> int:
    """Write the times to a file and return how many there are. Raises GraderError."""
    with translate_errors():
        submissions = list(find_assignment(connect(environ), course_id, assignment_id).get_submissions(per_page=100))
    rows = [(found.user_id, found.submitted_at) for found in submissions if getattr(found, "submitted_at", None)]
    try:
        out.write_text(format_csv(rows), encoding="utf-8")
    except OSError as error:
        raise GraderError(f"Cannot write {out} ({error.strerror}); name another file.") from error
    return len(rows)


def format_csv(rows: Iterable[tuple[Any, Any]]) -> str:
    """Students and times, with a heading."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()
