"""The notebook's objects as they are before questions, put back after them.

A student's function may use a model of the notebook in place of its argument, count its calls in a variable, or draw
from a generator. Nothing of that stays. No weights are copied: a tensor is put back by what it refers to, and numbers
that were changed in place are told.
"""

import functools
import random
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import is_
from types import FrameType, FunctionType
from typing import Any, Final

import torch
from torch import Tensor, nn

from grader.student.guards import attempt

DICTS: Final = (dict, OrderedDict, defaultdict, Counter)
LISTS: Final = (list, deque)
TRAINERS: Final = "transformers.trainer"  # the module whose frames a training in a thread has
MAX_PARTS: Final = 200  # of one container: what holds more is data, and is kept without what it holds
MAX_KEPT: Final = 100_000  # of one container: what a function notes something in holds less
MAX_SEEN: Final = 30_000  # objects in all; a notebook with three models has 3,000
Undo = Callable[[], Any]


@contextmanager
def keep_objects(namespace: dict[str, Any]) -> Iterator[list[str]]:
    """Leave the notebook's variables, and what they hold, as if the block had not run.

    Yields a list: at the end, the names of variables in which the block changed weights in place.

    While a thread of the notebook's trains, its lists and numbers change rightly: then only what models are made of is
    put back.
    """
    busy, changed = _is_used_elsewhere(namespace), list[str]()
    objects = [*_walk(namespace)]
    undo = [step for _, value in objects if (step := attempt(_keep, value, busy)) is not None]
    undo += [] if busy else [_keep_bindings(namespace)]
    versions = [] if busy else [one for one in objects if issubclass(type(one[1]), nn.Parameter)]
    before = [attempt(_read_version, parameter) for _, parameter in versions]
    try:
        yield changed
    finally:
        for step in undo:
            attempt(step)
        after = (attempt(_read_version, parameter) for _, parameter in versions)
        compared = zip(versions, before, after, strict=True)
        changed += dict.fromkeys(name for (name, _), old, new in compared if old != new)


def _is_used_elsewhere(namespace: dict[str, Any]) -> bool:
    """Return True if another thread runs the notebook's code, or a Trainer."""
    here = threading.get_ident()
    frames = (frame for thread, frame in sys._current_frames().items() if thread != here)
    return any(_is_notebooks(frame, namespace) for frame in frames)


def _is_notebooks(frame: FrameType | None, namespace: dict[str, Any]) -> bool:
    while frame is not None:
        if frame.f_globals is namespace or frame.f_globals.get("__name__") == TRAINERS:
            return True
        frame = frame.f_back
    return False


