"""Finds out whether a notebook names a kind of GPU, and so takes one for granted."""

import re
from collections.abc import Iterable
from typing import Final

KINDS: Final = ("cuda", "mps", "xpu")
NAMED: Final = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(KINDS)})(?![A-Za-z])")  # but not in `json.dumps`


def names_gpu(sources: Iterable[str]) -> bool:
    """Return True if one of these cells names a kind of GPU."""
    return any(NAMED.search(source) for source in sources)
