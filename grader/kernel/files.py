"""Files where the notebook thinks they are: data files in any folder, output in folders that this machine lacks.

Reading: a data file of the course is found by its base name, whatever folder comes before it. Writing: an absolute path
of another machine (a mounted drive, `C:\\Users\\...`) leads to a folder of this run. What exists is left alone.
"""

import builtins
import fnmatch
import functools
import glob
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

ELSEWHERE = "elsewhere"  # the folder that stands for other machines
OF_THE_HUB = ("cache_dir", "force_download", "token", "use_auth_token")  # how to download what is here already
BUILDERS = ("csv", "json", "text", "pandas", "parquet", "arrow", "generator")


def base_name(path: Any) -> str | None:
    """Last part of a path in the spelling of either system, or None for what is not a local path."""
    if not isinstance(path, (str, os.PathLike)):
        return None
    text = os.fspath(path)
    if not isinstance(text, str):
        return None
    return PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name


def exists(path: Any) -> bool:
    """`os.path.exists`, which is redirected itself."""
    try:
        os.stat(path)  # noqa: PTH116 - `path` may be anything
    except (OSError, ValueError):
        return False
    return True


class InputFiles:
    """Where this run finds what a path names."""

    def __init__(self, inputs: dict[str, str], work: str | None = None, others: tuple[str, ...] = ()) -> None:
        """`inputs`: base name -> real path of a data file; `work`: folder of the run, by default the current one.

        `others`: further folders of this run, which no path is led away from.
        """
        self.inputs = {name.lower(): path for name, path in inputs.items()}
        self.work = Path(work or os.getcwd()).resolve()  # noqa: PTH109 - Path.cwd is the same
        known: tuple[str | Path, ...] = (self.work, tempfile.gettempdir(), Path.home(), *others)
        self.ours = tuple(Path(folder).resolve() for folder in known)

    def locate(self, path: Any) -> Any:
        """The real path of what is to be read, and does not exist where the notebook looks; anything else unchanged."""
        name = base_name(path)
        if name is None or exists(path):
            return path
        placed = self.place(path)
        if placed is not path and exists(placed):
            return placed
        return self.inputs.get(name.lower(), path)

    def locate_all(self, value: Any) -> Any:
        """The same through the nested lists and dicts that `data_files` may be, with patterns such as `data/*.csv`."""
        if isinstance(value, dict):
            return {key: self.locate_all(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.locate_all(item) for item in value)
        return self.locate(value)

    def matching(self, pattern: Any) -> list[str]:
        """Data files whose base name fits the last part of a pattern."""
        last = base_name(pattern) or ""
        return [path for name, path in self.inputs.items() if fnmatch.fnmatch(name, last.lower())]

    def place(self, path: Any) -> Any:
        """A path in the folder of this run for one that belongs to another machine; anything else unchanged."""
        if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str) or exists(path):
            return path
        windows = PureWindowsPath(text)
        if os.name != "nt" and "\\" in text and "://" not in text:
            parts = [part.strip(":\\/") for part in windows.parts]
            placed = self.work.joinpath(ELSEWHERE, *parts) if windows.drive or windows.root else Path(*parts)
            return type(path)(placed) if isinstance(path, str) else placed
        if not os.path.isabs(text) or self._is_ours(Path(text)):  # noqa: PTH117 - `text` may be of any kind
            return path
        placed = self.work.joinpath(ELSEWHERE, *[part.strip(":\\/") for part in Path(text).parts[1:]])
        return str(placed) if isinstance(path, str) else placed

    def _is_ours(self, path: Path) -> bool:
        nearest = next((parent for parent in path.parents if exists(parent)), path)
        return any(nearest.resolve().is_relative_to(folder) for folder in self.ours)

    def folder(self) -> str:
        """Where the data files are."""
        return str(Path(next(iter(self.inputs.values()))).parent)


def redirect(files: InputFiles) -> None:
    """Let what students open, list, load and save files with go through `files`."""
    _redirect_builtins(files)
    _redirect_folders(files)
    _redirect_pandas(files)
    _redirect_torch(files)
    _redirect_transformers(files)


def wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Put `wrapper(original)` in the place of an attribute, with the original's name and signature.

    What is wrapped has to name its parameters as the original does: students pass them by position and by keyword.
    """
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(wrapper(original)))


def _redirect_builtins(files: InputFiles) -> None:
    from IPython.core import interactiveshell

    original = builtins.open

    @functools.wraps(original)
    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not isinstance(mode, str) or not set(mode) & set("wax+"):
            return original(files.locate(file), mode, *args, **kwargs)
        placed = files.place(file)
        if placed is not file:
            os.makedirs(os.path.dirname(placed) or ".", exist_ok=True)  # noqa: PTH103, PTH120
        return original(placed, mode, *args, **kwargs)

    builtins.open = io.open = opened  # pathlib uses the one in io
    interactiveshell.io_open = opened  # type: ignore[attr-defined]  # what `open` of a cell calls, also after %reset
    for name in ("exists", "isfile"):
        wrap(os.path, name, lambda original: lambda path: original(files.locate(path)))
    for name in ("exists", "is_file"):
        wrap(Path, name, lambda original: lambda self, *a, **k: original(Path(files.locate(self)), *a, **k))


def _redirect_folders(files: InputFiles) -> None:
    def tolerant(original: Any) -> Any:
        def change(path: Any) -> None:
            if exists(path):
                original(path)
            else:
                print(f"[grading] there is no folder {path!r} here; staying where we are")

        return change

    def pattern(original: Any) -> Any:
        def found(pathname: Any, *args: Any, **kwargs: Any) -> Any:
            return original(pathname, *args, **kwargs) or files.matching(pathname)

        return found

    def listing(original: Any) -> Any:
        return lambda path=".": original(found if exists(found := files.locate(path)) else files.folder())

    wrap(os, "chdir", tolerant)
    wrap(os, "listdir", listing)
    wrap(glob, "glob", pattern)
    wrap(os, "mkdir", lambda original: lambda path, *a, **k: original(files.place(path), *a, **k))
    wrap(os, "makedirs", lambda original: lambda name, *a, **k: original(files.place(name), *a, **k))
    wrap(os.path, "isdir", lambda original: lambda path: original(files.locate(path)))


def _redirect_pandas(files: InputFiles) -> None:
    import pandas as pd

    def wrapper(original: Any) -> Any:
        return lambda filepath_or_buffer, *a, **k: original(files.locate(filepath_or_buffer), *a, **k)

    wrap(pd, "read_csv", wrapper)
    wrap(pd, "read_table", wrapper)


def _redirect_torch(files: InputFiles) -> None:
    import torch

    def save(original: Any) -> Any:
        def saved(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            placed = files.place(f)
            if placed is not f:
                os.makedirs(os.path.dirname(placed), exist_ok=True)  # noqa: PTH103, PTH120
            return original(obj, placed, *args, **kwargs)

        return saved

    wrap(torch, "save", save)
    wrap(torch, "load", lambda original: lambda f, *a, **k: original(files.locate(f), *a, **k))


def _redirect_transformers(files: InputFiles) -> None:
    import transformers

    def save(original: Any) -> Any:
        return lambda self, save_directory, *a, **k: original(self, files.place(save_directory), *a, **k)

    for cls in (transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase):
        wrap(cls, "save_pretrained", save)

    def save_model(original: Any) -> Any:
        return lambda self, output_dir=None, *a, **k: original(self, files.place(output_dir), *a, **k)

    wrap(transformers.Trainer, "save_model", save_model)
    own = ("PreTrainedModel", "PreTrainedTokenizerBase", "PreTrainedConfig")
    for name in (*own, "AutoTokenizer", "AutoConfig", "AutoModel", "AutoModelForSequenceClassification"):
        cls = getattr(transformers, name)
        function = cls.from_pretrained.__func__
        cls.from_pretrained = classmethod(_from_pretrained(function, files))


def _from_pretrained(function: Callable[..., Any], files: InputFiles) -> Callable[..., Any]:
    @functools.wraps(function)
    def load(cls: Any, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        kept = {name: value for name, value in kwargs.items() if name not in OF_THE_HUB}
        return function(cls, files.locate(pretrained_model_name_or_path), *args, **kept)

    return load
