"""Packages that decorate a notebook and are not installed here: importing them succeeds and using them does nothing.

Only what cannot matter to training is on the list: plots, dashboards, accounts, summaries. A package that does work
for the student raises where it is used (see `missing_imports`).
"""

import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import Any

import huggingface_hub

from grader.kernel.fence import shield

TENSORBOARD = "torch.utils.tensorboard"
DECORATIVE = frozenset((  # with all their modules
    "wandb", "tensorboard", "tensorboardX", "mlflow", "comet_ml", "neptune", "trackio", "codecarbon", "clearml", "aim",
    "optuna", "swanlab", "dvclive", "nvidia_smi", "nvitop", "gpustat", "line_profiler", "lovely_tensors", "itables",
    "altair", "bokeh", "bertviz", "gradio", "missingno", "wordcloud",
    "kagglehub", "kaggle", "kaggle_secrets", "gdown", "wget", "dotenv",
    "seaborn", "plotly", "ipywidgets", "torchinfo", "torchsummary", "torchviz", "torchview", "tabulate", "prettytable",
    "termcolor", "colorama", "GPUtil", "pynvml", "memory_profiler", "ipdb", "pudb", "watermark", "nb_black", "humanize",
    "google.colab", TENSORBOARD,
))  # fmt: skip
STARRED = {  # what `from pynvml import *` brings, as in the documentation of transformers
    "pynvml": ("nvmlInit", "nvmlShutdown", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName",
               "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates"),
}  # fmt: skip


class NullObject(str):
    """Accepts whatever is done to it and does nothing. As text it is empty, as a number zero, as a sequence empty."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Give a function that is decorated back; otherwise return nothing again."""
        return args[0] if len(args) == 1 and not kwargs and inspect.isroutine(args[0]) else self

    def __getattr__(self, name: str) -> Any:
        """Return nothing for any name but those of protocols."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __float__(self) -> float:
        return 0.0

    def __int__(self) -> int:
        return 0

    def __format__(self, specification: str) -> str:
        return ""

    def _ignore(self, *args: Any) -> None:
        """Do nothing. As the end of a context, let errors pass through."""

    def _return_self(self, *others: Any) -> Any:
        return self

    def _return_text(self, other: Any) -> Any:
        return other if isinstance(other, str) else self

    __setattr__ = __setitem__ = __exit__ = _ignore
    __add__ = __radd__ = _return_text  # beside a text it stays empty text
    __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _return_self
    __floordiv__ = __rfloordiv__ = __pow__ = __rpow__ = __round__ = __neg__ = __abs__ = _return_self
    __getitem__ = __enter__ = _return_self


NOTHING = NullObject()


class StubModule(ModuleType):
    """A module in which every public name is there and is nothing."""

    __path__: list[str] = []  # noqa: RUF012 - of every package
    __version__ = "999"  # pandas asks whether tabulate is new enough

    def __getattr__(self, name: str) -> Any:
        """Return nothing for any name but those of protocols."""
        if name == "__all__" and self.__name__ in STARRED:
            return STARRED[self.__name__]
        if name.startswith("__"):
            raise AttributeError(name)
        return NOTHING


class StubFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stub modules for packages on a list."""

    def __init__(self, packages: Collection[str] = DECORATIVE, parents: Collection[str] = ("google",)) -> None:
        """`packages` are found with all their modules, `parents` alone: they may hold nothing but listed packages."""
        self.packages, self.parents = packages, parents

    @shield()
    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Return a specification for what is on the list."""
        listed = any(f"{fullname}.".startswith(f"{package}.") for package in self.packages)
        if listed or fullname in self.parents:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> ModuleType:
        """Return a stub for a specification."""
        return StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing."""


def install() -> None:
    """Let imports of decorative packages succeed from here on, and logging in to accounts."""
    _simplify_progress_bars()
    for name in ("login", "notebook_login", "interpreter_login", "logout"):
        setattr(huggingface_hub, name, NOTHING)
    for name in ("dbutils", "displayHTML"):  # of Databricks, where a restart is `dbutils.library.restartPython()`
        setattr(builtins, name, NOTHING)
    if importlib.util.find_spec("tensorboard") is None:  # torch's part for it is there and needs the real one
        sys.meta_path.insert(0, StubFinder((TENSORBOARD,), parents=()))
    sys.meta_path.append(StubFinder())  # last, so that whatever is installed is found before


def _simplify_progress_bars() -> None:
    """`tqdm.notebook` wants widgets; imported now, before they seem to be there."""
    plain, notebook = importlib.import_module("tqdm"), importlib.import_module("tqdm.notebook")
    for name in ("tqdm", "tqdm_notebook"):
        setattr(notebook, name, plain.tqdm)
    for name in ("trange", "tnrange"):
        setattr(notebook, name, plain.trange)
    plain.tqdm.get_lock()  # `thread_map` takes away a lock that it made, also from other threads that hold it
