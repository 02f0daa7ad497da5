"""Data loaders and maps with processes of their own, where processes cannot share memory: one does all the work."""

import multiprocessing
from typing import Any

from grader.kernel.files import lead

OF_WORKERS = {
    "num_workers": 0,
    "prefetch_factor": None,
    "persistent_workers": False,
    "timeout": 0,
    "multiprocessing_context": None,
}


def work_alone() -> None:
    """Have nothing done by other processes if they could not be talked to. Results are the same."""
    if _share_memory():
        return
    import datasets
    from torch.utils.data import DataLoader

    lead(DataLoader, "__init__", **{name: lambda _, value=value: value for name, value in OF_WORKERS.items()})
    for owner in (datasets.Dataset, datasets.DatasetDict):
        for name in ("map", "filter"):
            lead(owner, name, num_proc=_none)


def _none(asked: Any) -> None:
    return None


def _share_memory() -> bool:
    try:
        multiprocessing.Lock()
    except OSError:
        return False
    return True
