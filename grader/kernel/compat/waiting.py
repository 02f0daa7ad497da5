"""Waiting: loops that keep a rented machine awake, and pauses. Nothing here gets better by waiting for it."""

import ast
import asyncio
import functools
import sys
import threading
import time
from typing import Any

from grader.kernel.compat.restarts import IsOwn, find_notebook_code
from grader.kernel.wrapping import wrap

ALLOWED_S = 10.0  # of a notebook's pauses, all together; some wait for files, or time themselves
MAX_SKIPPED = 100_000  # pauses: a loop that does nothing but wait gets there in a second, a training never
WAITS = frozenset(("sleep", "wait", "pause"))
LEAVING = (ast.Break, ast.Return, ast.Raise, ast.Yield, ast.YieldFrom)


class WaitingLoopEnder(ast.NodeTransformer):
    """`while True: time.sleep(60)` runs once: it has no way out, and the cells below it want to be run."""

    def visit_While(self, node: ast.While) -> ast.stmt:
        """Turn a loop that only waits into one of a single round."""
        self.generic_visit(node)
        if not _waits_forever(node):
            return node
        once = ast.For(ast.Name("_round", ast.Store()), ast.Tuple([ast.Constant(1)], ast.Load()), node.body, [])
        return ast.fix_missing_locations(ast.copy_location(once, node))


def _waits_forever(loop: ast.While) -> bool:
    """Return True for a loop that neither ends nor leaves, and waits or does nothing."""
    if not (isinstance(loop.test, ast.Constant) and loop.test.value):
        return False
    parts = [part for statement in loop.body for part in ast.walk(statement)]
    called = {getattr(part.func, "attr", getattr(part.func, "id", "")) for part in parts if isinstance(part, ast.Call)}
    idle = all(isinstance(statement, ast.Pass) for statement in loop.body)
    return (idle or bool(called & WAITS)) and not any(isinstance(part, LEAVING) for part in parts)


class Pauses:
    """The pauses of a notebook: the first few seconds are real."""

    def __init__(self, is_own: IsOwn) -> None:
        """`is_own`: tells whether a frame belongs to the notebook."""
        self.is_own = is_own
        self.left_s, self.skipped = ALLOWED_S, 0

    def shorten(self, seconds: Any) -> Any:
        """Return how long a pause takes. Raises KeyboardInterrupt, as who wants to continue would."""
        if threading.current_thread() is not threading.main_thread() or not seconds > 0:
            return seconds  # beside the cells, a loop that did not wait would take the processor from them
        allowed = min(seconds, self.left_s)
        self.left_s -= allowed
        self.skipped += allowed < seconds
        if self.skipped > MAX_SKIPPED:
            self.skipped = 0
            raise KeyboardInterrupt("this cell only waits")
        return allowed

    def sleep(self, original: Any, seconds: Any, *result: Any) -> Any:
        """Sleep. Libraries, which wait for others, sleep as long as they want to."""
        from_notebook = self.is_own(sys._getframe(2))  # behind the frame of `wrap`
        return original(self.shorten(seconds) if from_notebook else seconds, *result)


def cut_short(shell: Any) -> None:
    """Have the notebook's pauses, all together, take a few seconds."""
    pauses = Pauses(find_notebook_code(shell))
    for owner in (time, asyncio):
        wrap(owner, "sleep", functools.partial(Pauses.sleep, pauses))
