"""A program: what a student writes in the five graded places, as sources of cells of the reference notebook."""

import ast
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.proof.validity.corpus import Base

PIECES: Final = ("load-model", "freeze-encoder", "extract-qv-layers", "lora-layer", "wrap-layers")  # ids of cells


@dataclass(frozen=True)
class Program:
    """Cells that take the place of the reference's, and which choices made them."""

    id: str
    cells: Mapping[str, str]
    choices: Mapping[str, str] = field(default_factory=dict)  # dimension -> choice

    def list_sources(self, base: Base) -> tuple[str, ...]:
        """All cells of the notebook, in order."""
        return tuple({**base.cells, **self.cells}.values())

    def compute_digest(self) -> str:
        """The same for programs that differ in nothing but names, comments, docstrings and annotations."""
        texts = (ast.dump(normalise(source)) for source in self.cells.values())
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def normalise(source: str) -> ast.Module:
    """The syntax tree with names in the order in which they come, and without docstrings and annotations."""
    tree = ast.parse(source)
    return _Normaliser(_find_own_names(tree)).visit(tree)


def _find_own_names(tree: ast.Module) -> frozenset[str]:
    """The names that the program gives: of variables, arguments, functions, classes and attributes of `self`."""
    stored = (n for n in ast.walk(tree) if isinstance(n, (ast.Name, ast.Attribute)) and isinstance(n.ctx, ast.Store))
    names = {node.id if isinstance(node, ast.Name) else node.attr for node in stored}
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return frozenset(names | arguments)


class _Normaliser(ast.NodeTransformer):
    """Renames what the program itself names."""

    def __init__(self, own: frozenset[str]) -> None:
        self.own = own
        self.names: dict[str, str] = {}

    def rename(self, name: str) -> str:
        """The next number for a new name; what is not the program's own keeps its name."""
        return self.names.setdefault(name, f"n{len(self.names)}") if name in self.own else name

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A variable."""
        return ast.Name(self.rename(node.id), node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """An attribute."""
        return ast.Attribute(self.visit(node.value), self.rename(node.attr), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """An argument, without its annotation."""
        return ast.arg(self.rename(node.arg))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """An assignment, without its annotation."""
        value = self.visit(node.value) if node.value else ast.Constant(None)
        return ast.Assign([self.visit(node.target)], value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A function, without its docstring and annotations."""
        node.returns = None
        return self._visit_body(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """A class, without its docstring."""
        return self._visit_body(node)

    def _visit_body(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)
