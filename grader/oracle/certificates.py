"""The changes that a training made to the pretrained weights: which tensors, and by what rank.

Told from the difference between the exported effective weights and the checkpoint, so it holds whatever the code says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from grader import assignment
from grader.protocol.records import Reduction

# Differences are computed in float64 and stored in float32, so noise in a singular value of a 768-wide difference is
# about sqrt(2 · 768) · 6e-8 of a typical entry, below 1e-8 of the largest singular value. A hundred times that:
RANK_TOLERANCE = 1e-6
# Where a layer could not be copied to float64, the noise is that of float32 weights of size 1: 4 · sqrt(2·768) · 6e-8.
FLOAT32_NOISE = 1e-5
# A layer that adds its update to W for every evaluation and takes it off again rounds W each time: so often, in units
# of the roundoff of W's numbers.
ROUNDINGS = 16 * 2.0**-24
SKETCH = 64  # columns; twice the rank that most submissions choose, and more
RESIDUAL_TOLERANCE = 1e-4  # of a layer that is linear up to float32 rounding; a nonlinear one deviates by about 1


@dataclass(frozen=True)
class Delta:
    """The difference between a trained matrix and the pretrained one. Its rank takes seconds: computed when needed."""

    matrix: Tensor  # (out, in) float64
    noise: float  # singular values up to this are rounding, whatever the largest is

    @cached_property
    def rank(self) -> int:
        """Compute the numerical rank."""
        return compute_rank(self.matrix, self.noise)


@dataclass(frozen=True)
class KnownRank:
    """The rank of a difference whose matrix is no longer there."""

    rank: int


@dataclass(frozen=True)
class Certificate:
    """The facts about one trained model, relative to the checkpoint."""

    encoder_changed: tuple[str, ...]  # encoder tensors that differ, the q and v weights apart
    qv_deltas: Mapping[str, Delta | KnownRank]  # q or v layer -> its difference; absent when equal
    head_changed: bool
    unreadable: tuple[str, ...]  # layers that are not linear, and pretrained tensors that the model does not hold

    @property
    def qv_ranks(self) -> dict[str, int]:
        """Numerical rank of each q or v layer's difference; absent when unchanged."""
        return {path: delta.rank for path, delta in self.qv_deltas.items() if delta.rank}

    @property
    def any_encoder_change(self) -> bool:
        """True if anything below the head moved."""
        return bool(self.encoder_changed or self.qv_ranks)

    def find_absent(self, base: Iterable[str]) -> list[str]:
        """Return the names of pretrained tensors that the model lacks: what it computes with instead is unknown."""
        return sorted(set(self.unreadable).intersection(base))


def certify(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor], reduced: Mapping[str, Reduction]) -> Certificate:
    """Compare exported tensors (`w:` whole, `d:` differences) with the checkpoint. `reduced`: notes on wrapped layers.

    A reduction with a residual that is None was not finite, or belongs to a pretrained tensor that is not there.
    """
    moved = {key[2:]: key for key, tensor in tensors.items() if key[2:] in base and _has_moved(key, tensor, base)}
    qv = {f"{path}.weight": path for path in assignment.QV_LAYER_NAMES}
    qv = {name: path for name, path in qv.items() if name in moved and tensors[moved[name]].shape == base[name].shape}
    deltas = {path: _delta(moved[name], tensors[moved[name]], base) for name, path in qv.items()}
    return Certificate(
        encoder_changed=tuple(sorted(name for name in moved if name not in qv)),
        qv_deltas={
            path: Delta(matrix, _noise(reduced.get(path), base[f"{path}.weight"])) for path, matrix in deltas.items()
        },
        head_changed=any(name[2:].startswith(assignment.HEAD_MODULES) for name in tensors),
        unreadable=tuple(sorted(path for path, how in reduced.items() if not _is_linear(how))),
    )


def _has_moved(key: str, tensor: Tensor, base: Mapping[str, Tensor]) -> bool:
    return bool(tensor.any()) if key.startswith("d:") else not torch.equal(tensor.float(), base[key[2:]].float())


def _delta(key: str, tensor: Tensor, base: Mapping[str, Tensor]) -> Tensor:
    return tensor.double() if key.startswith("d:") else tensor.double() - base[key[2:]].double()


def builds_on(ours: Certificate, theirs: Certificate, rank: int) -> bool:
    """Return True if the query and value layers of two trained models differ by a rank that low at most."""
    pairs = [(ours.qv_deltas.get(path), theirs.qv_deltas.get(path)) for path in assignment.QV_LAYER_NAMES]
    return all(
        isinstance(one, Delta)
        and isinstance(other, Delta)
        and compute_rank(one.matrix - other.matrix, max(one.noise, FLOAT32_NOISE)) <= rank
        for one, other in pairs
    )


def compute_rank(delta: Tensor, noise: float) -> int:
    """Compute the rank of a matrix up to rounding; full where numbers are not finite. delta (out, in).

    A Gaussian sketch of SKETCH columns has the same rank with certainty where that is below SKETCH, and singular
    values that are off by no more than a factor of (sqrt(SKETCH) + sqrt(rank)) / (sqrt(SKETCH) - sqrt(rank)), below 6
    up to half of SKETCH (Halko, Martinsson and Tropp 2011, section 10): nothing beside the factor of 100 above.
    """
    exact = delta.double()
    if not bool(exact.isfinite().all()):  # a training that diverged
        return min(exact.shape)
    generator = torch.Generator().manual_seed(0)
    sketch = exact @ torch.randn(exact.shape[1], SKETCH, dtype=torch.float64, generator=generator) / SKETCH**0.5
    rank = _count_above(torch.linalg.svdvals(sketch), noise)
    return rank if rank <= SKETCH // 2 else _count_above(torch.linalg.svdvals(exact), noise)


def _count_above(values: Tensor, noise: float) -> int:
    return int((values > max(RANK_TOLERANCE * float(values[0]), noise)).sum())


def _noise(how: Reduction | None, weight: Tensor) -> float:
    """Return the largest singular value that rounding can cause in a wrapped layer; none in one that is not wrapped.

    Independent errors of size e in an m-by-n matrix have a largest singular value of about e (sqrt(m) + sqrt(n)).
    """
    if how is None:
        return 0.0
    rounding = ROUNDINGS * float(weight.float().square().mean().sqrt()) * sum(side**0.5 for side in weight.shape)
    return max(rounding, FLOAT32_NOISE if how.dtype == "torch.float32" else 0.0)


def _is_linear(how: Reduction) -> bool:
    return how.residual is not None and how.residual <= RESIDUAL_TOLERANCE
