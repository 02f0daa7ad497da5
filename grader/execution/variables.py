"""Environment variables of a kernel: where its libraries find what they would download, and what keeps them quiet."""

from pathlib import PurePath
from typing import Final

CONSTANT: Final = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_ENDPOINT": "https://huggingface.co",  # metrics are filed under this address
    # Threads that wait for others sleep. By default they spin, and where a machine does anything else (a second worker,
    # say), the one waited for does not get its turn: small steps took five times as long. Results are the same.
    "OMP_WAIT_POLICY": "passive",
    # Memory in pages of 2 MiB where glibc and the system have them: a training touches a gigabyte for the first time,
    # which is 300,000 interruptions in pages of 4 KiB. Others ignore it.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "disabled",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
}


def build_variables(hub_cache: PurePath, metrics: PurePath, scratch: PurePath) -> dict[str, str]:
    """Return the variables, to be set before any of the libraries is imported. Paths are those that the kernel sees.

    `hub_cache` (of a Checkpoint) and `metrics` (of `prepare_metrics`) are only read and may be mounted so; `scratch`
    must be writable and belongs to one run.
    """
    folders = {
        "HF_HUB_CACHE": hub_cache,
        "HF_EVALUATE_CACHE": metrics,
        "HF_HOME": scratch,
        "HF_MODULES_CACHE": scratch / "modules",
        "HF_METRICS_CACHE": scratch / "metrics",
        "HF_DATASETS_CACHE": scratch / "datasets",
    }
    return {name: str(folder) for name, folder in folders.items()} | CONSTANT
