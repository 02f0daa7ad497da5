"""The code of a notebook as syntax trees whose nodes know their cell. It is only ever read, never executed.

A place in this code is told to a student, so lines keep their numbers: a magic becomes a `pass` on its own line. A cell
that is no Python is left out, since nothing in it ran.
"""

import ast
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from grader.model import Place
from grader.protocol.source import UNPARSABLE

CHARS_MAX: Final = 200_000  # of one cell; a whole notebook has 20,000
SOURCE_MAX: Final = 120  # characters of the line that a place shows
FOLLOWED_MAX: Final = 30  # functions that are followed from one statement

# Magics whose line or cell is Python all the same.
_TIMED: Final = re.compile(r"^([ \t]*)%(?:time|prun)\b[ \t]*(?=[^\s-])")
_PYTHON_CELL: Final = re.compile(r"%%(?:time|timeit|capture|prun)\b")
_MAGIC: Final = re.compile(r"^([ \t]*)(?:[!%?].*|[\w., \t]+=[ \t]*[!%].*|[^#'\"]*\?{1,2}[ \t]*)$")

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Function = ast.FunctionDef | ast.AsyncFunctionDef
Test = Callable[[ast.AST], bool]
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS: Final = (*FUNCTIONS, ast.ClassDef)
HEADERS: Final = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try)


@dataclass(frozen=True)
class Spot:
    """A node and its cell, by its index among all cells."""

    cell: int
    node: ast.AST

    @property
    def line(self) -> int:
        """Line within the cell, from 1."""
        return int(getattr(self.node, "lineno", 1))

    def find(self, test: Test) -> "Spot | None":
        """Return the first node below this one, in the order of the text, that passes the test."""
        return next(self.find_all(test), None)

    def find_all(self, test: Test) -> Iterator["Spot"]:
        """Yield the nodes below this one that pass the test, in the order of the text."""
        return (Spot(self.cell, node) for node in list_nodes(self.node) if test(node))


@dataclass(frozen=True)
class Step(Spot):
    """A statement outside of all definitions that holds no other statement, with the names in it and around it."""

    names: frozenset[str] = frozenset()
    assigned: frozenset[str] = frozenset()


class Code:
    """All code cells of a notebook, in the order in which they ran last."""

    def __init__(
        self, sources: Mapping[int, str], failed: Mapping[int, int] | None = None, early: Collection[int] = ()
    ) -> None:
        """`failed`: line in which a cell raised (0: unknown); `early`: cells that ran again after the last one."""
        self.sources, self.failed = sources, failed or {}
        order = [*(index for index in sources if index not in early), *(index for index in sources if index in early)]
        trees = ((index, parse_cell(sources[index])) for index in order)
        self.trees = {index: tree for index, tree in trees if tree is not None}

    def place(self, spot: Spot | None) -> Place | None:
        """Return the place of a node, with the line that it begins in."""
        lines = self.sources[spot.cell].splitlines() if spot else []
        if spot is None or not 0 < spot.line <= len(lines):
            return None
        return Place(cell=spot.cell, line=spot.line, source=lines[spot.line - 1].strip()[:SOURCE_MAX])

    @cached_property
    def definitions(self) -> dict[str, Spot]:
        """The definition that counts under each name: the last one, and one that ran before any that did not."""
        found: dict[str, Spot] = {}
        for spot in self._list_definitions():
            name = spot.node.name  # type: ignore[attr-defined]
            if name not in found or self.ran(spot) or not self.ran(found[name]):
                found[name] = spot
        return found

    @cached_property
    def versions(self) -> dict[str, list[Spot]]:
        """The definitions outside of all others under each name, in the order in which they ran."""
        found: dict[str, list[Spot]] = {}
        for cell, tree in self.trees.items():
            for node in (node for node in tree.body if isinstance(node, DEFINITIONS)):
                found.setdefault(node.name, []).append(Spot(cell, node))
        return found

    def until(self, cell: int) -> "Code":
        """Return the code that had run when this cell ended, and what only cells below it define."""
        found, ran = Code({}, self.failed), [*self.trees]
        found.sources = self.sources
        found.trees = {index: self.trees[index] for index in ran[: ran.index(cell) + 1]}
        found.definitions = self.definitions | found.definitions
        return found

    def _list_definitions(self) -> Iterator[Spot]:
        for cell, tree in self.trees.items():
            yield from (Spot(cell, node) for node in list_nodes(tree) if isinstance(node, DEFINITIONS))

    def ran(self, spot: Spot) -> bool:
        """Return True unless the cell raised before this statement was through."""
        return spot.cell not in self.failed or (getattr(spot.node, "end_lineno", 0) or 0) < self.failed[spot.cell]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The statements outside of all definitions, in the order in which they ran."""
        return tuple(
            step for cell, tree in self.trees.items() for step in _list_steps(cell, tree.body, frozenset(), frozenset())
        )

    def follow(self, spot: Spot, levels: int = 3) -> list[Spot]:
        """Return this node and the bodies of the notebook's own functions that it calls, to so many levels."""
        found, waiting, seen = [spot], [(spot, levels)], {id(spot.node)}
        while waiting and len(found) < FOLLOWED_MAX:
            current, left = waiting.pop(0)
            for called in self._list_called(current) if left else ():
                if id(called.node) not in seen:
                    seen.add(id(called.node))
                    found.append(called)
                    waiting.append((called, left - 1))
        return found

    def _list_called(self, spot: Spot) -> Iterator[Spot]:
        names = dict.fromkeys(name_of(node.func) for node in list_nodes(spot.node) if isinstance(node, ast.Call))
        found = (self.definitions[name] for name in names if name in self.definitions)
        return (called for called in found if isinstance(called.node, FUNCTIONS))