def _walk(namespace: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what can change of what variables hold, and of what that holds: each once, with a variable's name."""
    waiting = deque((name, value) for name, value in list(namespace.items()) if _is_variable(name))
    seen = {id(namespace): namespace}
    while waiting and len(seen) < MAX_SEEN:
        name, value = waiting.popleft()
        if id(value) not in seen:
            seen[id(value)] = value
            yield name, value
            waiting.extend((name, part) for part in attempt(_list_parts, value) or () if not _is_plain(part))


def _is_variable(name: str) -> bool:
    """Return False for what IPython keeps of its own, such as the cells that ran."""
    return not name.startswith("_") and name not in ("In", "Out")


def _is_plain(value: Any) -> bool:
    return value is None or type(value) in (str, int, float, bool, bytes)


def _list_parts(value: Any) -> Iterable[Any]:
    """Return what an object holds, as far as a function of the notebook may change it."""
    kind = type(value)
    if kind in (*DICTS, *LISTS, tuple, set):
        parts = value.values() if kind in DICTS else value
        return [*parts] if len(value) <= MAX_PARTS else ()
    if kind is FunctionType:
        return vars(value), *(value.__defaults__ or ())
    if issubclass(kind, type):
        return [*vars(value).values()] if value.__module__ == "__main__" else ()
    if issubclass(kind, nn.Module) or kind.__module__ == "__main__":
        return (object.__getattribute__(value, "__dict__"),)
    held = object.__getattribute__(value, "__dict__")  # of a Trainer, the model
    return (held["model"],) if "model" in held else ()


def _keep(value: Any, busy: bool) -> Undo | None:
    """Return what puts an object back; None for one that does not change, or must not be put back now."""
    kind = type(value)
    if issubclass(kind, Tensor):
        return _keep_tensor(value)
    if busy:
        return _keep_tables(value) if issubclass(kind, nn.Module) else None
    if kind in DICTS:
        return _keep_dict(value) if len(value) <= MAX_KEPT else None
    if kind in (*LISTS, set):
        return _keep_list(value) if len(value) <= MAX_KEPT else None
    if issubclass(kind, type):
        return _keep_class(value) if value.__module__ == "__main__" else None
    return _keep_generator(value)


def _keep_tables(module: nn.Module) -> Undo:
    """Keep which layers and tensors a module has, and nothing else."""
    steps = [_keep_dict(table) for table in vars(module).values() if type(table) in DICTS]

    def restore() -> None:
        for step in steps:
            step()

    return restore


def _keep_tensor(tensor: Tensor) -> Undo:
    """Keep whether a tensor is trained, and the memory that it refers to."""
    data, trained = tensor.data, tensor.requires_grad

    def restore() -> None:
        if tensor.data_ptr() != data.data_ptr():
            tensor.data = data
        if tensor.requires_grad != trained:
            tensor.requires_grad_(trained)

    return restore


def _keep_dict(held: dict[Any, Any]) -> Undo:
    """Keep the items of a dictionary. One that is the same is not written to: a loop may go through it."""
    items = list(held.items())

    def restore() -> None:
        now = list(held.items())
        if not _is_same([part for item in now for part in item], [part for item in items for part in item]):
            held.clear()
            held.update(dict(items))

    return restore


def _keep_list(held: Any) -> Undo:
    """Keep the items of a list, a queue or a set."""
    items = list(held)

    def restore() -> None:
        if not _is_same(list(held), items):
            held.clear()
            (held.update if type(held) is set else held.extend)(items)

    return restore


def _is_same(now: list[Any], before: list[Any]) -> bool:
    """Compare by identity: a tensor and a student's object may answer `==` with anything."""
    return len(now) == len(before) and all(map(is_, now, before))


def _keep_class(kind: type) -> Undo:
    """Keep the attributes of a class, such as a counter of its layers."""
    before = dict(vars(kind))

    def restore() -> None:
        for name, value in list(vars(kind).items()):
            if name not in before:
                type.__delattr__(kind, name)
            elif value is not before[name]:
                type.__setattr__(kind, name, before[name])

    return restore


def _keep_bindings(namespace: dict[str, Any]) -> Undo:
    """Keep what the notebook's variables stand for, and which there are."""
    before = {name: value for name, value in list(namespace.items()) if _is_variable(name)}

    def restore() -> None:
        for name in [name for name in namespace if _is_variable(name) and name not in before]:
            del namespace[name]
        for name, value in before.items():
            if name not in namespace or namespace[name] is not value:
                namespace[name] = value

    return restore


def _keep_generator(value: Any) -> Undo | None:
    """Keep the state of a generator of random numbers; None for anything else."""
    if issubclass(type(value), torch.Generator):
        state = value.get_state()
        return lambda: value.set_state(state)
    if issubclass(type(value), random.Random):
        return functools.partial(value.setstate, value.getstate())
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(type(value), numpy.random.Generator):
        return functools.partial(setattr, value.bit_generator, "state", value.bit_generator.state)
    if numpy is not None and issubclass(type(value), numpy.random.RandomState):
        return functools.partial(value.set_state, value.get_state())
    return None


def _read_version(tensor: Tensor) -> int:
    """Return how often the numbers of a tensor were changed in place."""
    return tensor._version
