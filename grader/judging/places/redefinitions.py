"""Definitions that came too late: a training used one, and a cell further down defines the same name differently.

In the student's session the cells ran in another order, so the notebook worked there. From the top, no cell raises an
error, and yet the model is made with the earlier definition.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from grader.judging.places.code import Code, Spot, Step, name_of
from grader.judging.places.notebook import Notebook
from grader.model import Method


@dataclass(frozen=True)
class Redefinition:
    """A name, the statement that used its `earlier` definition, and the `later` one, which differs from it."""

    name: str
    used: Step
    earlier: Spot
    later: Spot

    def __str__(self) -> str:
        """Return the sentence for a student; cells are numbered from 1."""
        return (
            f"Cell {self.later.cell + 1} defines `{self.name}` again, too late: cell {self.used.cell + 1} had used the "
            f"definition in cell {self.earlier.cell + 1}."
        )


def find_redefinition(notebook: Notebook, method: Method) -> Redefinition | None:
    """Return the first definition that the training of this step used and that the notebook changes afterwards."""
    history = notebook.find_history(method)
    if history is None:
        return None
    steps = dict.fromkeys((*history.linked, history.builder, history.start))
    return next((found for step in steps for found in _list_redefined(notebook.code, step)), None)


def _list_redefined(code: Code, step: Step) -> Iterator[Redefinition]:
    """Yield what a statement calls, itself or in functions, and what a cell that ran after it defines otherwise."""
    ran = [*code.trees]
    called = (node for spot in code.follow(step) for node in ast.walk(spot.node) if isinstance(node, ast.Call))
    for name in dict.fromkeys(name_of(node.func) for node in called):
        found = code.versions.get(name, ())
        earlier = [spot for spot in found if ran.index(spot.cell) < ran.index(step.cell)]
        later = [spot for spot in found if ran.index(spot.cell) > ran.index(step.cell)]
        if earlier and later and ast.dump(earlier[-1].node) != ast.dump(later[-1].node):
            yield Redefinition(name, step, earlier[-1], later[-1])
