"""Numbers that a notebook gives: of a log, a metric, an argument. They may be anything."""

import math
import numbers
from typing import Any

from torch import Tensor


def read_figure(value: Any) -> float | None:
    """Return a real, finite number of Python, numpy or torch as such; None for anything else."""
    try:
        real = isinstance(value, (numbers.Real, Tensor)) and not isinstance(value, bool)
        figure = float(value) if real else math.nan
    except Exception:  # larger than any float, or an object that raises whatever it is asked
        return None
    return figure if math.isfinite(figure) else None
