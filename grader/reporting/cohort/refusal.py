"""The page of a student whose upload cannot be graded."""

from grader.grades.grade import Grade
from grader.reporting.page import render


def render_refusal(grade: Grade) -> str:
    """Return what the author of a refused upload reads: why, and that no points were recorded."""
    return render("refusal.html", grade=grade)
