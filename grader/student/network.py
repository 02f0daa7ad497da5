"""The names and shapes of the pretrained network, for which nothing has to be downloaded or kept."""

from functools import cache

import torch
from torch import Tensor

from grader.protocol.tensor_names import ENCODER


@cache
def load_shapes() -> dict[str, Tensor]:
    """Return the encoder's tensors by name, with their shapes and without numbers."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    with torch.device("meta"):
        model = DistilBertForSequenceClassification(DistilBertConfig())
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith(ENCODER)}
