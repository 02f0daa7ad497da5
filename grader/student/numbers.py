"""What is kept of a model's numbers: enough to recognise it in a later training, and to see what none changes."""

from collections.abc import Iterable
from typing import Any, Final

from torch import nn

from grader.kernel import modules, weights
from grader.kernel.training.observation import compute_digest
from grader.protocol.tensor_names import ENCODER, Naming

# A row of numbers in each layer, which no adapter takes the place of; every training of the encoder changes them.
SAMPLED: Final = ("output_layer_norm.weight", "ffn.lin2.bias")


def digest_encoder(model: nn.Module) -> dict[str, str]:
    """Return digests of a few tensors of the encoder, by their names in the pretrained network."""
    tensors = weights.collect_tensors(model).items()
    return {
        name: compute_digest(tensor) for name, tensor in tensors if name.startswith(ENCODER) and name.endswith(SAMPLED)
    }


def find_unheld(model: nn.Module, optimizers: Iterable[Any]) -> dict[str, int]:
    """Return the trainable parameters that no optimiser holds, with how many numbers each has.

    Nothing where they hold none of the model's: some kinds of parallel training give them parameters of their own.
    """
    held = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    naming = Naming.of(model)
    named = [(naming.to_plain(name), p) for name, p in modules.name_parameters(model) if p.requires_grad]
    if not any(id(p) in held for _, p in named):
        return {}
    return {name: modules.count_numbers(p) for name, p in named if id(p) not in held}
