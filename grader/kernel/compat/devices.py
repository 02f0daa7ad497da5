"""A GPU that the notebook takes for granted and this machine lacks."""

import time
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from grader.kernel.compat.files import wrap

ELSEWHERE = ("cuda", "mps", "xpu")
MEMORY_BYTES = 16 * 2**30  # of the GPU that Colab lends, for notebooks that choose a batch size by it
NAME = "none (the CPU, while grading)"
PROPERTIES = SimpleNamespace(name=NAME, total_memory=MEMORY_BYTES, major=0, minor=0, multi_processor_count=0)
QUIET: dict[str, dict[str, Any]] = {  # functions that fail without a GPU, and what they return here
    "cuda": {
        "synchronize": None,
        "ipc_collect": None,
        "reset_peak_memory_stats": None,
        "reset_max_memory_allocated": None,
        "set_per_process_memory_fraction": None,
        "set_device": None,
        "current_device": 0,
        "utilization": 0,
        "mem_get_info": (MEMORY_BYTES, MEMORY_BYTES),
        "memory_summary": "",
        "get_device_capability": (0, 0),
        "get_device_name": NAME,
        "get_device_properties": PROPERTIES,
    },
    "mps": {
        "synchronize": None,
        "empty_cache": None,
        "set_per_process_memory_fraction": None,
        "current_allocated_memory": 0,
        "driver_allocated_memory": 0,
        "recommended_max_memory": MEMORY_BYTES,
    },
    "xpu": {"synchronize": None, "get_device_name": NAME, "get_device_properties": PROPERTIES},
}


class CpuMode(TorchFunctionMode):
    """Sends what is meant for a GPU to the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` with every device of another kind replaced."""
        if func in (torch.Tensor.cuda, torch.Tensor.xpu):
            return args[0]
        if func is torch.Tensor.to and len(args) > 1 and type(args[1]) is int:
            args = (args[0], "cpu", *args[2:])
        kwargs = {key: to_cpu(value) for key, value in (kwargs or {}).items()}
        if type(kwargs.get("device")) is int:
            kwargs["device"] = "cpu"
        return func(*[to_cpu(value) for value in args], **kwargs)


class Event:
    """`torch.cuda.Event`, for those who time their training with it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what the original takes."""
        self.seconds = 0.0

    def record(self, stream: Any = None) -> None:
        """Note the time: nothing is pending on a CPU."""
        self.seconds = time.perf_counter()

    def wait(self, stream: Any = None) -> None:
        """It is over."""

    def synchronize(self) -> None:
        """It is over."""

    def query(self) -> bool:
        """It is over."""
        return True

    def elapsed_time(self, end: "Event") -> float:
        """Milliseconds from this event to `end`."""
        return 1000 * (end.seconds - self.seconds)


class GeneratorKind(type(torch.Generator)):  # type: ignore[misc]
    """`isinstance(x, torch.Generator)` stays true for all generators."""

    def __instancecheck__(cls, instance: Any) -> bool:
        """Ask the original."""
        return isinstance(instance, torch._C.Generator)


class Generator(torch.Generator, metaclass=GeneratorKind):
    """`torch.Generator("cuda")` makes one of the original's for the CPU. A type, since annotations name it."""

    def __new__(cls, device: Any = "cpu") -> Any:
        """The only thing that is different."""
        return torch._C.Generator(to_cpu(device))


def to_cpu(value: Any) -> Any:
    """The CPU in place of a GPU, however it is named; anything else unchanged."""
    if isinstance(value, torch.device) and value.type in ELSEWHERE:
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.split(":")[0] in ELSEWHERE else value


def redirect_gpu() -> None:
    """`.to('cuda')`, `.cuda()`, `device='mps'` and their like mean the CPU where there is no GPU."""
    if torch.cuda.is_available():
        return
    CpuMode().__enter__()
    for name in ("cuda", "xpu"):
        wrap(torch.nn.Module, name, lambda original: lambda self, device=None: self)
    wrap(torch.nn.Module, "to", _module_to)
    wrap(torch, "load", _torch_load)
    for kind, answers in QUIET.items():
        for name, answer in answers.items():
            setattr(getattr(torch, kind), name, lambda *a, _answer=answer, **k: _answer)
    torch.cuda.Event, torch.Generator = Event, Generator  # type: ignore[assignment,misc]
    _load_models_on_cpu()


def _module_to(original: Any) -> Any:
    def to(self: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple("cpu" if type(value) is int else to_cpu(value) for value in args)
        return original(self, *args, **{key: to_cpu(value) for key, value in kwargs.items()})

    return to


def _torch_load(original: Any) -> Any:
    return lambda f, map_location=None, **k: original(f, map_location=to_cpu(map_location), **k)


def _load_models_on_cpu() -> None:
    """`from_pretrained(..., device_map=...)` has one place to put a model."""
    import transformers

    classes: list[Any] = [transformers.PreTrainedModel, transformers.AutoModelForSequenceClassification]
    for owner in classes:
        function = owner.from_pretrained.__func__

        def load(cls: Any, /, *args: Any, _load: Any = function, **kwargs: Any) -> Any:
            kwargs.pop("device_map", None)
            return _load(cls, *args, **kwargs)

        owner.from_pretrained = classmethod(load)
