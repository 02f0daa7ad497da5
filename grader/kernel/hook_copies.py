"""Copies of a module's hooks that a question may call: what they keep, count or collect stays as it was.

A student's hook may collect outputs in a list. A question with made-up inputs must not end up there. So a hook is
called with copies of what it writes to: the containers and objects in its closure, in what it is bound to, and in the
variables that it names. Modules and parameters are the same ones, since a hook may compute with them.
"""

import contextlib
import copy
import functools
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks")
SHARED = (ModuleType, type, nn.Parameter)


@contextlib.contextmanager
def use_copies(module: nn.Module) -> Iterator[None]:
    """Give a module copies of its hooks within the block, and undo what they set on it."""
    held = dict(vars(module))
    for kind in HOOKS:
        vars(module)[kind] = _copy_items(held[kind], {})
    try:
        yield
    finally:
        for name in vars(module).keys() - held:
            del vars(module)[name]
        vars(module).update(held)


def _copy(value: Any, copies: dict[int, Any]) -> Any:
    """Return a copy of what a hook may write to; the same where it cannot be copied. `copies`: by id, made so far."""
    if id(value) not in copies:
        copies[id(value)] = value  # for what refers to itself through something that is not copied yet
        with contextlib.suppress(Exception):  # a student's object may raise anything when it is copied
            copies[id(value)] = _make_copy(value, copies)
    return copies[id(value)]


def _make_copy(value: Any, copies: dict[int, Any]) -> Any:
    match value:
        case _ if isinstance(value, SHARED):
            return value
        case FunctionType():
            return _copy_function(value, copies)
        case MethodType():
            return MethodType(value.__func__, _copy_object(value.__self__, copies))
        case functools.partial():
            arguments = [_copy(one, copies) for one in value.args]
            return functools.partial(_copy(value.func, copies), *arguments, **_copy(value.keywords, copies))
        case Tensor():
            return value.detach().clone()
        case nn.Module():
            return value
        case dict():
            return _copy_items(value, copies)
        case list():
            found = copy.copy(value)
            found[:] = [_copy(one, copies) for one in value]
            return found
    return _copy_object(value, copies)


def _copy_items(value: Any, copies: dict[int, Any]) -> Any:
    """Return a dictionary of the same kind with copies of its values."""
    found = copies[id(value)] = copy.copy(value)
    found.update({key: _copy(one, copies) for key, one in value.items()})
    return found


def _copy_object(value: Any, copies: dict[int, Any]) -> Any:
    found = copies[id(value)] = copy.copy(value)
    if held := getattr(found, "__dict__", None):
        held.update({name: _copy(one, copies) for name, one in held.items()})
    return found


def _copy_function(function: FunctionType, copies: dict[int, Any]) -> FunctionType:
    """Return a function of the same code with variables of its own. Those of a library's module stay: they are many."""
    own, cells = function.__globals__, function.__closure__ or ()
    home = copies.setdefault(id(own), {**own})  # one for all functions of a hook, as they have it
    for cell in cells:
        copies.setdefault(id(cell), CellType())
    closure = tuple(copies[id(cell)] for cell in cells)
    found = FunctionType(function.__code__, home, function.__name__, function.__defaults__, closure)
    found.__kwdefaults__ = function.__kwdefaults__
    copies[id(function)] = found
    for cell, new in zip(cells, closure, strict=True):
        new.cell_contents = _copy(cell.cell_contents, copies)
    if own.get("__name__") == "__main__":
        home.update({name: _copy(own[name], copies) for name in _list_names(function.__code__) if name in own})
    return found


def _list_names(code: CodeType) -> Iterator[str]:
    """Yield the names of variables of the module in some code, and in what is defined in it."""
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _list_names(part)
