"""The pretrained weights that every exported difference refers to."""

from safetensors import safe_open
from torch import Tensor

from grader.protocol.tensor_names import ENCODER


def load_base_tensors(path: str) -> dict[str, Tensor]:
    """Load the pretrained encoder's tensors by name, mapped from disk. A language-model head is left out."""
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(ENCODER)]  # noqa: SIM118 - not a mapping
        return {name: file.get_tensor(name) for name in names}
