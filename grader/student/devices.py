"""An accelerator that a student's code names, while questions with small models on the CPU are asked."""

import contextlib
from typing import Any

import torch

from grader.kernel.compat import devices


class StayMode(devices.CpuMode):
    """Sends to the CPU what is meant for an accelerator, and leaves the notebook's tensors that are on one there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` with every device of another kind replaced. `Module.to` parses first, then moves each tensor."""
        stays = args and isinstance(args[0], torch.Tensor) and args[0].device.type in devices.ELSEWHERE
        if stays or func is torch._C._nn._parse_to:
            return func(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def stay_on_cpu() -> contextlib.AbstractContextManager[Any]:
    """Return what sends the block to the CPU. Without an accelerator nothing: there, one that is named fails anyway."""
    return StayMode() if torch.accelerator.is_available() else contextlib.nullcontext()
