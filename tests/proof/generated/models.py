"""Pretrained models that cost programs little: the full size without numbers, and a small one with all of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from grader.kernel.probes.toys import build_distilbert
from grader.protocol.tensor_names import ENCODER

SMALL_WIDTH: Final = 48  # above every rank that programs choose, so that a low rank says something
LOADED: Final = 4  # at most, by one program: one for each step, and one more


@dataclass(frozen=True)
class Supply:
    """Pretrained models of one size, ready to be handed out, and the tensors that they hold."""

    models: tuple[nn.Module, ...]
    base: Mapping[str, Tensor]


def supply_full() -> Supply:
    """Models of DistilBERT's own size, full of zeros.

    Memory that was never written to is the same page of zeros over and over, so 66,955,010 numbers are copied with a
    process, and compared, in no time. What is described of them needs their names, shapes and `requires_grad` alone.
    """
    models = tuple(_build_hollow() for _ in range(LOADED))
    return Supply(models, _find_encoder(_build_hollow()))


def _build_hollow() -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = DistilBertForSequenceClassification(DistilBertConfig())
    zeros = {name: _make_zeros(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(zeros, assign=True)
    for name, buffer in [*model.named_buffers()]:
        parent, _, own = name.rpartition(".")
        model.get_submodule(parent).register_buffer(own, torch.zeros(buffer.shape, dtype=buffer.dtype), False)
    return model.eval()


def _make_zeros(shape: Iterable[int]) -> Tensor:
    """Zeros that numpy asks of the system, which touches none of them; torch would write them."""
    return torch.from_numpy(np.zeros(tuple(shape), dtype=np.float32))


def supply_small() -> Supply:
    """Models that are 48 wide, all the same."""
    models = tuple(build_distilbert(SMALL_WIDTH, seed=0) for _ in range(LOADED))
    return Supply(models, _find_encoder(build_distilbert(SMALL_WIDTH, seed=0)))


def _find_encoder(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith(ENCODER)}
