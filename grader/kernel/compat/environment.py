"""Environment variables that Colab and Kaggle set and notebooks read without asking whether they are there.

`os.environ["COLAB_GPU"]` has a value. Whoever asks (`in`, `get`) is told the truth, so that a notebook written for
several places takes the way for an ordinary machine.
"""

import os
from typing import Any

VALUES = {
    **{"COLAB_GPU": "0", "COLAB_RELEASE_TAG": "release-colab", "COLAB_BACKEND_VERSION": "next"},
    **{"KAGGLE_KERNEL_RUN_TYPE": "Batch", "KAGGLE_URL_BASE": "", "KAGGLE_DATA_PROXY_TOKEN": ""},
    **dict.fromkeys(("HF_TOKEN", "HUGGINGFACE_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "WANDB_PROJECT"), ""),
    **{"USER": "student", "HOSTNAME": "localhost", "CUDA_VISIBLE_DEVICES": ""},
}


class Environ(os._Environ):  # type: ignore[type-arg]
    """The variables of this process, and values for those that other places set."""

    def __getitem__(self, key: Any) -> Any:
        """Return the value of a variable."""
        return VALUES[key] if key in VALUES and key not in self else super().__getitem__(key)

    def __contains__(self, key: Any) -> bool:
        """Return True for what is really there."""
        return self.get(key) is not None

    def get(self, key: Any, default: Any = None) -> Any:
        """Return what is really there, or a default."""
        try:
            return super().__getitem__(key)
        except KeyError:
            return default

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove what is really there."""
        return super().pop(key, *default) if key in self or not default else default[0]


def fill() -> None:
    """Have reading the variables of other places succeed."""
    os.environ.__class__ = Environ
