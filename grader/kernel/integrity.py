"""Notices when a notebook reaches into the witness: its functions replaced, or called by somebody else.

What a notebook does to a library is its own business: it may subclass, wrap and patch. But functions that the witness
consists of and relies on are compared, by identity, with what they were before the first cell. And every message to
the host is traced back: it must come from the witness, which must have been called from where it put itself. What is
found is told to the host, and a person reads such a notebook. Nothing here stops one: in the same process, a program
can take another one over and hide it.
"""

import hashlib
import inspect
import json
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import safetensors.torch
import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from transformers import Trainer
from transformers.models.distilbert import modeling_distilbert

from grader.kernel import fence, wrapping
from grader.protocol import events

PREFIX: Final = f"{__name__.partition('.')[0]}."
LIBRARIES: Final = (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"))
MAX_FINDINGS: Final = 20

# What the witness relies on, besides itself.
RELIED_ON: Final[tuple[tuple[Any, tuple[str, ...]], ...]] = (
    (torch, ("cat", "equal", "tensor", "zeros_like", "ones_like", "randn", "eye", "zeros", "manual_seed")),
    (torch.autograd, ("grad", "backward")),
    (torch.Tensor, ("backward", "detach", "double", "any", "all", "item", "numel", "__getitem__", "__eq__")),
    (nn.functional, ("linear",)),
    (nn.Linear, ("forward",)),
    (nn.Module, ("__call__", "_call_impl", "named_parameters", "parameters", "state_dict", "get_submodule")),
    (Optimizer, ("profile_hook_step", "_patch_step_function")),
    (modeling_distilbert.DistilBertModel, ("forward",)),
    (modeling_distilbert.Embeddings, ("forward",)),
    (safetensors.torch, ("save_file", "load_file")),
    (json, ("dumps", "loads")),
    (hashlib, ("sha256", "file_digest")),
)
# What trains: another one is for staff to know of, and the work of a training is measured all the same.
TRAINING: Final[tuple[tuple[Any, tuple[str, ...]], ...]] = (
    (Trainer, ("train", "_inner_training_loop", "training_step", "evaluate", "predict")),
    (Adam, ("step",)),
    (AdamW, ("step",)),
)


@dataclass(frozen=True)
class Known:
    """A function as it was: where it is found, itself, and what it does besides being itself."""

    name: str
    owner: Any
    attribute: str
    value: Any
    body: tuple[Any, ...]
    of_witness: bool

    def is_as_before(self) -> bool:
        """Compare with now. What a library puts in its place is none of the notebook's doing."""
        now = vars(self.owner).get(self.attribute)
        same = now is self.value and _describe(now) == self.body
        return same or (now is not self.value and _is_of_library(now))


class Integrity:
    """What the witness looked like before the first cell."""

    def __init__(self, holders: tuple[Any, ...], entries: tuple[Any, ...]) -> None:
        """Look at it now.

        Args:
            holders: objects of the witness, whose methods must stay those of their classes.
            entries: functions of the witness that others call, besides those that `wrapping` put in a place.
        """
        self.holders = holders
        self.hooks = tuple(hook for holder in holders for hook in getattr(holder, "hooks", ()))
        own = list(_list_own_functions())
        self.known = (*own, *_list_known(RELIED_ON, of_witness=True), *_list_known(TRAINING, of_witness=False))
        self.codes = {code for one in own for code in _list_codes(_unbind(one.value).__code__)}
        self.replacements = {_find_code(function) for function in wrapping.replacements}
        self.entries = {_find_code(function) for function in entries}
        self.found: set[str] = set()

    def examine(self) -> None:
        """Compare everything with now, and tell the host what is new."""
        for one in self.known:
            if not one.is_as_before():
                self.report(f"{one.name} is replaced", one.of_witness)
        for holder in self.holders:
            if not vars(holder).keys().isdisjoint(vars(type(holder))):
                self.report(f"a method of {type(holder).__name__} is replaced")
        for hook in self.hooks:
            registered = hook.hooks_dict_ref()
            if registered is None or hook.id not in registered:
                self.report("a hook of the optimisers is removed")

    def report(self, words: str, of_witness: bool = True) -> None:
        """Tell the host of a finding, once."""
        if words not in self.found and len(self.found) < MAX_FINDINGS:
            self.found.add(words)
            events.emit("suspicion", words=words, witness=of_witness)

    def admit(self, kind: str) -> None:
        """See that an event comes from the witness, called from where it put itself; look around as trainings pass."""
        if kind in ("suspicion", "fault"):
            return
        chain = [code for code in self._list_callers(sys._getframe()) if code not in FENCE]
        outermost, below = chain[-1], chain[-2]
        through_library = outermost is wrapping.CALL and below in self.replacements
        if not through_library and outermost not in self.entries:
            self.report(f"{outermost.co_qualname} of the grader is called from outside")
        if kind in ("training_begin", "training_end"):
            self.examine()

    def _list_callers(self, frame: FrameType | None) -> Iterator[CodeType]:
        """Yield the code of the witness that is running, from here to the first that is called by another."""
        while frame is not None and frame.f_code in self.codes:
            yield frame.f_code
            frame = frame.f_back


def _list_own_functions() -> Iterator[Known]:
    """Yield the functions and methods of the witness."""
    for name, module in list(sys.modules.items()):
        if name.startswith(PREFIX):
            yield from _list_functions(module, name)


def _list_functions(owner: Any, module: str) -> Iterator[Known]:
    for name, value in list(vars(owner).items()):
        plain = _unbind(value)
        if getattr(plain, "__module__", None) != module:
            continue
        if isinstance(plain, FunctionType):
            yield Known(f"{module}.{plain.__qualname__}", owner, name, value, _describe(value), of_witness=True)
        elif inspect.isclass(plain):
            yield from _list_functions(plain, module)


def _list_known(table: tuple[tuple[Any, tuple[str, ...]], ...], of_witness: bool) -> Iterator[Known]:
    for owner, names in table:
        for name in names:
            value = vars(owner).get(name)  # None where it is inherited: then nothing may come before it
            yield Known(f"{owner.__name__}.{name}", owner, name, value, _describe(value), of_witness)


def _unbind(value: Any) -> Any:
    """Return the function in a method, a property, or what `functools.wraps` and `cached_property` made of it."""
    value = getattr(value, "__func__", None) or getattr(value, "fget", None) or getattr(value, "func", None) or value
    return inspect.unwrap(value) if callable(value) else value


def _find_code(function: Any) -> CodeType:
    return _unbind(_unbind(function)).__code__


def _list_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _list_codes(part)


def _describe(value: Any) -> tuple[Any, ...]:
    """Return code, defaults, and what the closure holds, by identity."""
    plain = getattr(value, "__func__", value)
    cells = getattr(plain, "__closure__", None) or ()
    return id(getattr(plain, "__code__", None)), id(getattr(plain, "__defaults__", None)), *map(_read_cell, cells)


def _read_cell(cell: Any) -> int:
    try:
        return id(cell.cell_contents)
    except ValueError:  # it holds nothing
        return 0


def _is_of_library(value: Any) -> bool:
    code = getattr(_unbind(value), "__code__", None)
    return isinstance(code, CodeType) and code.co_filename.startswith(LIBRARIES)


# The fence stands between any two functions of the witness.
FENCE: Final = frozenset(
    code
    for function in (fence.shield, fence.Tracked.__call__, fence.Tracked.recover, fence.ask)
    for code in _list_codes(function.__code__)
)
