"""The page between the dashboard, which is a file, and the review page, which somebody has to start."""

from typing import Final

from grader.reporting.page import render

REVIEW_LINK: Final = "review.html"


def link_student(code: str) -> str:
    """Return the address, beside the dashboard, that leads to a student on the review page."""
    return f"./{REVIEW_LINK}#{code}"


def render_review_link(folder: str, address: str = "") -> str:
    """Return the page that leads to the review page at an address; without one, it says how to start it.

    A student's code behind the # of its own address leads to that student.
    """
    return render("dashboard_review.html", script="dashboard_review.js", folder=folder, address=address)
