"""A GPU that the notebook takes for granted and this machine lacks."""

import contextlib
import time
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch.overrides import TorchFunctionMode

from grader.kernel.fence import shield
from grader.kernel.wrapping import wrap

ELSEWHERE = ("cuda", "mps", "xpu")
MEMORY_BYTES = 16 * 2**30  # of the GPU that Colab lends, for notebooks that choose a batch size by it
NAME = "none (the CPU, while grading)"
PROPERTIES = SimpleNamespace(name=NAME, total_memory=MEMORY_BYTES, major=0, minor=0, multi_processor_count=0)
CONTEXTS = ("device", "device_of", "stream", "StreamContext", "set_stream")
STREAMS = ("Stream", "ExternalStream", "current_stream", "default_stream")
TENSORS = ("FloatTensor", "DoubleTensor", "HalfTensor", "LongTensor", "IntTensor", "ByteTensor", "BoolTensor")
# Functions that fail without a GPU, and what they return here.
SILENT = (
    *("synchronize", "ipc_collect", "set_device", "set_per_process_memory_fraction"),
    *("reset_peak_memory_stats", "reset_max_memory_allocated"),
)
ACCELERATOR = (
    *("synchronize", "empty_cache", "empty_host_cache", "set_device_index", "set_device_idx"),
    *("reset_peak_memory_stats", "reset_accumulated_memory_stats", "set_stream"),
)
OF_DEVICE: dict[str, Any] = {"get_device_name": NAME, "get_device_properties": PROPERTIES}
MEMORY = ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved")
STATS: defaultdict[str, int] = defaultdict(int)  # of allocations: none, whichever is asked for
ANSWERS: dict[str, dict[str, Any]] = {
    "cuda": {
        **dict.fromkeys(SILENT),
        **OF_DEVICE,
        **{"current_device": 0, "utilization": 0, "memory_summary": "", "get_device_capability": (0, 0)},
        "mem_get_info": (MEMORY_BYTES, MEMORY_BYTES),
        **{"memory_stats": STATS, "reset_accumulated_memory_stats": None, "reset_max_memory_cached": None},
        **dict.fromkeys(("temperature", "power_draw", "clock_rate", "memory_usage", "device_memory_used"), 0),
    },
    "accelerator": {
        **dict.fromkeys(ACCELERATOR),
        **dict.fromkeys((*MEMORY, "current_device_index", "current_device_idx"), 0),
        **{"memory_stats": STATS, "get_memory_info": (MEMORY_BYTES, MEMORY_BYTES), "get_device_capability": {}},
    },
    "mps": {
        **dict.fromkeys(("synchronize", "empty_cache", "set_per_process_memory_fraction")),
        **{"current_allocated_memory": 0, "driver_allocated_memory": 0, "recommended_max_memory": MEMORY_BYTES},
    },
    "xpu": {
        **dict.fromkeys(("synchronize", "reset_peak_memory_stats", "reset_accumulated_memory_stats")),
        **{"memory_stats": STATS, "mem_get_info": (MEMORY_BYTES, MEMORY_BYTES), **OF_DEVICE},
    },
}


class CpuMode(TorchFunctionMode):
    """Sends what is meant for a GPU to the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` with every device of another kind replaced. What it raises is the notebook's: it runs once."""
        if func in (torch.Tensor.cuda, torch.Tensor.xpu) and args:
            return args[0]
        given, named = _replace_devices(func, args, kwargs or {})
        return func(*given, **named)


