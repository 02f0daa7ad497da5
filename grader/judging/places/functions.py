"""Where the cause lies in the functions that the assignment asks for."""

import ast

from grader.judging.places.code import FUNCTIONS, Spot, Test, calls
from grader.judging.places.error_code import find_error_line
from grader.judging.places.notebook import Notebook


def find_count(notebook: Notebook) -> Spot | None:
    """Find the line of `count_trainable_parameters` that counts, or what it returns instead of a number."""
    answers = notebook.case.evidence.count
    counted = any(item.value is not None for item in answers.items) if answers else False
    return _find_in_function(notebook, "count", calls("numel"), *((_counts,) if counted else ()))


def find_names(notebook: Notebook) -> Spot | None:
    """Find the line of `extract_qv_layers` that chooses by name, or what it returns instead of a dict."""
    answers = notebook.case.evidence.extract
    mapped = bool(answers and answers.items) and all(item.mapping for item in answers.items)  # type: ignore[union-attr]
    return _find_in_function(notebook, "extract", calls("named_modules"), *((_chooses,) if mapped else ()))


def find_choice(function: Spot) -> Spot:
    """Return the line of a function that chooses by name, or what it returns."""
    return function.find(_chooses) or _find_result(function)


def find_extraction(notebook: Notebook) -> Spot | None:
    """Find what `extract_qv_layers` returns."""
    return _find_in_function(notebook, "extract", calls("named_modules"))


def find_replacement(notebook: Notebook) -> Spot | None:
    """Find the line of `replace_layers` that puts a layer into the model."""
    return _find_in_function(notebook, "replace", calls("setattr"), calls("setattr"))


def _find_in_function(notebook: Notebook, what: str, typical: Test, *first: Test) -> Spot | None:
    """Return the telling line of a function; without one, a function of another name with a `typical` call."""
    function = notebook.find_definition(what)
    if function is None:
        others = (s for s in notebook.code.definitions.values() if isinstance(s.node, FUNCTIONS))
        return next((spot for spot in others if spot.find(typical)), None)
    if errors := notebook.list_errors(what):
        return find_error_line(function, errors[0]) or _find_result(function)
    found = next((s for test in first if (s := function.find(test))), None)
    return _find_early_return(function) or found or _find_result(function)


def _find_early_return(function: Spot) -> Spot | None:
    """Return a `return` that ends a loop in its first round."""
    loops = (spot.node for spot in function.find_all(lambda node: isinstance(node, ast.For)))
    left = (child for loop in loops for child in loop.body if isinstance(child, ast.Return))  # type: ignore[attr-defined]
    return next((Spot(function.cell, child) for child in left), None)


def _find_result(function: Spot) -> Spot:
    """Return the last `return` of a function, or what it prints, or its last statement."""
    for test in (_returns, calls("print", "display"), lambda node: isinstance(node, ast.stmt)):
        if found := [*function.find_all(test)]:
            return found[-1]
    return function


def _counts(node: ast.AST) -> bool:
    """Return True for a call that counts."""
    return calls("numel", "nelement", "prod", "num_parameters", "len")(node)


def _chooses(node: ast.AST) -> bool:
    """Return True for a test of names: `name.endswith("q_lin")`, `"v_lin" in name`."""
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    named = "_lin" in text and " " not in text  # not the docstring
    return named or calls("endswith", "startswith", "fullmatch", "search")(node)


def _returns(node: ast.AST) -> bool:
    return isinstance(node, (ast.Return, ast.Lambda)) and getattr(node, "value", node) is not None
