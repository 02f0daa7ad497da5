"""Text that a spreadsheet would calculate instead of showing it (OWASP: CSV injection)."""

import re
from typing import Final

# Spreadsheets put spaces aside first, and some take the wide forms of East Asian keyboards for the same characters.
_FORMULA: Final = re.compile(r"^(?:[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER: Final = re.compile(r"^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$", re.IGNORECASE)


def starts_formula(text: str) -> bool:
    """Return True if a spreadsheet may calculate `text`."""
    return bool(_FORMULA.match(text))


def sanitise_cell(text: str) -> str:
    """Return `text` for a cell, after an apostrophe where it would be calculated. Negative numbers stay."""
    return f"'{text}" if starts_formula(text) and not _NUMBER.match(text) else text
