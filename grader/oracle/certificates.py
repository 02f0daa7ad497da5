"""What a training did to the pretrained weights: which tensors moved, and with what rank.

Works on the difference between the exported effective weights and the checkpoint, so it holds whatever the code said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from grader import assignment

# Differences are computed in float64 and stored in float32, so noise in a singular value of a 768-wide difference is
# about sqrt(2 · 768) · 6e-8 of a typical entry, below 1e-8 of the largest singular value. A hundred times that:
RANK_TOLERANCE = 1e-6
# Where a layer could not be copied to float64, the noise is that of float32 weights of size 1: 4 · sqrt(2·768) · 6e-8.
FLOAT32_NOISE = 1e-5
RESIDUAL_TOLERANCE = 1e-4  # of a layer that is linear up to float32 rounding; a nonlinear one deviates by about 1


@dataclass(frozen=True)
class Certificate:
    """The facts about one trained model, relative to the checkpoint."""

    encoder_changed: tuple[str, ...]  # encoder tensors that differ, the q and v weights apart
    qv_ranks: dict[str, int]  # q or v layer -> numerical rank of its difference; absent when unchanged
    head_changed: bool
    unreadable: tuple[str, ...]  # layers that could not be reduced to a matrix, or are not linear

    @property
    def any_encoder_change(self) -> bool:
        """Whether anything below the head moved."""
        return bool(self.encoder_changed or self.qv_ranks)


class Reduced(Protocol):
    """How a wrapped layer was reduced to a matrix."""

    @property
    def dtype(self) -> str:
        """In which precision."""

    @property
    def residual(self) -> float | None:
        """Largest relative deviation from a linear map; None when it was not finite."""


def certify(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor], reduced: Mapping[str, Reduced]) -> Certificate:
    """Facts from exported tensors (`w:` whole, `d:` differences), the checkpoint, and notes on reduced layers."""
    moved = {name: delta for name, delta in _differences(tensors, base).items() if bool(delta.any())}
    qv = {f"{path}.weight": path for path in assignment.QV_LAYER_NAMES}
    ranks = {qv[name]: numerical_rank(delta, _noise(reduced.get(qv[name]))) for name, delta in moved.items() if name in qv}
    head = tuple(name for name in tensors if name[2:].startswith(assignment.HEAD_MODULES))
    return Certificate(
        encoder_changed=tuple(sorted(name for name in moved if name not in qv)),
        qv_ranks={path: rank for path, rank in ranks.items() if rank},
        head_changed=bool(head),
        unreadable=tuple(sorted(path for path, how in reduced.items() if not _linear(how))),
    )


def _differences(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for key, tensor in tensors.items():
        kind, name = key[:2], key[2:]
        if name in base:
            found[name] = tensor.double() if kind == "d:" else tensor.double() - base[name].double()
    return found


def numerical_rank(delta: Tensor, noise: float) -> int:
    """Rank of a matrix up to rounding. delta (out, in)."""
    values = torch.linalg.svdvals(delta.double())
    return int((values > max(RANK_TOLERANCE * float(values[0]), noise)).sum())


def _noise(how: Reduced | None) -> float:
    return FLOAT32_NOISE if how is not None and how.dtype == "torch.float32" else 0.0


def _linear(how: Reduced) -> bool:
    return how.residual is not None and how.residual <= RESIDUAL_TOLERANCE
