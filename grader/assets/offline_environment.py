"""The environment in which Hugging Face libraries find the prepared assets and ask no network."""

from pathlib import PurePath


def build_offline_variables(hub_cache: PurePath, evaluate_cache: PurePath, scratch: PurePath) -> dict[str, str]:
    """Environment variables for a process without a network, to be set before it imports any of the libraries.

    `hub_cache` (of a Checkpoint) and `evaluate_cache` (of `prepare_metrics`) are only read and may be mounted so;
    `scratch` must be writable and belongs to one run. The paths are those that the process itself sees.
    """
    return {
        "HF_HUB_CACHE": str(hub_cache),
        "HF_EVALUATE_CACHE": str(evaluate_cache),
        "HF_HOME": str(scratch),
        "HF_MODULES_CACHE": str(scratch / "modules"),
        "HF_METRICS_CACHE": str(scratch / "metrics"),
        "HF_DATASETS_CACHE": str(scratch / "datasets"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_ENDPOINT": "https://huggingface.co",  # metrics are filed under this address
    }
