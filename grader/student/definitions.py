"""The code of classes that cells define, as it was when a class was made."""

import ast
import linecache
from collections.abc import Iterable, Mapping
from types import FunctionType
from typing import Any


def read_classes(objects: Iterable[object]) -> dict[str, str]:
    """Return the code of the classes of some objects by their names, as far as it is known."""
    kinds = dict.fromkeys(map(type, objects))
    return {kind.__name__: code for kind in kinds if (code := read_class(kind))}


def read_class(kind: type) -> str:
    """Return the code of a class without comments and docstrings; empty where no cell is known that defines it.

    IPython keeps each cell that ran under a file name of its own, and a class's methods know that name.
    """
    file = next((value.__code__.co_filename for value in vars(kind).values() if isinstance(value, FunctionType)), "")
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return ""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    return ast.unparse(drop_docstrings(found[-1])) if found else ""


def drop_docstrings(tree: ast.AST) -> ast.AST:
    """Return a tree, changed, without what documents its modules, classes and functions."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def find_outdated(classes: Mapping[str, str], namespace: Mapping[str, Any]) -> str | None:
    """Return the name of a class, of which there is the code, that the notebook defines otherwise now."""
    now = {name: read_class(namespace[name]) for name in classes if issubclass(type(namespace.get(name)), type)}
    return next((name for name, code in now.items() if code and code != classes[name]), None)
