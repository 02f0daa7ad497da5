"""Small models built from a description, so that the host alone knows which numbers are right for them."""

from itertools import pairwise
from typing import Any

import torch
from torch import nn


def build(description: dict[str, Any]) -> nn.Module:
    """A toy model: `sizes` of a chain of linear layers, and what is special about it.

    Keys: `sizes` [int], `bias` bool, `frozen` [indices of frozen layers], `frozen_bias` [indices with a frozen bias],
    `shared` bool (the first layer a second time under another name), `buffers` int, `half` bool.
    """
    sizes = description["sizes"]
    layers = [nn.Linear(a, b, bias=description.get("bias", True)) for a, b in pairwise(sizes)]
    model = nn.Sequential(*layers)
    for index in description.get("frozen", ()):
        layers[index].requires_grad_(False)
    for index in description.get("frozen_bias", ()):
        layers[index].bias.requires_grad_(False)
    if description.get("shared"):
        model.add_module("again", layers[0])
    if description.get("buffers"):
        model.register_buffer("statistics", torch.zeros(description["buffers"]))
    return model.half() if description.get("half") else model


def build_distilbert(dim: int, seed: int) -> nn.Module:
    """A DistilBERT classifier with six layers as in the assignment, but `dim` wide; takes milliseconds."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(vocab_size=50, dim=dim, hidden_dim=2 * dim, n_heads=2, max_position_embeddings=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DistilBertForSequenceClassification(config).eval()