@shield(lambda func, args, kwargs: (args, kwargs))
def _replace_devices(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return arguments for a call on the CPU."""
    if func is torch.Tensor.to and len(args) > 1 and type(args[1]) is int:
        args = (args[0], "cpu", *args[2:])
    kwargs = {key: to_cpu(value) for key, value in kwargs.items()}
    if type(kwargs.get("device")) is int:
        kwargs["device"] = "cpu"
    return [to_cpu(value) for value in args], kwargs


class Event:
    """`torch.cuda.Event`, for those who time their training with it. On a CPU nothing is ever pending."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seconds = 0.0

    def record(self, stream: Any = None) -> None:
        """Note the time."""
        self.seconds = time.perf_counter()

    def wait(self, stream: Any = None) -> None:
        """Return at once."""

    synchronize = wait

    def query(self) -> bool:
        """Return True: the event is over."""
        return True

    def elapsed_time(self, end: "Event") -> float:
        """Return the milliseconds from this event to `end`."""
        return 1000 * (end.seconds - self.seconds)


class Stream:
    """`torch.cuda.Stream`. On a CPU everything happens in the order in which it is asked for."""

    cuda_stream = device_index = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make nothing."""

    def synchronize(self, *args: Any) -> None:
        """Return at once."""

    wait_stream = wait_event = synchronize

    def query(self) -> bool:
        """Return True: all is done."""
        return True

    def record_event(self, event: Any = None) -> Any:
        """Record an event."""
        found = event or Event()
        found.record()
        return found

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *error: Any) -> None:
        """Let errors pass through."""


class GeneratorKind(type(torch.Generator)):  # type: ignore[misc]
    """Keeps `isinstance(x, torch.Generator)` true for all generators."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, torch._C.Generator)


class Generator(torch.Generator, metaclass=GeneratorKind):
    """`torch.Generator("cuda")` makes one of the original's for the CPU. A type, since annotations name it."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return torch._C.Generator(to_cpu(device))


def to_cpu(value: Any) -> Any:
    """Return the CPU in place of a GPU, however it is named; anything else unchanged."""
    if isinstance(value, torch.device) and value.type in ELSEWHERE:
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.split(":")[0] in ELSEWHERE else value


def redirect_gpu() -> None:
    """Have `.to('cuda')`, `.cuda()`, `device='mps'` and their like mean the CPU where there is no GPU."""
    if torch.cuda.is_available():
        return
    CpuMode().__enter__()
    for name in ("cuda", "xpu"):
        wrap(torch.nn.Module, name, lambda original, self, device=None: self)
    wrap(torch.nn.Module, "to", _move)
    wrap(torch, "load", _load)
    for owner in (transformers.PreTrainedModel, transformers.AutoModelForSequenceClassification):
        wrap(owner, "from_pretrained", _load_pretrained)
    for kind, answers in ANSWERS.items():
        for name, answer in answers.items():
            setattr(getattr(torch, kind), name, lambda *a, _answer=answer, **k: _answer)
    torch.cuda.Event, torch.Generator = Event, Generator  # type: ignore[assignment,misc]
    torch.accelerator.current_stream = Stream  # type: ignore[assignment]
    _redirect_defaults()


def _redirect_defaults() -> None:
    """Have contexts and defaults that name a GPU mean the CPU, and types of its tensors those of the CPU's."""
    for name in CONTEXTS:
        setattr(torch.cuda, name, _open_context)
    for name in STREAMS:
        setattr(torch.cuda, name, Stream)
    for name in TENSORS:
        setattr(torch.cuda, name, getattr(torch, name))
    wrap(
        torch, "set_default_device", lambda original, device: original("cpu" if type(device) is int else to_cpu(device))
    )
    wrap(torch, "set_default_tensor_type", lambda original, t: original(name_cpu_type(t)))
    wrap(torch.Tensor, "type", lambda original, self, *a, **k: original(self, *map(name_cpu_type, a), **k))


def _open_context(*args: Any, **kwargs: Any) -> Any:
    """Open `with torch.cuda.device(0):` or `with torch.cuda.stream(s):`, in which nothing is different."""
    return contextlib.nullcontext()


def name_cpu_type(kind: Any) -> Any:
    """Return the name of a tensor type of the CPU for one of a GPU; anything else unchanged."""
    return kind.replace("torch.cuda.", "torch.") if isinstance(kind, str) else kind


def _move(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
    args = tuple("cpu" if type(value) is int else to_cpu(value) for value in args)
    return original(self, *args, **{key: to_cpu(value) for key, value in kwargs.items()})


def _load(original: Any, f: Any, map_location: Any = None, **kwargs: Any) -> Any:
    return original(f, map_location=to_cpu(map_location), **kwargs)


def _load_pretrained(original: Any, cls: Any, /, *args: Any, device_map: Any = None, **kwargs: Any) -> Any:
    """There is one place to put a model, so `device_map` says nothing."""
    return original(cls, *args, **kwargs)
