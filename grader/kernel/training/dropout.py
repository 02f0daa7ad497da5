"""Dropout masks without waiting for them. torch draws them one by one on one core: a sixth of a training's time.

Under `use_fast_masks`, `Tensor.bernoulli_(p)` on the CPU draws 16 bits for each element instead: the same
distribution to 1/65,536 of p, other numbers. Every call is seeded by torch's own generator, so that whatever rewinds
that one (a seed, `fork_rng`, the second pass of gradient checkpointing) gets the same mask again. Only trainings under
a budget use it. It is a setting of the process, so it ends with the training.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from grader.kernel.fence import shield

LEVELS = 1 << 16
PER_WORD = 4  # draws of 16 bits in one of 64


@contextmanager
def use_fast_masks() -> Iterator[None]:
    """Draw masks quickly for a while; nothing changes for tensors on a GPU or with a generator of their own."""
    with torch.library._scoped_library("aten", "IMPL") as library:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the replacement, which is intended
            library.impl("bernoulli_.float", bernoulli_, "CPU")
        yield


@shield(lambda tensor, p=0.5, *, generator=None: draw_one_by_one(tensor, p, generator))
def bernoulli_(tensor: Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> Tensor:
    """Fill with ones and zeros in place: `torch.Tensor.bernoulli_`."""
    if generator is not None or not 0 < p < 1:
        return draw_one_by_one(tensor, p, generator)
    return tensor.copy_(draw(tensor.numel(), p).view(tensor.shape))


def draw(count: int, p: float) -> Tensor:
    """Draw `count` truth values, each true with probability `p` between 0 and 1, rounded to 1/65,536."""
    source = np.random.Generator(np.random.SFC64(int(torch.randint(1 << 62, (), device="cpu"))))
    words = source.integers(0, 1 << 64, size=-(-count // PER_WORD), dtype=np.uint64)
    levels = torch.from_numpy(words.view(np.int16)[:count])
    return levels < min(round(p * LEVELS), LEVELS - 1) - LEVELS // 2


def draw_one_by_one(tensor: Tensor, p: float, generator: torch.Generator | None) -> Tensor:
    """Fill with uniform numbers of torch, for calls that are not dropout's. RuntimeError, as in torch, for a bad p."""
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return tensor.copy_(torch.empty(tensor.shape, dtype=torch.float64, device="cpu").uniform_(generator=generator) < p)
