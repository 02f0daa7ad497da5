"""Keeps the grader's own mistakes away from the notebook.

Functions of libraries are replaced in this process, hooks watch trainings, and probes ask. A mistake in any of that
code must never end a student's cell, and no student ever reads of it: the notebook goes on as if nobody watched, and
the host is told of a *fault*, after which no check that fails costs points.

Whose mistake an exception is, follows from who raised it. What the original function raises, or what is raised by a
student's object that is asked (`ask`), is the notebook's. What our own frames raise is ours.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from grader.protocol import events

OURS: Final = tuple(str(Path(__file__).resolve().parents[1] / name) + os.sep for name in ("kernel", "protocol"))
LIBRARIES: Final = ("<frozen", sys.prefix, sys.base_prefix, str(Path(os.__file__).parent))
MAX_FAULTS: Final = 20
SLOW: Final = frozenset(("Trainer.train", "Trainer.evaluate", "Trainer.predict"))  # without the budget
TOLD: Final = "_grading_tells"  # an attribute of exceptions that are meant for the student
TRACEBACK: Final = BaseException.__dict__["__traceback__"]  # a student's class may call something else so
# Of a stack or a memory that is used up, the one who happens to be at work says nothing.
NOBODYS: Final = (RecursionError, MemoryError)

_faults: list[str] = []


def tell(error: Exception) -> Exception:
    """Mark an exception as meant for the student: it says what no library could know."""
    setattr(error, TOLD, True)
    return error


def ask(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call what a student wrote. Whatever it raises is the student's, also where it cannot be called at all."""
    return function(*args, **kwargs)


def note(hook: str, error: BaseException) -> None:
    """Tell the host of a mistake of ours. Raises nothing: this is the last resort."""
    fault = f"{hook}: {type(error).__name__}"
    if fault in _faults or len(_faults) >= MAX_FAULTS:
        return
    _faults.append(fault)
    for send in (events.emit, events.send):  # the second asks nobody: the mistake may be in those who are asked
        try:
            send("fault", hook=hook[:100], error=f"{type(error).__name__}: {error}"[:300])
            return
        except Exception:  # then the other way, or none
            continue


def note_unless_theirs(hook: str, error: BaseException) -> None:
    """Note what a hook raised, unless a student's object raised it that the hook looked at or asked."""
    traces = _list_traces(error)
    if _was_asked(traces):
        return
    for trace in reversed(traces):
        file = trace.tb_frame.f_code.co_filename
        if file.startswith(OURS):
            break
        if not file.startswith(LIBRARIES):
            return
    note(hook, error)


def note_if_ours(hook: str, error: BaseException) -> bool:
    """Note an exception that was raised by our own code, and return True; False for one of the notebook's."""
    if is_raised_by_us(error):
        note(hook, error)
        return True
    return False


def is_raised_by_us(error: BaseException) -> bool:
    """Return True if the innermost frame is ours, and no student's object was being asked."""
    if isinstance(error, NOBODYS) or not isinstance(error, Exception) or _is_told(error):
        return False
    traces = _list_traces(error)
    return bool(traces) and not _was_asked(traces) and traces[-1].tb_frame.f_code.co_filename.startswith(OURS)


def _was_asked(traces: list[TracebackType]) -> bool:
    return any(trace.tb_frame.f_code is ask.__code__ for trace in traces)


def _is_told(error: BaseException) -> bool:
    """Tell whether an exception is meant for the student. One of a student's may raise whatever it is asked for."""
    try:
        return hasattr(error, TOLD)
    except Exception:
        return False


def _list_traces(error: BaseException) -> list[TracebackType]:
    found = []
    trace: TracebackType | None = TRACEBACK.__get__(error)
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    return found


class Tracked:
    """An original function in one call of what replaces it, with what became of its own last call."""

    def __init__(self, original: Callable[..., Any]) -> None:
        functools.update_wrapper(self, original, updated=())
        self.original = original
        self.returned: list[Any] = []
        self.raised: BaseException | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the original, and remember how it ends."""
        self.returned, self.raised = [], None
        try:
            self.returned = [self.original(*args, **kwargs)]
        except BaseException as error:
            self.raised = error
            raise
        return self.returned[0]

    def is_mistaken(self, error: Exception) -> bool:
        """Return True if an exception comes from what replaces the original, and is not meant for the student."""
        if error is self.raised:
            self.raised = None  # it holds the frames of the cell
            return False
        return not (_is_told(error) or isinstance(error, NOBODYS))

    def recover(self, hook: str, mistake: Exception, args: Any, kwargs: dict[str, Any]) -> Any:
        """Do what the original does, and note the mistake: unless the original refuses the same call."""
        if self.raised is not None:
            note_unless_theirs(hook, mistake)
            raise self.raised from None
        if hook in SLOW:  # it may be stopped before anybody is told
            note_unless_theirs(hook, mistake)
        value = self.returned[0] if self.returned else self.original(*args, **kwargs)
        note_unless_theirs(hook, mistake)
        return value


def shield(otherwise: Callable[..., Any] = lambda *args, **kwargs: None) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a hook that libraries call: where it makes a mistake, it returns what `otherwise` does.

    `otherwise` gets the same arguments. What it raises is the notebook's.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                if _is_told(error) or isinstance(error, NOBODYS):
                    raise
                mistake = error
            value = otherwise(*args, **kwargs)
            note_unless_theirs(function.__qualname__, mistake)
            return value

        return call

    return decorate


class ShieldedTransformer:
    """A transformer of syntax trees that leaves a cell as it is where it makes a mistake."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def visit(self, node: Any) -> Any:
        """Return the new tree."""
        return shield(lambda tree: tree)(self.transformer.visit)(node)
