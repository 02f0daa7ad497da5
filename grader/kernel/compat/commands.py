"""Shell commands whose output the notebook goes on with: `names = !ls *.csv`."""

import glob
import os
import shlex
from typing import Any

from IPython.utils.text import SList


def answer(command: Any) -> Any:
    """Return the lines of output of a command, as IPython does: the files that `ls` would list, the folder, or none."""
    print(f"[grading] not run: !{command}")
    try:
        name, *arguments = shlex.split(str(command).partition("|")[0])
    except ValueError:  # nothing, or an open quotation
        return SList()
    if name == "pwd":
        return SList([os.getcwd()])  # noqa: PTH109
    return SList(_list_files([a for a in arguments if not a.startswith("-")]) if name in ("ls", "dir", "find") else ())


def _list_files(patterns: list[str]) -> list[str]:
    """List the files that fit patterns, or all in the folders that are named."""
    if any(glob.has_magic(pattern) for pattern in patterns):
        return sorted(path for pattern in patterns for path in glob.glob(pattern))  # noqa: PTH207
    found = [name for folder in patterns or ["."] for name in os.listdir(folder)]  # noqa: PTH208
    return sorted(name for name in found if not name.startswith("."))
