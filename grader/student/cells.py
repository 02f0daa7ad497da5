"""The cells that ran in this kernel."""

import inspect
import re
from collections.abc import Sequence
from typing import Any, Final

from IPython import get_ipython

from grader.student.looks import list_held

MAX_LABEL: Final = 60  # characters; what is longer is a text and no label


def list_sources() -> list[str]:
    """Return the code of the cells that ran in this kernel, as it was written; the first one is `In [1]`.

    Not from the variable `In`: there a cell with a magic stands as IPython rewrites it, and the name may hold something
    else by now.
    """
    shell = get_ipython()
    return [str(source) for source in shell.history_manager.input_hist_raw[1:]] if shell else []


def count() -> int | None:
    """Return the number of the cell that runs now. IPython's own counter is one ahead of it, in newer versions."""
    return len(list_sources()) or None


def read_source() -> str:
    """Return the code of the cell that runs now."""
    return next(reversed(list_sources()), "")


def list_since(cell: int | None) -> list[str]:
    """Return the code of the cells that ran after this one; of all without one. The cell itself may train twice."""
    sources = list_sources()
    return sources[cell:] or sources[-1:] if cell else sources


def list_labels() -> list[str]:
    """Return the texts with which functions of the notebook were called to get here: `train_and_record("full", …)`."""
    shell, frame, found = get_ipython(), inspect.currentframe(), list[str]()
    while shell is not None and frame is not None:
        if frame.f_globals is shell.user_global_ns and frame.f_code.co_name != "<module>":
            given = inspect.getargvalues(frame)
            found += [given.locals[name] for name in given.args if type(given.locals.get(name)) is str]
        frame = frame.f_back
    return [label for label in found if len(label) <= MAX_LABEL]


def list_names(value: Any) -> list[str]:
    """Return what holds this very object: variables, and items such as `models['head']`; no outputs of cells."""
    shell = get_ipython()
    return [name for name, one in list_held(shell.user_ns if shell else {}) if one is value]


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
