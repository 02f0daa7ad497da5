"""The precision in which both sides compute: the kernel trains in it, the host measures accuracy in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def use_precision(bfloat16: bool) -> Iterator[None]:
    """Autocast where it pays, without its cache: the context outlives many steps, and what is cached never changes."""
    if bfloat16:
        with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
            yield
    else:
        with use_onednn():
            yield


@contextmanager
def use_onednn() -> Iterator[None]:
    """Have oneDNN multiply float32 matrices: on some processors it is twice as fast as the default.

    The setting permits bfloat16 products, which oneDNN takes where there are tiles for them. Without, it stays with
    float32: the largest error of a product with 768 terms was 1.3e-4 of 100, as with the default.
    """
    if torch.cpu._is_amx_tile_supported():
        yield
    else:
        with replace_attributes(torch.backends.mkldnn.matmul, {"fp32_precision": "bf16"}):  # type: ignore[attr-defined]
            yield


def disable_autocast() -> Any:
    """Return a context without autocast, also inside of one."""
    return torch.autocast("cpu", enabled=False)


@contextmanager
def replace_attributes(target: Any, values: dict[str, Any]) -> Iterator[None]:
    """Set attributes for a while."""
    before = {name: getattr(target, name) for name in values if hasattr(target, name)}
    for name in before:
        setattr(target, name, values[name])
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(target, name, value)
