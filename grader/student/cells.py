"""The cells of this kernel, and where they stand in the notebook's file."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from IPython import get_ipython

HEADING: Final = re.compile(r"^#{1,6}\s+(?:step\s+|part\s+)?(\d)\b", re.IGNORECASE | re.MULTILINE)
MAX_FILE_BYTES: Final = 50 * 2**20


def list_sources() -> list[str]:
    """Return the code of the cells that ran in this kernel; the first one is `In [1]`."""
    shell = get_ipython()
    return [str(source) for source in shell.user_ns.get("In", [])[1:]] if shell else []


def count() -> int | None:
    """Return the number of the cell that runs now."""
    shell = get_ipython()
    return shell.execution_count if shell else None


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


def find_file() -> Path | None:
    """Return the notebook's file, where its editor tells the kernel."""
    shell = get_ipython()
    named = (shell.user_ns.get("__vsc_ipynb_file__") if shell else None) or os.environ.get("JPY_SESSION_NAME")
    path = Path(named) if isinstance(named, str) and named.endswith(".ipynb") else None
    return path if path is not None and path.is_file() else None


def find_section(source: str) -> str | None:
    """Return the step under whose heading a cell with this code stands in the file; None where that is not known."""
    path = find_file()
    if path is None or path.stat().st_size > MAX_FILE_BYTES or not source.strip():
        return None
    found = {step for step, code in _list_code(path) if code.strip() == source.strip()}
    return found.pop() if len(found) == 1 else None


def _list_code(path: Path) -> Iterator[tuple[str | None, str]]:
    """Yield the code cells of a notebook's file, each with the step of the heading above it."""
    step = None
    for cell in json.loads(path.read_text(encoding="utf-8")).get("cells", []):
        source = _join(cell.get("source"))
        if cell.get("cell_type") == "markdown":
            headings = HEADING.findall(source)
            step = f"step{headings[-1]}" if headings else step
        else:
            yield step, source


def _join(source: Any) -> str:
    return "".join(source) if isinstance(source, list) else str(source or "")
