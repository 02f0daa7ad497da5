"""Files where the notebook expects them: data files in any folder, output in folders that this machine lacks.

Reading finds a data file of the course by its base name, whatever folder comes before it. Writing to an absolute path
of another machine (a mounted drive, `C:\\Users\\...`) leads to a folder of this run. What exists is left alone.
"""

import builtins
import fnmatch
import functools
import glob
import io
import os
import pkgutil
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from IPython.core import interactiveshell

from grader.kernel.wrapping import redirect_arguments, wrap

ELSEWHERE = "elsewhere"  # the folder that stands for other machines
COPY = re.compile(  # what browsers, drives and systems make of the name of a file that is there already
    r"(?:copy of |kopia av )?(?P<stem>.+?)(?:[ _]*\(\d+\)|[-_]\d+|(?: - | – | )(?:copy|kopia)(?: ?\(?\d+\)?)?)*"
    r"(?P<kind>\.\w+?)(?:\.(?:\d+|txt|csv))?"
)

# Module or class -> function -> its parameter that is the path of ...
Parameters = Mapping[str, Mapping[str, str]]
SERIES = {
    **{"to_csv": "path_or_buf", "to_json": "path_or_buf", "to_pickle": "path"},
    **{"to_excel": "excel_writer", "to_latex": "buf", "to_markdown": "buf"},
}
READ: Parameters = {  # ... what is read
    "os.path": {"exists": "path", "isfile": "path", "isdir": "s", "getsize": "filename"},
    "pathlib.Path": {"exists": "self", "is_file": "self", "stat": "self"},
    "shutil": dict.fromkeys(("copyfile", "copymode", "copystat", "copytree"), "src"),  # `copy` consists of these
    "pandas": {
        **dict.fromkeys(("read_csv", "read_table", "read_pickle"), "filepath_or_buffer"),
        **{"read_json": "path_or_buf", "read_parquet": "path"},
    },
    "numpy": {"loadtxt": "fname", "genfromtxt": "fname"},
    "torch": {"load": "f"},
    "safetensors.torch": {"load_file": "filename"},
}
WRITTEN: Parameters = {  # ... a file that is written
    "os": {"mkdir": "path", "rename": "dst", "replace": "dst"},
    "shutil": {**dict.fromkeys(("copyfile", "copymode", "copystat", "move"), "dst"), "make_archive": "base_name"},
    "pandas.Series": SERIES,
    "pandas.DataFrame": {**SERIES, "to_parquet": "path", "to_html": "buf"},
    "numpy": {"savetxt": "fname"},
    "torch": {"save": "f"},
    "safetensors.torch": {"save_file": "filename"},
}
PLACED: Parameters = {  # ... a folder that is written, or what the notebook made: this never leads to a data file
    "os": {
        **dict.fromkeys(("remove", "unlink", "rmdir"), "path"),
        **{"makedirs": "name", "rename": "src", "replace": "src"},
    },
    "shutil": {"copytree": "dst", "move": "src", "rmtree": "path", "make_archive": "root_dir"},
    "transformers.PreTrainedModel": {"save_pretrained": "save_directory"},
    "transformers.PreTrainedTokenizerBase": {"save_pretrained": "save_directory"},
    "transformers.Trainer": {"save_model": "output_dir"},
}


