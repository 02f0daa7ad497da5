"""The metrics of the `evaluate` library without a network: `evaluate.load("accuracy")`, and six others.

evaluate fetches a metric's module from the hub and keeps it as `downloads/<SHA-256 of the address>.py` in its cache;
offline it takes that file. `prepare_metrics` puts the grader's module there. The folder is only read: evaluate copies
the module to HF_MODULES_CACHE and collects predictions in HF_METRICS_CACHE, both of which must be writable.
"""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Final

from grader.assets.cache import Recipe, build_bytes_recipe, is_prepared, prepare

METRICS: Final = ("accuracy", "precision", "recall", "f1", "glue", "matthews_correlation", "roc_auc")
MODULE: Final = Path(__file__).with_name("metric_module.py")  # one for all
ADDRESS: Final = "https://huggingface.co/spaces/evaluate-metric/{name}/resolve/{revision}/{name}.py"


def prepare_metrics(cache_dir: Path) -> Path:
    """Prepare `cache_dir`/evaluate and return it: the value for HF_EVALUATE_CACHE. Raises GraderError."""
    prepare(folder := locate_metrics(cache_dir), _recipes())
    return folder


def has_metrics(cache_dir: Path) -> bool:
    """Return True if the metrics are there and whole; makes nothing."""
    return is_prepared(locate_metrics(cache_dir), _recipes())


def locate_metrics(cache_dir: Path) -> Path:
    """Return the folder that the metrics are in, or will be in."""
    return cache_dir / "evaluate"


def _recipes() -> dict[str, Recipe]:
    revisions = (f"v{importlib.metadata.version('evaluate')}", "main")  # evaluate tries them in this order
    addresses = [ADDRESS.format(name=name, revision=revision) for name in METRICS for revision in revisions]
    module = build_bytes_recipe(MODULE.read_bytes())
    return {f"downloads/{hashlib.sha256(address.encode('ascii')).hexdigest()}.py": module for address in addresses}
