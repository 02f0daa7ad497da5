"""Shell commands whose output the notebook goes on with: `names = !ls *.csv`."""

import glob
import os
import re
import shlex
from pathlib import PurePath
from typing import Any

from IPython.utils.text import SList

GPU_PROGRAMS = ("nvidia-smi", "nvidia-smi.exe")
GPU_FIELDS = re.compile(r"--query-[\w-]+[= ]+[\"']?([\w.]+(?:, ?[\w.]+)*)")
GPU_MIB = 16 * 1024  # as `devices.MEMORY_BYTES`
KNOWN = {"count": "1", "name": "none", "gpu_name": "none", "process_name": "none"}  # without commas, as in any CSV
UNITS = {"memory": "MiB", "used_memory": "MiB", "utilization": "%", "power": "W", "clocks": "MHz"}
GPU_TABLE = f"""\
| NVIDIA-SMI 0.0   Driver Version: 0.0   CUDA Version: 0.0 |
| GPU  Name        Memory-Usage           GPU-Util         |
|   0  none        0MiB / {GPU_MIB}MiB           0%         |
"""


def answer(command: Any) -> Any:
    """Return the lines of output of a command, as IPython does: the files that `ls` would list, the folder, or none."""
    print(f"[grading] not run: !{command}")
    try:
        name, *arguments = shlex.split(str(command).partition("|")[0])
    except ValueError:  # nothing, or an open quotation
        return SList()
    if is_gpu_question(command):
        return SList(describe_gpu(command).splitlines())
    if name == "pwd":
        return SList([os.getcwd()])  # noqa: PTH109
    return SList(_list_files([a for a in arguments if not a.startswith("-")]) if name in ("ls", "dir", "find") else ())


def _list_files(patterns: list[str]) -> list[str]:
    """List the files that fit patterns, or all in the folders that are named."""
    if any(glob.has_magic(pattern) for pattern in patterns):
        return sorted(path for pattern in patterns for path in glob.glob(pattern))  # noqa: PTH207
    found = [name for folder in patterns or ["."] for name in os.listdir(folder)]  # noqa: PTH208
    return sorted(name for name in found if not name.startswith("."))


def is_gpu_question(command: Any) -> bool:
    """Return True if a command, a text or its parts, calls `nvidia-smi`."""
    return any(PurePath(part).name in GPU_PROGRAMS for part in _join(command).split()[:3])


def describe_gpu(command: Any) -> str:
    """Return what `nvidia-smi` prints of a GPU that does nothing: a line of the fields asked for, or its table."""
    text = _join(command)
    found = GPU_FIELDS.search(text)
    if found is None:
        return GPU_TABLE
    fields = [field.strip() for field in found[1].split(",")]
    units = [UNITS.get(field.split(".")[0], "") if field not in KNOWN else "" for field in fields]
    header = ", ".join(f"{field} [{unit}]" if unit else field for field, unit in zip(fields, units, strict=True))
    shown = [f" {unit}" if unit and "nounits" not in text else "" for unit in units]
    line = ", ".join(_look_up(field) + unit for field, unit in zip(fields, shown, strict=True))
    return f"{line}\n" if "noheader" in text else f"{header}\n{line}\n"


def _join(command: Any) -> str:
    return command if isinstance(command, str) else " ".join(map(str, command))


def _look_up(field: str) -> str:
    """Return a field's value: all of the memory is there and free, so that a share of it can be computed."""
    return KNOWN.get(field) or (str(GPU_MIB) if field in ("memory.total", "memory.free") else "0")