def parse_cell(source: str) -> ast.Module | None:
    """Return the tree of a cell, with magics blanked; None where it is no Python."""
    if len(source) > CHARS_MAX:
        return None
    return _parse(source) or _parse(blank_magics(source))


def _parse(source: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a student's backslashes
        try:
            return ast.parse(source)
        except UNPARSABLE:
            return None


def blank_magics(source: str) -> str:
    """Return the cell with `pass` in place of magics, line by line; nothing of a cell in another language."""
    lines = source.splitlines()
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines and lines[first].startswith("%%"):
        if not _PYTHON_CELL.match(lines[first]):
            return ""
        lines[first] = ""
    return "\n".join(_MAGIC.sub(r"\1pass", _TIMED.sub(r"\1", line)) for line in lines)


def _list_steps(
    cell: int, body: Iterable[ast.stmt], around: frozenset[str], assigned: frozenset[str]
) -> Iterator[Step]:
    for node in body:
        if isinstance(node, DEFINITIONS):
            continue
        if isinstance(node, HEADERS):
            header = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]
            blocks = [part for part in header if isinstance(part, ast.ExceptHandler)]
            names = around.union(*(list_names(part) for part in header if part not in blocks))
            targets = assigned | _list_targets(node)
            inside = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
            yield from _list_steps(cell, [*inside, *(s for block in blocks for s in block.body)], names, targets)
        else:
            yield Step(cell, node, around | list_names(node), assigned | _list_targets(node))


def _list_targets(statement: ast.stmt) -> frozenset[str]:
    """Return the names that a statement binds: of variables, not of attributes or items."""
    loops = isinstance(statement, (ast.For, ast.AsyncFor))
    if isinstance(statement, HEADERS) and not loops:
        return frozenset()
    nodes = [*ast.walk(statement.target if loops else statement)]  # type: ignore[attr-defined]
    local = {name for node in nodes if isinstance(node, ast.comprehension) for name in list_names(node.target)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return frozenset(bound - local)


def list_nodes(root: ast.AST) -> list[ast.AST]:
    """Return a node and all below it that have a line, in the order of the text."""
    nodes = [node for node in ast.walk(root) if hasattr(node, "lineno")]
    return sorted(nodes, key=lambda node: (node.lineno, node.col_offset))  # type: ignore[attr-defined]


def list_read(root: ast.AST) -> frozenset[str]:
    """Return the names of the variables whose values an expression or statement reads."""
    return frozenset(n.id for n in ast.walk(root) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))


def list_names(root: ast.AST) -> frozenset[str]:
    """Return the names of all variables in an expression or statement."""
    return frozenset(node.id for node in ast.walk(root) if isinstance(node, ast.Name))


def name_of(expression: ast.AST | None) -> str:
    """Return the last part of a dotted name: "Linear" for `nn.Linear`; "" for anything else."""
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""


def calls(*names: str) -> Test:
    """Return a test for calls of functions or methods with one of these names."""
    return lambda node: isinstance(node, ast.Call) and name_of(node.func) in names


def root_of(expression: ast.AST) -> str:
    """Return the variable that a chain begins with: "W" for `W.weight.data.clone()`; "" where there is none."""
    while isinstance(expression, (ast.Attribute, ast.Call, ast.Subscript)):
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    return expression.id if isinstance(expression, ast.Name) else ""


def make_spot(cell: int, line: int) -> Spot:
    """Return a spot for a line of which no node is known."""
    return Spot(cell, ast.Pass(lineno=line, col_offset=0, end_lineno=line, end_col_offset=0))
