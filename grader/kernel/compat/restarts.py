"""Restarts: on Colab people restart the runtime after an installation. Here the notebook continues."""

import ast
import functools
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import psutil

from grader.kernel.wrapping import wrap

FATAL = (9, signal.SIGTERM, signal.SIGABRT)  # 9 is SIGKILL, which Windows does not name
IsOwn = Callable[[FrameType], bool]
EXITS = frozenset(("exit", "_exit", "quit", "abort"))


_notebook: list[int] = []  # the process of the notebook, which goes on; those that it forks may end


def claim() -> None:
    """Make this process the one that goes on."""
    _notebook[:] = [os.getpid()]


def skip(shell: Any) -> None:
    """Skip what ends this process, or starts another program in it, when the notebook's own code asks for that."""
    claim()
    is_own = find_notebook_code(shell)
    for owner, name in list_endings():
        wrap(owner, name, functools.partial(_skip_here, is_own))
    for owner, name in ((os, "kill"), (os, "killpg"), (signal, "raise_signal")):
        if hasattr(owner, name):
            wrap(owner, name, _skip_signal)
    shell.ask_exit = lambda *a, **k: _say()
    kernel = getattr(shell, "kernel", None)
    if kernel is not None:
        kernel.do_shutdown = functools.partial(_shut_down, is_own, kernel.do_shutdown)


def list_endings() -> list[tuple[Any, str]]:
    """Return owner and name of each function that ends the process which calls it."""
    replacing = ("execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe")
    processes = [(psutil.Process, name) for name in ("kill", "terminate", "suspend", "send_signal")]
    return [(os, name) for name in ("_exit", "abort", *replacing) if hasattr(os, name)] + processes


def _say() -> None:
    print("[grading] the restart is skipped; the notebook continues")


def _skip_here(is_own: IsOwn, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Skip the call of the notebook for its own process. Its children, and libraries, may end as they like."""
    target = args[0].pid if args and isinstance(args[0], psutil.Process) else os.getpid()
    if [target] == _notebook == [os.getpid()] and is_own(sys._getframe(2)):  # behind the frame of `wrap`
        return _say()
    return original(*args, **kwargs)


def _skip_signal(original: Callable[..., Any], *args: int) -> None:
    """Skip a fatal signal to this process: not SIGINT, which is how the kernel interrupts a cell."""
    target = args[0] if len(args) > 1 else os.getpid()
    group = original.__name__ == "killpg" and target == os.getpgid(0)
    if args[-1] in FATAL and (target in (*_notebook, 0) or group):
        _say()
    else:
        original(*args)


def _shut_down(is_own: IsOwn, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`get_ipython().kernel.do_shutdown(True)`; the grader's own request to end the kernel is obeyed."""
    if is_own(sys._getframe(1)):
        _say()
        return {"status": "ok", "restart": True}
    return original(*args, **kwargs)


def find_notebook_code(shell: Any) -> IsOwn:
    """Build what tells whether a frame belongs to the notebook: to a cell, or to a module that lies in its folder."""
    namespace, work = shell.user_global_ns, os.getcwd() + os.sep  # noqa: PTH109 - as code objects name it

    def is_own(frame: FrameType) -> bool:
        return frame.f_globals is namespace or frame.f_code.co_filename.startswith(work)

    return is_own


def is_exit(statement: ast.stmt) -> bool:
    """Return True for a call that ends the notebook: `sys.exit()`, `exit()`, `os._exit(1)`, `raise`."""
    if isinstance(statement, ast.Raise):
        return True
    called = statement.value.func if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) else None
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
    return name in EXITS
