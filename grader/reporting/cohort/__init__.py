"""The pages for a class: what needs attention, how it went, everybody's row, similar code side by side. For staff."""

from typing import Final

STYLES: Final = ("style.css", "dashboard.css")
