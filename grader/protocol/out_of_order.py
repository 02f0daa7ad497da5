"""Finds cells that came too early: they use a name that only a cell further down defines.

Students run cells in any order and hand in a notebook that worked. So a cell that stopped at a missing name runs once
more after the last one, if the notebook does define the name.
"""

import ast
import re
import symtable
from collections.abc import Sequence

from grader.protocol.source import UNPARSABLE

MISSING = re.compile(r"NameError: name '(\w+)' is not defined")
DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
COMMAND = re.compile(r"^(\s*)[!%].*$", re.MULTILINE)  # of IPython, no Python


def find_out_of_order(
    sources: Sequence[str], errors: Sequence[str], trained: Sequence[tuple[int, str]] = ()
) -> list[int]:
    """Return the positions of the cells to run once more, in their order.

    A cell that needs a name from a cell that came too early came too early as well. Where such a cell left something
    unfinished that is then trained in vain (adapters that were never put in make a second training of the head), it is
    made, changed and trained again.

    Args:
        sources: the cells.
        errors: the error of each cell, such as "NameError: name 'x' is not defined", or nothing.
        trained: position and method of each training that has ended, in their order. What is trained once must not be
            trained again.
    """
    found: list[int] = []
    done = {position for position, _ in trained}
    missing = {position: match[1] for position, error in enumerate(errors) if (match := MISSING.match(error))}
    names = [list_definitions(source) for source in sources] if missing else []
    for position, name in missing.items():
        providers = {*found, *range(position + 1, len(sources))}
        if position not in done and any(name in names[provider] for provider in providers):
            found.append(position)
    spare = done - {position for position, _ in _list_first(trained)}
    return sorted({*found, *_find_unfinished(sources, found, done, spare)})


def _list_first(trained: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the first training of each method."""
    methods = [method for _, method in trained]
    return [training for number, training in enumerate(trained) if training[1] not in methods[:number]]


def _find_unfinished(sources: Sequence[str], early: Sequence[int], done: set[int], spare: set[int]) -> set[int]:
    """Return the cells that trained in vain what the early ones define or change, those between, and its makers."""
    changed: set[str] = set()
    below: set[int] = set()
    for position in range(min(early, default=len(sources)), len(sources)):
        if position in early or (changed & list_uses(sources[position]) and position not in done - spare):
            changed |= list_definitions(sources[position]) | list_passed(sources[position])
            below.add(position)
    if not below & spare:
        return set()
    last = max(below & spare)
    used = set().union(*(list_uses(sources[position]) for position in below - set(early) if position <= last))
    above = range(min(early) - 1, -1, -1)
    makers = [next((p for p in above if name in list_definitions(sources[p])), None) for name in used & changed]
    return {p for p in below if p <= last} | {p for p in makers if p is not None and p not in done}


def list_definitions(source: str) -> frozenset[str]:
    """Return the names that a cell gives a value at its top level; none if it is not Python."""
    return frozenset(s.get_name() for s in _list_symbols(source) if s.is_assigned() or s.is_imported())


def list_uses(source: str) -> frozenset[str]:
    """Return the names whose value a cell uses at its top level; none if it is not Python."""
    return frozenset(symbol.get_name() for symbol in _list_symbols(source) if symbol.is_referenced())


def list_passed(source: str) -> frozenset[str]:
    """Return the names whose objects a cell may change at its top level: it passes them on, or names a part of them."""
    try:
        tree = ast.parse(COMMAND.sub(r"\1pass", source))
    except UNPARSABLE:
        return frozenset()
    parts = [part for statement in tree.body if not isinstance(statement, DEFINED) for part in ast.walk(statement)]
    given = [
        arg for part in parts if isinstance(part, ast.Call) for arg in (*part.args, *(k.value for k in part.keywords))
    ]
    given += [part.value for part in parts if isinstance(part, (ast.Attribute, ast.Subscript))]
    return frozenset(found.id for found in given if isinstance(found, ast.Name))


def _list_symbols(source: str) -> list[symtable.Symbol]:
    try:
        table = symtable.symtable(COMMAND.sub(r"\1pass", source), "cell", "exec")
    except UNPARSABLE:
        return []
    return table.get_symbols()
