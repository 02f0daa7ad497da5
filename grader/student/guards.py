"""What keeps a check from disturbing the notebook it runs in, and from waiting forever."""

import contextlib
import ctypes
import io
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

T = TypeVar("T")
LAST_ERROR = ("last_type", "last_value", "last_traceback", "last_exc")  # what `%debug` looks at
STOPPED_GPU: Final = "The GPU has stopped after an error; restart the kernel and run the cells again."
AGAIN_S = 1.0  # a function may swallow what ends it once, in an `except:` without a name


class TimeLimit(BaseException):
    """The limit for a student's function is over. No `Exception`, which that function might catch."""


def attempt(look: Callable[..., T], *args: Any) -> T | None:
    """Return what a look at an object of the notebook returns; None where it raises.

    One object that cannot be looked at is no reason to look at none.
    """
    try:
        return look(*args)
    except Exception:  # a student's object may raise anything when it is looked at, and so does a GPU that has stopped
        return None


def describe_stopped_gpu(error: BaseException) -> str:
    """Say what to do after an error on the GPU, which ends all work on it; empty for any other error."""
    said = str(error)
    return STOPPED_GPU if "CUDA error" in said and "out of memory" not in said else ""


@contextlib.contextmanager
def keep_random_states() -> Iterator[None]:
    """Leave the random numbers of Python, numpy and torch as if the block had not run."""
    put_back = [attempt(_save, module, save, load) for module, save, load in _list_generators()]
    try:
        yield
    finally:
        for restore in filter(None, put_back):
            attempt(restore)


def _save(module: Any, save: str, load: str) -> Callable[[], Any]:
    state = getattr(module, save)()
    return lambda: getattr(module, load)(state)


def _list_generators() -> Iterator[tuple[Any, str, str]]:
    """Yield what draws random numbers here, with the names of the functions that read and set its state."""
    yield random, "getstate", "setstate"
    if "numpy" in sys.modules:
        yield sys.modules["numpy"].random, "get_state", "set_state"
    torch = sys.modules.get("torch")
    if torch is not None:
        yield torch, "get_rng_state", "set_rng_state"
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            yield torch.cuda, "get_rng_state_all", "set_rng_state_all"
        if torch.backends.mps.is_available():
            yield torch.mps, "get_rng_state", "set_rng_state"


@contextlib.contextmanager
def keep_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block for one that was lost in it, as some imports lose it."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = threading.Event()

    def note(number: int, frame: Any) -> None:
        seen.set()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def keep_last_error() -> Iterator[None]:
    """Leave the notebook's last error for `%debug`: pytest forgets it, and puts others in its place."""
    kept = {name: vars(sys)[name] for name in LAST_ERROR if name in vars(sys)}
    try:
        yield
    finally:
        for name in LAST_ERROR:
            vars(sys).pop(name, None)
        vars(sys).update(kept)


@contextlib.contextmanager
def keep_quiet() -> Iterator[None]:
    """Show nothing of what the block prints or warns of: it would stand between a student and the verdicts."""
    nowhere = io.StringIO()
    with (
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(action="ignore"),
    ):
        yield


@contextlib.contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """Raise TimeLimit in the block when it takes longer."""
    alarms = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    with _limit_by_alarm(seconds) if alarms else _limit_by_thread(seconds):
        yield


@contextlib.contextmanager
def _limit_by_alarm(seconds: float) -> Iterator[None]:
    """Ends waiting too, such as `time.sleep`. Only for the main thread, and not on Windows."""

    def stop(number: int, frame: Any) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _limit_by_thread(seconds: float) -> Iterator[None]:
    """Ends what runs in Python, at its next instruction."""
    caller, over = threading.get_ident(), threading.Event()

    def stop() -> None:
        wait = seconds
        while not over.wait(wait):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(caller), ctypes.py_object(TimeLimit))
            wait = AGAIN_S

    threading.Thread(target=stop, daemon=True).start()
    try:
        yield
    finally:
        over.set()


@contextlib.contextmanager
def compute_on_cpu(namespace: dict[str, Any]) -> Iterator[None]:
    """Compute on the CPU, in float32, whatever device the notebook's variables and functions name.

    A `device` that the notebook has is read by the functions of the notebook; small models for questions are on the
    CPU.
    """
    import torch

    from grader.kernel.probes import compute_as_usual
    from grader.student.devices import stay_on_cpu

    hidden = {name: value for name, value in list(namespace.items()) if _names_accelerator(value)}
    namespace.update({name: type(value)("cpu") for name, value in hidden.items()})
    try:
        with compute_as_usual(), torch.device("cpu"), stay_on_cpu():
            yield
    finally:
        namespace.update(hidden)


@contextlib.contextmanager
def use_one_thread() -> Iterator[None]:
    """Compute with one thread: for small tensors, several wait for each other, most of all beside a training."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _names_accelerator(value: Any) -> bool:
    torch = sys.modules["torch"]
    if type(value) is str:
        return value.split(":")[0] in ("cuda", "mps", "xpu")
    return type(value) is torch.device and value.type not in ("cpu", "meta")
