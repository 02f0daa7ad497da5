"""Environment variables of a kernel: where its libraries find what they would download, and what keeps them quiet."""

from pathlib import Path, PurePath
from typing import Final

from grader.assets.hub import Checkpoint
from grader.assets.offline_environment import build_offline_variables

QUIET: Final = {
    # Threads that wait for others sleep. By default they spin, and where a machine does anything else (a second worker,
    # say), the one waited for does not get its turn: small steps took five times as long. Results are the same.
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "disabled",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUTF8": "1",
}


def build_variables(checkpoint: Checkpoint, metrics: Path, scratch: PurePath) -> dict[str, str]:
    """All of them; `scratch` is where libraries keep their caches, as the kernel sees it."""
    return {**build_offline_variables(checkpoint.hub_cache, metrics, scratch), **QUIET}
