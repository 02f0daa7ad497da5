"""What a notebook demands of the machine before it goes on: a GPU, or the data in the folder where its author has them.

Here the CPU does what the GPU is for, and whoever reads a data file of the course gets it by its name, whatever the
folder. So an `assert` that demands such a thing is dropped, and so are the `raise` or the exit that end an `if`.
"""

import ast
import copy
from collections.abc import Iterable

from grader.kernel.compat.restarts import is_exit

GPU_QUESTIONS = frozenset(("is_available", "device_count"))
FILE_QUESTIONS = frozenset(("exists", "is_dir", "isdir", "is_file", "isfile", "is_mount", "ismount"))
KINDS = ("cpu", "mps", "xpu")  # what devices are compared with; whoever names "cuda" means the GPU everywhere


class DemandRemover(ast.NodeTransformer):
    """Drops `assert torch.cuda.is_available()` and `if not DATA.is_dir(): raise ...`."""

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        """Drop an assertion that demands something of the machine."""
        return _drop(node) if _asks_for_machine(node.test) else node

    def visit_If(self, node: ast.If) -> ast.stmt:
        """Drop the `raise` or the exit of an `if` that demands something.

        Where it stands below `else`, what the `if` does takes its place: `if DATA.is_dir(): folder = DATA`.
        """
        self.generic_visit(node)
        if not _asks_for_machine(node.test):
            return node
        if is_exit(node.body[-1]):
            node.body[-1] = _drop(node.body[-1])
        if node.orelse and is_exit(node.orelse[-1]):
            instead = [] if isinstance(node.test, ast.UnaryOp) else copy.deepcopy(node.body)
            node.orelse[-1:] = instead or [_drop(node.orelse[-1])]
        return node


def _drop(statement: ast.stmt) -> ast.stmt:
    return ast.copy_location(ast.Pass(), statement)


def _asks_for_machine(test: ast.expr) -> bool:
    return _asks_for_gpu(test) or any(_asks_for_file(part) for part in ast.walk(test))


def _asks_for_gpu(test: ast.expr) -> bool:
    parts = list(ast.walk(test))
    names = {part.attr for part in parts if isinstance(part, ast.Attribute)}
    compared = [side for part in parts if isinstance(part, ast.Compare) for side in (part.left, *part.comparators)]
    return bool(names & GPU_QUESTIONS) or _holds_text(parts, ("cuda",)) or _holds_text(compared, KINDS)


def _holds_text(parts: Iterable[ast.AST], beginnings: tuple[str, ...]) -> bool:
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    return any(text.startswith(beginnings) for text in texts)


def _asks_for_file(part: ast.AST) -> bool:
    """Return True for a call such as `path.exists()`, `os.path.isdir(path)` or `isdir(path)`."""
    called = part.func if isinstance(part, ast.Call) else None
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
    return name in FILE_QUESTIONS
