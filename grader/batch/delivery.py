"""Builds what Canvas sends to each student: a score, a page, a comment of a few lines."""

from collections.abc import Iterable
from typing import Final

from grader.batch.outputs import find_feedback_page
from grader.batch.request import BatchRequest
from grader.gradebook.canvas_upload import Delivery
from grader.grades.grade import Grade, Standing
from grader.reporting.words import format_points

READ: Final = "The attached page says what was checked and what to try."


def build_deliveries(request: BatchRequest, grades: Iterable[Grade]) -> tuple[Delivery, ...]:
    """Build one delivery for each student, in order."""
    return tuple(
        Delivery(grade=grade, comment=format_comment(grade), feedback=find_feedback_page(request, grade))
        for grade in grades
    )


def format_comment(grade: Grade) -> str:
    """Write what the student reads beside the score."""
    if grade.standing is Standing.REFUSED:
        return f"Your upload could not be graded: {grade.note}"
    if grade.standing is not Standing.GRADED:
        return ""
    changes = [f"{a.points:+g}: {a.reason}" for a in grade.adjustments]
    return "\n".join([f"{format_points(grade.points)} of {format_points(grade.possible)} points.", *changes, READ])