def get_text(path: Any) -> str | None:
    """Return a path as text, or None for what is no path: a number, bytes, an open file."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    return text if isinstance(text, str) else None


def get_base_name(path: Any) -> str | None:
    """Return the last part of a path in the spelling of either system, or None for what is no path."""
    text = get_text(path)
    if text is None:
        return None
    return PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name


def exists(path: Any) -> bool:
    """Do what `os.path.exists`, which is redirected itself, did before."""
    try:
        os.stat(path)  # noqa: PTH116 - `path` may be anything
    except (OSError, ValueError):
        return False
    return True


class InputFiles:
    """The data files of this run, and the folders that stand for those of other machines."""

    def __init__(self, inputs: dict[str, str], work: str | None = None, others: tuple[str, ...] = ()) -> None:
        """`inputs`: base name -> real path of a data file; `work`: folder of the run, by default the current one.

        `others`: further folders of this run, which no path is led away from.
        """
        self.inputs = {name.lower(): path for name, path in inputs.items()}
        self.work = Path(work or os.getcwd()).resolve()  # noqa: PTH109 - Path.cwd is the same
        known: tuple[str | Path, ...] = (self.work, tempfile.gettempdir(), Path.home(), *others)
        self.ours = tuple(Path(folder).resolve() for folder in known)

    def locate(self, path: Any) -> Any:
        """Return the real path of what does not exist where the notebook reads it; anything else unchanged."""
        name = get_base_name(path)
        if name is None or exists(path):
            return path
        placed = self.place(path)
        if placed is not path and exists(placed):
            return placed
        found = self.find_input(name)
        return path if found is None else found if isinstance(path, str) else Path(found)

    def find_input(self, name: str) -> str | None:
        """Return the path of the data file of this base name, or of the one that `train (1).csv` is a copy of."""
        copy = COPY.fullmatch(name.lower())
        return self.inputs.get(name.lower()) or (self.inputs.get(copy["stem"] + copy["kind"]) if copy else None)

    def locate_all(self, value: Any) -> Any:
        """Locate all paths in the nested lists and dicts that `data_files` may be."""
        if isinstance(value, dict):
            return {key: self.locate_all(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.locate_all(item) for item in value)
        return self.locate(value)

    def find_matching(self, pattern: Any) -> list[str]:
        """Return the data files whose base name fits the last part of a pattern."""
        last = get_base_name(pattern) or ""
        return [path for name, path in self.inputs.items() if fnmatch.fnmatch(name, last.lower())]

    def place(self, path: Any) -> Any:
        """Return a path in the folder of this run for one of another machine; anything else unchanged."""
        text = get_text(path)
        if text is None or exists(path):
            return path
        parts, absolute = Path(text).parts[1:], os.path.isabs(text)  # noqa: PTH117 - `text` may be of any kind
        if os.name != "nt" and "\\" in text and "://" not in text:
            windows = PureWindowsPath(text)
            parts, absolute = windows.parts, bool(windows.drive or windows.root)
        elif not absolute or self._is_ours(Path(text)):
            return path
        names = [part.strip(":\\/") for part in parts]
        placed = self.work.joinpath(ELSEWHERE, *names) if absolute else Path(*names)
        return str(placed) if isinstance(path, str) else placed

    def make_place(self, path: Any) -> Any:
        """Place a path and make the folder that it lies in, which the notebook may leave to a `!mkdir`."""
        placed = self.place(path)
        folder = os.path.dirname(placed) if isinstance(placed, (str, os.PathLike)) else ""  # noqa: PTH120
        if folder and not exists(folder):
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        return placed

    def _is_ours(self, path: Path) -> bool:
        nearest = next((parent for parent in path.parents if exists(parent)), path)
        return any(nearest.resolve().is_relative_to(folder) for folder in self.ours)

    def get_names(self) -> list[str]:
        """Return the names of the data files."""
        return [Path(path).name for path in self.inputs.values()]

    def get_folder(self) -> str:
        """Return the folder of the data files."""
        return str(Path(next(iter(self.inputs.values()))).parent)


def redirect(files: InputFiles) -> None:
    """Let what students open, list, load and save files with go through `files`."""
    _redirect_open(files)
    _redirect_folders(files)
    for table, way in ((READ, files.locate), (WRITTEN, files.make_place), (PLACED, files.place)):
        for owner, functions in table.items():
            for name, parameter in functions.items():
                redirect_arguments(pkgutil.resolve_name(owner), name, **{parameter: way})


def _redirect_open(files: InputFiles) -> None:
    wrap(builtins, "open", functools.partial(_open, files))
    io.open = builtins.open  # what pathlib calls
    interactiveshell.io_open = builtins.open  # type: ignore[attr-defined]  # `open` of a cell, also after %reset
    # A function that opens files is pickled with it, by the library of data sets: by name only while both are the same.
    interactiveshell._modified_open.__wrapped__ = builtins.open


def _open(files: InputFiles, original: Any, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    writes = isinstance(mode, str) and set(mode) & set("wax+")
    return original(files.make_place(file) if writes else files.locate(file), mode, *args, **kwargs)


def _redirect_folders(files: InputFiles) -> None:
    """Have folders that are not here hold the data files."""
    replacements: list[tuple[Any, str, Callable[..., Any]]] = [
        (os, "chdir", _change_folder),
        (os, "listdir", _list_folder),
        (os, "walk", _walk),
        (glob, "glob", _glob),
        (Path, "glob", _glob_below),
        (Path, "rglob", _glob_below),
        (Path, "iterdir", _iterate),
    ]
    if hasattr(Path, "walk"):  # from Python 3.12 on
        replacements.append((Path, "walk", _walk))
    for owner, name, replacement in replacements:
        wrap(owner, name, functools.partial(replacement, files))


def _change_folder(files: InputFiles, original: Any, path: Any) -> None:
    if exists(path):
        original(path)
    else:
        print(f"[grading] there is no folder {path!r} on this machine; the working folder stays as it is")


def _list_folder(files: InputFiles, original: Any, path: Any = ".") -> Any:
    return original(_find_folder(files, path))


def _walk(files: InputFiles, original: Any, top: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
    here = files.locate(top)
    return original(here, *args, **kwargs) if exists(here) else iter([(top, [], files.get_names())])


def _glob(files: InputFiles, original: Any, pathname: Any, *args: Any, **kwargs: Any) -> Any:
    return original(pathname, *args, **kwargs) or files.find_matching(pathname)


def _glob_below(files: InputFiles, original: Any, folder: Path, pattern: str, **options: Any) -> Iterator[Path]:
    return original(folder, pattern, **options) if exists(folder) else map(Path, files.find_matching(pattern))


def _iterate(files: InputFiles, original: Any, folder: Path) -> Iterator[Path]:
    return original(Path(_find_folder(files, folder)))


def _find_folder(files: InputFiles, path: Any) -> Any:
    found = files.locate(path)
    return found if exists(found) else files.get_folder()
