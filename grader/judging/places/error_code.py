"""The line of a function that raised an error, as far as its words say which line that is.

An answer to a probe names the error and not its line.
"""

import ast
import re
from collections.abc import Callable, Iterator
from typing import Final

from grader.judging.places.code import FUNCTIONS, Spot, Test, calls, name_of
from grader.protocol.records import Raised

PRODUCTS: Final = ("matmul", "mm", "bmm", "linear", "einsum", "dot", "addmm")


def find_error_line(function: Spot, error: Raised) -> Spot | None:
    """Return the line of a function or class that can raise this error; None where its words say nothing."""
    for pattern, make_tests in WORDS.items():
        if match := re.search(pattern, f"{error.type}: {error.message}"):
            found = (function.find(test) for test in make_tests(match))
            return next((spot for spot in found if spot), None)
    return next(_list_raising(function, error.type), None)


def _list_raising(function: Spot, type_name: str) -> Iterator[Spot]:
    """Yield the `raise` statements with this exception."""
    for spot in function.find_all(lambda node: isinstance(node, ast.Raise)):
        raised = spot.node.exc  # type: ignore[attr-defined]
        if type_name in (name_of(raised), name_of(getattr(raised, "func", None))):
            yield spot


def _is_product(node: ast.AST) -> bool:
    return (isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)) or calls(*PRODUCTS)(node)


def _unpacks(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(target, (ast.Tuple, ast.List)) for target in node.targets)


def _tests_truth(node: ast.AST) -> bool:
    return isinstance(node, (ast.If, ast.IfExp, ast.BoolOp, ast.While, ast.Assert))


def _reads(name: str) -> Test:
    return lambda node: isinstance(node, (ast.Attribute, ast.Name)) and name_of(node) == name


def _is_init(node: ast.AST) -> bool:
    return isinstance(node, FUNCTIONS) and node.name == "__init__"


def _is_first_statement(node: ast.AST) -> bool:
    return isinstance(node, ast.stmt) and not isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not _is_docstring(node)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


# Words in messages of Python and PyTorch -> what raises them, most telling first.
WORDS: Final[dict[str, Callable[[re.Match[str]], list[Test]]]] = {
    "^AssertionError": lambda m: [lambda node: isinstance(node, ast.Assert)],
    "has no attribute '([^']+)'": lambda m: [_reads(m[1])],
    r"Module\.__init__\(\) call": lambda m: [_is_first_statement],
    r"__init__\(\) ": lambda m: [_is_init],
    "is not an nn.Module": lambda m: [lambda node: isinstance(node, ast.ClassDef)],
    "name '([^']+)' is not defined": lambda m: [_reads(m[1])],
    "variable '([^']+)'": lambda m: [_reads(m[1])],
    "ambiguous": lambda m: [_tests_truth],
    "unpack": lambda m: [_unpacks],
    "^KeyError: '?([^']+)": lambda m: [lambda node: isinstance(node, ast.Constant) and str(node.value) == m[1]],
    "shapes cannot be multiplied|mat1|size mismatch|einsum|must match": lambda m: [_is_product],
    "No module named": lambda m: [lambda node: isinstance(node, (ast.Import, ast.ImportFrom))],
}
