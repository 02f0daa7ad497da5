"""Data loaders and maps with processes of their own.

Python 3.14 starts them from a server that knows nothing of the notebook, and pickles what they are to do: what a cell
defines cannot be found there. Notebooks were written for processes that are forked. Where processes cannot share
memory, one does all the work.
"""

import multiprocessing
import sys
from typing import Any

import datasets
import multiprocess  # type: ignore[import-untyped]  # what datasets has instead of multiprocessing
from torch.utils.data import DataLoader

from grader.kernel.wrapping import redirect_arguments

WITHOUT_WORKERS = {
    "num_workers": 0,
    "prefetch_factor": None,
    "persistent_workers": False,
    "timeout": 0,
    "multiprocessing_context": None,
}


def fork() -> None:
    """Have processes of data loaders and maps forked from this one, as on every Linux before Python 3.14.

    By default only: `set_start_method` would, and a notebook may call that itself once.
    """
    if sys.platform != "linux":
        return
    for module in (multiprocessing, multiprocess):
        contexts = module.context._default_context
        if contexts._actual_context is contexts._default_context:  # looked at, but not chosen
            contexts._actual_context = None
        contexts._default_context = contexts.get_context("fork")


def work_alone() -> None:
    """Have nothing done by other processes where these cannot share memory. Results are the same."""
    try:
        multiprocessing.Lock()
    except OSError:
        _ignore_workers()


def _ignore_workers() -> None:
    alone: dict[str, Any] = {name: lambda _, value=value: value for name, value in WITHOUT_WORKERS.items()}
    redirect_arguments(DataLoader, "__init__", **alone)
    for owner in (datasets.Dataset, datasets.DatasetDict):
        for name in ("map", "filter"):
            redirect_arguments(owner, name, num_proc=lambda _: None)
