"""A GPU that the notebook takes for granted and this machine lacks."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from grader.kernel.files import wrap

ELSEWHERE = ("cuda", "mps", "xpu")
QUIET: dict[str, Any] = {  # functions that fail without a GPU, and what they return here
    "synchronize": None,
    "ipc_collect": None,
    "reset_peak_memory_stats": None,
    "reset_max_memory_allocated": None,
    "set_device": None,
    "current_device": 0,
    "mem_get_info": (0, 0),
    "memory_summary": "",
    "get_device_capability": (0, 0),
    "get_device_name": "none (the CPU, while grading)",
}


class OnCpu(TorchFunctionMode):
    """Sends what is meant for a GPU to the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` with every device of another kind replaced."""
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.to and len(args) > 1 and type(args[1]) is int:
            args = (args[0], "cpu", *args[2:])
        kwargs = {key: cpu(value) for key, value in (kwargs or {}).items()}
        return func(*[cpu(value) for value in args], **kwargs)


def cpu(value: Any) -> Any:
    """The CPU in place of a GPU, however it is named; anything else unchanged."""
    if isinstance(value, torch.device) and value.type in ELSEWHERE:
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.split(":")[0] in ELSEWHERE else value


def cuda_as_cpu() -> None:
    """`.to('cuda')`, `.cuda()`, `device='cuda'` and their like mean the CPU where there is no GPU."""
    if torch.cuda.is_available():
        return
    OnCpu().__enter__()
    wrap(torch.nn.Module, "cuda", lambda original: lambda self, device=None: self)
    wrap(torch.nn.Module, "to", _module_to)
    wrap(torch, "load", _torch_load)
    for name, answer in QUIET.items():
        setattr(torch.cuda, name, lambda *a, _answer=answer, **k: _answer)
    _models_on_cpu()


def _module_to(original: Any) -> Any:
    def to(self: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple("cpu" if type(value) is int else cpu(value) for value in args)
        return original(self, *args, **{key: cpu(value) for key, value in kwargs.items()})

    return to


def _torch_load(original: Any) -> Any:
    return lambda f, map_location=None, **k: original(f, map_location=cpu(map_location), **k)


def _models_on_cpu() -> None:
    """`from_pretrained(..., device_map=...)` has one place to put a model."""
    import transformers

    classes: list[Any] = [transformers.PreTrainedModel, transformers.AutoModelForSequenceClassification]
    for owner in classes:
        function = owner.from_pretrained.__func__

        def load(cls: Any, /, *args: Any, _load: Any = function, **kwargs: Any) -> Any:
            kwargs.pop("device_map", None)
            return _load(cls, *args, **kwargs)

        owner.from_pretrained = classmethod(load)
