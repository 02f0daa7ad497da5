"""What is kept of a model's numbers: enough to recognise it in a later training."""

from typing import Final

from torch import nn

from grader.kernel import weights
from grader.kernel.training.observation import compute_digest
from grader.protocol.tensor_names import ENCODER

# A row of numbers in each layer, which no adapter takes the place of; every training of the encoder changes them.
SAMPLED: Final = ("output_layer_norm.weight", "ffn.lin2.bias")


def digest_encoder(model: nn.Module) -> dict[str, str]:
    """Return digests of a few tensors of the encoder, by their names in the pretrained network."""
    tensors = weights.collect_tensors(model).items()
    return {
        name: compute_digest(tensor) for name, tensor in tensors if name.startswith(ENCODER) and name.endswith(SAMPLED)
    }
