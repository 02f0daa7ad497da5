"""Measures whether this machine multiplies bfloat16 matrices much faster than float32 ones (has matrix units)."""

import functools
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

SHAPE: Final = (256, 768, 768)  # rows, inputs, outputs: a layer of DistilBERT on two short reviews
REPEATS: Final = 12
WORTHWHILE: Final = 2.0  # autocast casts weights at every step, which eats up a smaller advantage


@functools.cache
def has_fast_bfloat16() -> bool:
    """Return True if a bfloat16 product on the CPU takes at most half the time of a float32 one. Measured once.

    On one core: with more, one that other work takes part in holds up all of them, in every repetition.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return measure_product_s(torch.float32) >= WORTHWHILE * measure_product_s(torch.bfloat16)
    finally:
        torch.set_num_threads(threads)


def measure_product_s(dtype: "torch.dtype") -> float:
    """Return the seconds of a product of matrices of this type, on the CPU and with torch's current threads.

    The fastest of several: whatever else the machine is doing only ever adds.
    """
    import torch

    rows, inputs, outputs = SHAPE
    left, right = torch.ones(rows, inputs, dtype=dtype), torch.ones(inputs, outputs, dtype=dtype)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - start)
    return min(seconds)
