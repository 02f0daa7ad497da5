"""The cells that ran in this kernel."""

import re
from collections.abc import Sequence
from typing import Any

from IPython import get_ipython


def list_sources() -> list[str]:
    """Return the code of the cells that ran in this kernel; the first one is `In [1]`."""
    shell = get_ipython()
    return [str(source) for source in shell.user_ns.get("In", [])[1:]] if shell else []


def count() -> int | None:
    """Return the number of the cell that runs now. IPython's own counter is one ahead of it, in newer versions."""
    return len(list_sources()) or None


def read_source() -> str:
    """Return the code of the cell that runs now."""
    return next(reversed(list_sources()), "")


def read_since(cell: int | None) -> str:
    """Return the code that ran after this cell; all of it without one. The cell itself may train twice."""
    sources = list_sources()
    return "\n".join(sources[cell:] or sources[-1:]) if cell else "\n".join(sources)


def list_names(value: Any) -> list[str]:
    """Return the notebook's variables that hold this very object."""
    shell = get_ipython()
    return [name for name, held in list(shell.user_ns.items()) if held is value] if shell else []


def find_line(name: str, *about: re.Pattern[str]) -> str:
    """Find the last line about something in the last cell that names a variable, as `In [n], line m: code`.

    `about`: patterns; a line that matches an earlier one comes first. What ran before the variable got its value is
    about another object: an earlier run of an edited cell, say.
    """
    sources = list_sources()
    for number in range(len(sources), 0, -1):
        lines = sources[number - 1].splitlines() if re.search(rf"\b{name}\b", sources[number - 1]) else []
        if found := _list_matches(lines, about):
            return f"In [{number}], line {found[-1] + 1}: {lines[found[-1]].strip()}"
        if re.search(rf"^\s*{name}\s*=(?!=)", sources[number - 1], re.MULTILINE):
            return ""
    return ""


def _list_matches(lines: Sequence[str], about: Sequence[re.Pattern[str]]) -> list[int]:
    """Return the indices of the lines that match the first of some patterns that any line matches."""
    code = [index for index, line in enumerate(lines) if not line.lstrip().startswith(("def ", "#"))]
    found = ([index for index in code if pattern.search(lines[index])] for pattern in about)
    return next(filter(None, found), [])
