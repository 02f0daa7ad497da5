"""Definitions that came too late: a training used one, and a cell further down defines the same name differently.

In the student's session the cells ran in another order, so the notebook worked there. From the top, no cell raises an
error, and yet the model is made with the earlier definition.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from grader.judging.places.code import Code, Spot, Step
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

    def explain_live(self, trained: int | None) -> str:
        """Return the sentence for an open notebook, in which it is not too late: the student has just put it right.

        Cells have the numbers under which they ran. `trained`: the index of the one that trains.
        """
        again = "the training" if self.used.cell == trained else f"In [{self.used.cell + 1}] and the training"
        return f"In [{self.later.cell + 1}] defines `{self.name}` anew; run {again} again."


def find_redefinition(notebook: Notebook, method: Method) -> Redefinition | None:
    """Return the first definition that the training of this step used and that the notebook changes afterwards.

    A function that is written anew for another step, and used there, came in time for that step.
    """
    others = [step for other in Method if other is not method for step in _list_steps(notebook, other)]
    found = (found for step in _list_steps(notebook, method) for found in _list_redefined(notebook.code, step))
    return next((one for one in found if not any(_uses(notebook.code, step, one.later) for step in others)), None)


def _list_steps(notebook: Notebook, method: Method) -> tuple[Step, ...]:
    """Return the statements behind the training of a step; none where the code does not show it."""
    history = notebook.find_history(method)
    return tuple(dict.fromkeys((*history.linked, history.builder, history.start))) if history else ()


def _list_redefined(code: Code, step: Step) -> Iterator[Redefinition]:
    """Yield what a statement calls, itself or in functions, and what a cell that ran after it defines otherwise."""
    ran = [*code.trees]
    for name in _list_called(code, step):
        found = code.versions.get(name, ())
        earlier = [spot for spot in found if ran.index(spot.cell) < ran.index(step.cell)]
        later = [spot for spot in found if ran.index(spot.cell) > ran.index(step.cell)]
        if earlier and later and ast.dump(earlier[-1].node) != ast.dump(later[-1].node):
            yield Redefinition(name, step, earlier[-1], later[-1])


def _list_called(code: Code, step: Step) -> dict[str, None]:
    """Return the names that a statement calls, itself or in functions; a method is no function of the notebook."""
    nodes = (node for spot in code.follow(step) for node in ast.walk(spot.node) if isinstance(node, ast.Call))
    return {node.func.id: None for node in nodes if isinstance(node.func, ast.Name)}


def _uses(code: Code, step: Step, definition: Spot) -> bool:
    """Return True for a statement that calls what was defined before it ran."""
    ran = [*code.trees]
    came_before = ran.index(definition.cell) <= ran.index(step.cell)
    return came_before and getattr(definition.node, "name", "") in _list_called(code, step)
