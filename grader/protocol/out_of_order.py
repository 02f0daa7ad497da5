"""Finds cells that came too early: they use a name that only a cell further down defines.

Students run cells in any order and hand in a notebook that worked. So a cell that stopped at a missing name runs once
more after the last one, if the notebook does define the name.
"""

import re
import symtable
from collections.abc import Collection, Sequence

MISSING = re.compile(r"NameError: name '(\w+)' is not defined")
COMMAND = re.compile(r"^(\s*)[!%].*$", re.MULTILINE)  # of IPython, no Python


def find_out_of_order(sources: Sequence[str], errors: Sequence[str], done: Collection[int]) -> list[int]:
    """Return the positions of the cells to run once more, in their order.

    A cell that needs a name from a cell that came too early came too early as well.

    Args:
        sources: the cells.
        errors: the error of each cell, such as "NameError: name 'x' is not defined", or nothing.
        done: positions of cells in which a training has ended, which must not train again.
    """
    found: list[int] = []
    missing = {position: match[1] for position, error in enumerate(errors) if (match := MISSING.match(error))}
    names = [list_definitions(source) for source in sources] if missing else []
    for position, name in missing.items():
        providers = {*found, *range(position + 1, len(sources))}
        if position not in done and any(name in names[provider] for provider in providers):
            found.append(position)
    return found


def list_definitions(source: str) -> frozenset[str]:
    """Return the names that a cell gives a value at its top level; none if it is not Python."""
    try:
        table = symtable.symtable(COMMAND.sub(r"\1pass", source), "cell", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    return frozenset(s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported())
