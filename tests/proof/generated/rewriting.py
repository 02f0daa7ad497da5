"""Rewrites of a program that leave its meaning as it is."""

import ast
from typing import Final

from tests.proof.generated.dice import Dice

COMMENTS: Final = (
    "# see the handout",
    "# TODO: ask the TA why",
    "# works, do not touch",
    "# (Hu et al., 2021)",
    "# x: (batch, tokens, in) -> (batch, tokens, out)",
    "# print(model)",
    "# for p in model.parameters(): p.requires_grad = False",
    "# copied from the lab, then changed",
)
CHANCE: Final = 0.15  # of each rewrite at each place


def rewrite(dice: Dice, source: str) -> str:
    """The source, rewritten in some places."""
    tree = ast.parse(source)
    for kind in (Returns, Branches, Increments, Sums, Iterables):
        tree = kind(dice).visit(tree)
    if dice.happens(0.3):
        add_docstrings(tree)
        dice.choices["text: docstrings"] = "yes"
    text = ast.unparse(ast.fix_missing_locations(tree))
    return add_comments(dice, text) if dice.happens(0.4) else text


class Rewrite(ast.NodeTransformer):
    """A rewrite that happens with a chance."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice

    def happens(self) -> bool:
        """Whether to rewrite this place; noted."""
        if self.dice.happens(CHANCE):
            self.dice.choices[f"rewritten: {type(self).__name__.lower()}"] = "yes"
            return True
        return False


class Returns(Rewrite):
    """`return f(x)` becomes `answer = f(x)` and `return answer`."""

    def visit_Return(self, node: ast.Return) -> ast.Return | list[ast.stmt]:
        """One statement becomes two."""
        if node.value is None or isinstance(node.value, ast.Name) or not self.happens():
            return node
        name = self.dice.vary(("answer", "value", "ret", "res_"))
        return [
            ast.Assign([ast.Name(name, ast.Store())], node.value),
            ast.Return(ast.Name(name, ast.Load())),
        ]


class Branches(Rewrite):
    """`if a: … else: …` becomes `if not a: … else: …` with its branches exchanged; so do expressions."""

    def visit_If(self, node: ast.If) -> ast.AST:
        """Exchange the branches of a statement."""
        self.generic_visit(node)
        if node.orelse and self.happens():
            return ast.If(ast.UnaryOp(ast.Not(), node.test), node.orelse, node.body)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """Exchange the branches of an expression."""
        self.generic_visit(node)
        if self.happens():
            return ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.orelse, node.body)
        return node


class Increments(Rewrite):
    """`n += 1` becomes `n = n + 1`."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Only for names: an attribute's object would be evaluated twice."""
        if not isinstance(node.target, ast.Name) or not self.happens():
            return node
        value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, node.value)
        return ast.Assign([ast.Name(node.target.id, ast.Store())], value)


class Sums(Rewrite):
    """`a + b` becomes `b + a`, and `a * b` becomes `b * a`, where both are numbers or tensors."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Exchange the operands."""
        self.generic_visit(node)
        if isinstance(node.op, (ast.Add, ast.Mult)) and not _has_text(node) and self.happens():
            return ast.BinOp(node.right, node.op, node.left)
        return node


def _has_text(node: ast.AST) -> bool:
    """Whether strings or lists may be among the operands, for which the order matters."""
    kinds = (ast.JoinedStr, ast.List, ast.Tuple)
    for part in ast.walk(node):
        if isinstance(part, kinds) or (isinstance(part, ast.Constant) and isinstance(part.value, str)):
            return True
    return False


class Iterables(Rewrite):
    """`for … in f():` becomes `for … in list(f()):`."""

    def visit_For(self, node: ast.For) -> ast.AST:
        """Go through a list of the same."""
        self.generic_visit(node)
        if isinstance(node.iter, ast.Call) and self.happens():
            kind = ast.Name(self.dice.vary(("list", "tuple")), ast.Load())
            return ast.For(node.target, ast.Call(kind, [node.iter], []), node.body, node.orelse)
        return node


def add_docstrings(tree: ast.Module) -> None:
    """Every function and class says something."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            node.body.insert(0, ast.Expr(ast.Constant(f"{node.name}: see the handout.")))


def add_comments(dice: Dice, text: str) -> str:
    """Comments behind and between lines."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() and dice.happens(0.1):
            lines.append(line[: len(line) - len(line.lstrip())] + dice.vary(COMMENTS))
        lines.append(line)
    return "\n".join(lines)
