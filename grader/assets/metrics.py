"""The metrics of the `evaluate` library without a network: `evaluate.load("accuracy")`, and precision, recall and f1.

evaluate fetches a metric's module from the hub and keeps it as `downloads/<SHA-256 of the address>.py` in its cache;
offline it takes that file. `prepare_metrics` puts modules of our own there. The folder is only read: evaluate copies
the module to HF_MODULES_CACHE and collects predictions in HF_METRICS_CACHE, both of which must be writable.
"""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Final

from grader.assets.cache import Recipe, build_bytes_recipe, find_damaged, prepare

METRICS: Final = ("accuracy", "precision", "recall", "f1", "glue", "matthews_correlation", "roc_auc")
MODULES: Final = Path(__file__).with_name("metric_modules")
ADDRESS: Final = "https://huggingface.co/spaces/evaluate-metric/{name}/resolve/{revision}/{name}.py"


def prepare_metrics(cache_dir: Path) -> Path:
    """Prepare `cache_dir`/evaluate and return it: what HF_EVALUATE_CACHE has to be. Raises GraderError."""
    folder = locate_metrics(cache_dir)
    prepare(folder, _recipes())
    return folder


def has_metrics(cache_dir: Path) -> bool:
    """Whether the metrics are there and whole; makes nothing."""
    return not find_damaged(locate_metrics(cache_dir), {name: recipe.sha256 for name, recipe in _recipes().items()})


def locate_metrics(cache_dir: Path) -> Path:
    """Where the metrics are, or would be."""
    return cache_dir / "evaluate"


def _recipes() -> dict[str, Recipe]:
    revisions = (f"v{importlib.metadata.version('evaluate')}", "main")  # asked for in this order
    modules = {name: (MODULES / f"{name}.py").read_bytes() for name in METRICS}
    return {
        f"downloads/{_address_hash(name, revision)}.py": build_bytes_recipe(module)
        for name, module in modules.items()
        for revision in revisions
    }


def _address_hash(name: str, revision: str) -> str:
    return hashlib.sha256(ADDRESS.format(name=name, revision=revision).encode("ascii")).hexdigest()
