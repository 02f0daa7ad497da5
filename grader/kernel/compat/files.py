"""Files where the notebook thinks they are: data files in any folder, output in folders that this machine lacks.

Reading: a data file of the course is found by its base name, whatever folder comes before it. Writing: an absolute path
of another machine (a mounted drive, `C:\\Users\\...`) leads to a folder of this run. What exists is left alone.
"""

import builtins
import fnmatch
import functools
import glob
import inspect
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

ELSEWHERE = "elsewhere"  # the folder that stands for other machines
OF_THE_HUB = ("cache_dir", "force_download", "token", "use_auth_token")  # how to download what is here already
READ_WITH_PANDAS = {
    "read_csv": "filepath_or_buffer",
    "read_table": "filepath_or_buffer",
    "read_pickle": "filepath_or_buffer",
    "read_json": "path_or_buf",
    "read_parquet": "path",
}
WRITTEN_WITH_PANDAS = {
    "to_csv": "path_or_buf",
    "to_json": "path_or_buf",
    "to_pickle": "path",
    "to_parquet": "path",
    "to_excel": "excel_writer",
    "to_html": "buf",
    "to_latex": "buf",
    "to_markdown": "buf",
}
BUILDERS = ("csv", "json", "text", "pandas", "parquet", "arrow", "generator")


def get_base_name(path: Any) -> str | None:
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
        name = get_base_name(path)
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

    def find_matching(self, pattern: Any) -> list[str]:
        """Data files whose base name fits the last part of a pattern."""
        last = get_base_name(pattern) or ""
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

    def make_place(self, path: Any) -> Any:
        """The same, with the folder that it will lie in: it may be one that `!mkdir`, which is not run, was to make."""
        placed = self.place(path)
        folder = os.path.dirname(placed) if isinstance(placed, (str, os.PathLike)) else ""  # noqa: PTH120
        if folder and not exists(folder):
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        return placed

    def _is_ours(self, path: Path) -> bool:
        nearest = next((parent for parent in path.parents if exists(parent)), path)
        return any(nearest.resolve().is_relative_to(folder) for folder in self.ours)

    def names(self) -> list[str]:
        """What the data files are called."""
        return [Path(path).name for path in self.inputs.values()]

    def folder(self) -> str:
        """Where the data files are."""
        return str(Path(next(iter(self.inputs.values()))).parent)


def redirect(files: InputFiles) -> None:
    """Let what students open, list, load and save files with go through `files`."""
    _redirect_builtins(files)
    _redirect_folders(files)
    _redirect_copies(files)
    _redirect_pandas(files)
    _redirect_numpy(files)
    _redirect_torch(files)
    _redirect_transformers(files)


def wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Put `wrapper(original)` in the place of an attribute, with the original's name and signature.

    What is wrapped has to name its parameters as the original does: students pass them by position and by keyword.
    """
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(wrapper(original)))


def redirect_arguments(owner: Any, name: str, /, **ways: Callable[[Any], Any]) -> None:
    """Have arguments of `owner.name`, given by position or by keyword, go through functions of paths."""
    names = tuple(inspect.signature(getattr(owner, name)).parameters)

    def way(parameter: str, value: Any) -> Any:
        return ways[parameter](value) if parameter in ways else value

    def wrapper(original: Any) -> Any:
        def led(*args: Any, **kwargs: Any) -> Any:
            given = map(way, names, args)
            return original(*given, *args[len(names) :], **{name: way(name, value) for name, value in kwargs.items()})

        return led

    wrap(owner, name, wrapper)


def _redirect_builtins(files: InputFiles) -> None:
    from IPython.core import interactiveshell

    original = builtins.open

    @functools.wraps(original)
    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not isinstance(mode, str) or not set(mode) & set("wax+"):
            return original(files.locate(file), mode, *args, **kwargs)
        return original(files.make_place(file), mode, *args, **kwargs)

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
            return original(pathname, *args, **kwargs) or files.find_matching(pathname)

        return found

    def listing(original: Any) -> Any:
        return lambda path=".": original(found if exists(found := files.locate(path)) else files.folder())

    def walked(original: Any) -> Any:
        def found(top: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
            here = files.locate(top)
            return original(here, *args, **kwargs) if exists(here) else iter([(top, [], files.names())])

        return found

    def globbed(original: Any) -> Any:
        def found(self: Path, pattern: str, **options: Any) -> Iterator[Path]:
            return original(self, pattern, **options) if exists(self) else map(Path, files.find_matching(pattern))

        return found

    def iterated(original: Any) -> Any:
        def found(self: Path) -> Iterator[Path]:
            here = Path(files.locate(self))
            return original(here if exists(here) else Path(files.folder()))

        return found

    wrap(os, "chdir", tolerant)
    wrap(os, "listdir", listing)
    wrap(glob, "glob", pattern)
    wrap(os, "walk", walked)
    wrap(Path, "glob", globbed)
    wrap(Path, "rglob", globbed)
    wrap(Path, "iterdir", iterated)
    if hasattr(Path, "walk"):  # from Python 3.12 on
        wrap(Path, "walk", walked)
    redirect_arguments(os, "mkdir", path=files.make_place)
    redirect_arguments(os, "makedirs", name=files.place)
    wrap(os.path, "isdir", lambda original: lambda path: original(files.locate(path)))


def _redirect_copies(files: InputFiles) -> None:
    redirect_arguments(os.path, "getsize", filename=files.locate)
    redirect_arguments(Path, "stat", self=files.locate)
    for name in ("copyfile", "copymode", "copystat", "copytree"):  # of which `copy` and `copy2` consist
        redirect_arguments(shutil, name, src=files.locate, dst=files.place if name == "copytree" else files.make_place)
    redirect_arguments(shutil, "move", src=files.place, dst=files.make_place)
    for name in ("remove", "unlink", "rmdir"):  # of what the notebook made: no data file is anywhere that this leads
        redirect_arguments(os, name, path=files.place)
    for name in ("rename", "replace"):
        redirect_arguments(os, name, src=files.place, dst=files.make_place)
    redirect_arguments(shutil, "rmtree", path=files.place)
    redirect_arguments(shutil, "make_archive", base_name=files.make_place, root_dir=files.place)


def _redirect_pandas(files: InputFiles) -> None:
    import pandas as pd

    for name, parameter in READ_WITH_PANDAS.items():
        redirect_arguments(pd, name, **{parameter: files.locate})
    for owner in (pd.DataFrame, pd.Series):
        for name, parameter in WRITTEN_WITH_PANDAS.items():
            if hasattr(owner, name):
                redirect_arguments(owner, name, **{parameter: files.make_place})


def _redirect_numpy(files: InputFiles) -> None:
    import numpy as np  # whose other functions open files as everybody does

    redirect_arguments(np, "savetxt", fname=files.make_place)
    redirect_arguments(np, "loadtxt", fname=files.locate)
    redirect_arguments(np, "genfromtxt", fname=files.locate)


def _redirect_torch(files: InputFiles) -> None:
    import safetensors.torch
    import torch

    redirect_arguments(torch, "save", f=files.make_place)
    redirect_arguments(torch, "load", f=files.locate)
    redirect_arguments(safetensors.torch, "save_file", filename=files.make_place)
    redirect_arguments(safetensors.torch, "load_file", filename=files.locate)


def _redirect_transformers(files: InputFiles) -> None:
    import transformers

    for cls in (transformers.PreTrainedModel, transformers.PreTrainedTokenizerBase):
        redirect_arguments(cls, "save_pretrained", save_directory=files.place)
    redirect_arguments(transformers.Trainer, "save_model", output_dir=files.place)
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
