"""`google.colab.files.upload()`: what a student would have chosen, file name -> content.

A notebook that asks once gets all data files; one that asks several times gets one of them each time, in their order.
"""

import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grader.kernel.compat.archives import build_zip
from grader.kernel.compat.files import InputFiles


class Upload(dict[str, bytes]):
    """Uploaded files. A data file that was not listed, a copy of one (`train (1).csv`) or a zip file is there too."""

    def __init__(self, files: InputFiles, names: list[str]) -> None:
        super().__init__((name, Path(files.inputs[name]).read_bytes()) for name in names)
        self._files = files

    def __missing__(self, name: str) -> bytes:
        """Return what the notebook names: its author's files had other names than ours."""
        if name.lower().endswith(".zip"):
            return build_zip(self._files)
        found = self._files.find_input(name)
        if found is None:
            raise KeyError(name)
        return Path(found).read_bytes()


def redirect(files: InputFiles, asked: int) -> None:
    """Answer uploads. `asked`: how many calls the notebook's source holds. The stub of `google.colab` is there."""
    turns = itertools.count()
    module: Any = importlib.import_module("google.colab.files")
    module.upload = lambda *a, **k: Upload(files, choose(list(files.inputs), asked, next(turns)))
    module.upload_file = lambda name, *a, **k: Path(name).write_bytes(next(_read(files, asked, next(turns))))


def choose(names: list[str], asked: int, turn: int) -> list[str]:
    """Return the names of what is uploaded in a turn, from 0: the next one first, and alone if there are more calls."""
    first = turn % len(names)
    return names[first : first + 1] if asked > 1 else names[first:] + names[:first]


def _read(files: InputFiles, asked: int, turn: int) -> Iterator[bytes]:
    return (Path(files.inputs[name]).read_bytes() for name in choose(list(files.inputs), asked, turn))
