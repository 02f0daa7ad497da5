"""The page between the dashboard, which is a file, and the review page, which somebody has to start."""

from typing import Final

from grader.reporting.page import render

REVIEW_LINK: Final = "review.html"


def render_review_link(folder: str, address: str = "") -> str:
    """Return the page that leads to the review page at an address; without one, it says how to start it."""
    return render("dashboard_review.html", folder=folder, address=address)
