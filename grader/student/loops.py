"""Training loops of the student's own: whose they are, where they step, and whether an error ended them."""

import ast
import linecache
import sys
import threading
import weakref
from collections.abc import Iterable
from types import CodeType, FrameType, TracebackType
from typing import Any

from IPython import get_ipython
from torch import nn
from torch.optim import Optimizer

from grader.kernel import modules
from grader.kernel.training.loops import find_owner
from grader.student import cells
from grader.student.looks import find_models
from grader.student.noted import Noted
from grader.student.numbers import find_unheld

Position = tuple[tuple[CodeType, int], ...]  # code of the notebook that runs, with its line; the cell comes first
LOOPS = (ast.For, ast.While, ast.AsyncFor)


class Loop:
    """A loop that trains a model, with the optimisers that step in it. It keeps neither of them alive."""

    def __init__(self, noted: Noted, model: nn.Module) -> None:
        """Begin now, in this thread."""
        self.noted, self.model = noted, weakref.ref(model)
        self.thread = threading.current_thread()
        self.called = read_form(model)
        self.optimizers: weakref.WeakKeyDictionary[Optimizer, int] = weakref.WeakKeyDictionary()  # with their groups
        self.at: Position = ()  # of its last step

    def goes_on(self, model: nn.Module) -> bool:
        """Tell whether an optimiser that it has not known takes part: nothing says that another training began."""
        return self.model() is model and self.called == read_form(model)

    def takes(self, optimizer: Optimizer) -> bool:
        """Tell whether a step is of this loop, by an optimiser that is as it was."""
        return self.optimizers.get(optimizer) == _count_groups(optimizer)

    def take(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Have an optimiser take part, or one that was given more parameters."""
        first, self.optimizers[optimizer] = not (self.optimizers or self.at), _count_groups(optimizer)
        unheld, known = find_unheld(model, [optimizer]), self.noted.unheld
        self.noted.unheld = {name: number for name, number in unheld.items() if first or name in known}

    def note_position(self) -> None:
        """Keep where it steps now."""
        self.at = read_position()


def _count_groups(optimizer: Optimizer) -> int:
    return len(getattr(optimizer, "param_groups", ()))  # one of the student's own may lack what torch makes


def read_form(model: nn.Module) -> tuple[Any, ...]:
    """Return what is the same for all of one training: what is trainable, and what the training is called."""
    trainable = tuple(name for name, p in modules.name_parameters(model) if p.requires_grad)
    return trainable, cells.list_names(model), cells.list_labels()


def find_trained(optimizer: Optimizer) -> nn.Module | None:
    """Return the model that an optimiser trains; of several that share parameters, one that holds all of them."""
    owner, shell = find_owner(optimizer), get_ipython()
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if owner is None or shell is None or _holds(owner, mine):
        return owner
    return next((model for _, model in find_models(shell.user_ns) if _holds(model, mine)), owner)


def _holds(model: Any, parameters: set[int]) -> bool:
    return parameters <= set(map(id, modules.list_parameters(model)))


def read_position() -> Position:
    """Return which line of the cell runs now, and which of the notebook's functions below it."""
    shell, frame = get_ipython(), sys._getframe(1)
    return _select(shell.user_global_ns, _walk(frame))[::-1] if shell is not None else ()


def _walk(frame: FrameType | None) -> Iterable[tuple[FrameType, int]]:
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


def _list_failed(trace: TracebackType | None) -> Iterable[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _select(names: dict[str, Any], frames: Iterable[tuple[FrameType, int]]) -> Position:
    return tuple((frame.f_code, line) for frame, line in frames if frame.f_globals is names)


def is_ended_by(error: BaseException, stepped: Position) -> bool:
    """Tell whether an error of a cell ended the loop that stepped there, or came after it.

    It came after where no loop of the cell, or of a function that both went through, holds both lines. What cannot be
    told is the loop's.
    """
    shell = get_ipython()
    failed = _select(shell.user_global_ns, _list_failed(error.__traceback__)) if shell is not None else ()
    for depth, ((code, line), (other, at)) in enumerate(zip(stepped, failed, strict=False)):
        if code is not other:  # IPython makes each statement of a cell a code of its own
            return not code.co_name == other.co_name == "<module>"
        if line != at:
            return _share_loop(code, line, at)
        if depth + 1 == len(failed) < len(stepped):  # below the same line: the function that stepped has returned
            return _share_loop(code, line, at)
    return True


def _share_loop(code: CodeType, *lines: int) -> bool:
    """Return True if lines of some code are in one loop of it, and where the code is not known."""
    source = "".join(linecache.getlines(code.co_filename))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return True
    loops = (node for node in ast.walk(tree) if isinstance(node, LOOPS) and node.lineno >= code.co_firstlineno)
    return not source or any(
        node.lineno <= min(lines) and max(lines) <= (node.end_lineno or node.lineno) for node in loops
    )
