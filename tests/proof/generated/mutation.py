"""Mistakes that nobody thought of: a program with one small edit, for every edit of some kinds at every place."""

import ast
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.proof.generated.programs import Program

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"


@dataclass(frozen=True)
class Edit:
    """One edit of one cell."""

    cell: str
    kind: str  # of mistake
    inside: str  # the function or class around it
    before: str  # the statement
    after: str
    source: str  # of the whole cell, edited

    def __str__(self) -> str:
        """Return the edit in one line."""
        return f"{self.cell}, {self.inside}: `{self.before}` → `{self.after}`"


@dataclass(frozen=True)
class Mutant:
    """A right program with one edit."""

    program: Program
    edit: Edit
    original: str  # id of the right program


Change = tuple[str, ast.AST]  # kind of mistake, and what takes the place of the node


def list_mutants(program: Program, cells: Mapping[str, str]) -> Iterator[Mutant]:
    """Every mutant of a program whose edited cells are these."""
    number = 0
    for cell, source in cells.items():
        for edit in list_edits(cell, source):
            edited = Program(f"{program.id}-{number}", {**program.cells, cell: edit.source}, program.choices)
            yield Mutant(edited, edit, program.id)
            number += 1


def list_edits(cell: str, source: str) -> Iterator[Edit]:
    """Every edit of a cell: of the solution alone, where it is marked."""
    tree = ast.parse(source)
    lines = find_marked_lines(source)
    seen = {ast.unparse(tree)}
    for place in list_places(tree):
        if place.line not in lines:
            continue
        for kind, new in list_changes(place):
            edited, after = _edit(tree, place, new)
            if edited not in seen and _is_program(edited):
                seen.add(edited)
                before = _shorten(place.statement)
                yield Edit(cell, kind, place.inside, before, after, edited)


def find_marked_lines(source: str) -> frozenset[int]:
    """Numbers of the lines that a student writes."""
    lines = source.splitlines()
    if not any(line.strip() == BEGIN for line in lines):
        return frozenset(range(1, len(lines) + 1))
    found, inside = set(), False
    for number, line in enumerate(lines, start=1):
        inside = (inside or line.strip() == BEGIN) and line.strip() != END
        if inside:
            found.add(number)
    return frozenset(found)


@dataclass(frozen=True)
class Place:
    """A node of a syntax tree, and what stands around it."""

    node: ast.AST
    statement: ast.stmt
    inside: str
    names: tuple[str, ...]  # variables of the function
    attributes: tuple[str, ...]  # of `self`, in the class

    @property
    def line(self) -> int:
        """Where it begins."""
        return int(getattr(self.node, "lineno", self.statement.lineno))


def list_places(tree: ast.Module) -> Iterator[Place]:
    """Every node that may be edited: no imports, annotations, docstrings, and nothing that loads the model."""
    for statement in tree.body:
        yield from _walk(statement, statement, "the cell", _list_names(tree), _list_attributes(statement))


def _walk(
    node: ast.AST, statement: ast.stmt, inside: str, names: tuple[str, ...], attributes: tuple[str, ...]
) -> Iterator[Place]:
    if isinstance(node, (ast.Import, ast.ImportFrom)) or _is_docstring(node) or _loads_model(node):
        return
    if isinstance(node, ast.stmt):
        statement = node
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        inside = node.name if inside == "the cell" else f"{inside.split('.')[0]}.{node.name}"
        names = _list_names(node) or names
    else:
        yield Place(node, statement, inside, names, attributes)
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _walk(child, statement, inside, names, attributes)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _loads_model(node: ast.AST) -> bool:
    """True for what is no part of the five pieces: models are handed out, whatever it asks for."""
    return isinstance(node, ast.FunctionDef) and node.name == "load_model"


def _list_names(node: ast.AST) -> tuple[str, ...]:
    arguments = [a.arg for a in ast.walk(node) if isinstance(a, ast.arg) and a.arg != "self"]
    stored = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return tuple(dict.fromkeys([*arguments, *stored]))


def _list_attributes(node: ast.AST) -> tuple[str, ...]:
    found = (n for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store))
    return tuple(dict.fromkeys(n.attr for n in found if isinstance(n.value, ast.Name) and n.value.id == "self"))


def _edit(tree: ast.Module, place: Place, new: ast.AST) -> tuple[str, str]:
    """The source with the node replaced, and the statement as it then is."""
    known: dict[int, Any] = {}
    edited = copy.deepcopy(tree, known)
    statement = known[id(place.statement)]
    target = known[id(place.node)]
    _Replacement(target, new).visit(edited)
    text = ast.unparse(ast.fix_missing_locations(edited))
    return text, _shorten(new if target is statement else statement)


class _Replacement(ast.NodeTransformer):
    def __init__(self, target: ast.AST, new: ast.AST) -> None:
        self.target, self.new = target, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.target else self.generic_visit(node)


def _shorten(node: ast.AST) -> str:
    text = ast.unparse(ast.fix_missing_locations(node))
    first, _, rest = text.partition("\n")
    return f"{first} …" if rest and not isinstance(node, (ast.Assign, ast.Return, ast.Expr)) else first


def _is_program(source: str) -> bool:
    try:
        compile(source, "<mutant>", "exec")
    except SyntaxError:
        return False
    return True


def list_changes(place: Place) -> Iterator[Change]:
    """What may take the place of a node."""
    for kind, change in CHANGES.items():
        if isinstance(place.node, kind):
            yield from change(place.node, place)
    if isinstance(place.node, REMOVABLE):
        yield "a statement is missing", ast.Pass()


REMOVABLE: Final = (ast.Assign, ast.AugAssign, ast.Expr, ast.For, ast.If, ast.With, ast.While)
ARITHMETIC: Final[Mapping[type, Sequence[type]]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.MatMult: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.BitOr: (ast.BitAnd,),
}
COMPARISONS: Final[Mapping[type, type]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.GtE,
    ast.Gt: ast.LtE,
}
ATTRIBUTES: Final = {
    "in_features": "out_features",
    "out_features": "in_features",
    "zeros_": "ones_",
    "zeros": "ones",
    "zero_": "normal_",
    "startswith": "endswith",
    "endswith": "startswith",
    "named_modules": "named_children",
    "named_parameters": "named_buffers",
    "parameters": "buffers",
    "numel": "dim",
    "pre_classifier": "classifier",
    "classifier": "pre_classifier",
    "q_lin": "k_lin",
    "v_lin": "out_lin",
    "T": "mT",
    "weight": "bias",
    "bias": "weight",
    "requires_grad": "is_leaf",
    "distilbert": "pre_classifier",
    "shape": "stride",
    "randn": "zeros",
    "embeddings": "transformer",
    "transformer": "embeddings",
}


def _change_arithmetic(node: Any, place: Place) -> Iterator[Change]:
    for operator in ARITHMETIC.get(type(node.op), ()):
        yield "another operator", ast.BinOp(node.left, operator(), node.right)
    if isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult, ast.Pow)):
        yield "operands exchanged", ast.BinOp(node.right, node.op, node.left)
    yield "an operand is missing", node.left
    yield "an operand is missing", node.right


def _change_comparison(node: Any, place: Place) -> Iterator[Change]:
    if len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
        yield "condition negated", ast.Compare(node.left, [COMPARISONS[type(node.ops[0])]()], node.comparators)


def _change_logic(node: Any, place: Place) -> Iterator[Change]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield "another operator", ast.BoolOp(other, node.values)
    for value in node.values:
        yield "half of a condition", value


def _change_sign(node: Any, place: Place) -> Iterator[Change]:
    if isinstance(node.op, (ast.Not, ast.USub)):
        yield "condition negated", node.operand


def _change_test(node: Any, place: Place) -> Iterator[Change]:
    negated = copy.copy(node)
    negated.test = ast.UnaryOp(ast.Not(), node.test)
    yield "condition negated", negated
    if isinstance(node, ast.IfExp):
        yield "one branch only", node.body
        yield "one branch only", node.orelse


def _change_comprehension(node: Any, place: Place) -> Iterator[Change]:
    if node.ifs:
        for tests in ([ast.UnaryOp(ast.Not(), node.ifs[0]), *node.ifs[1:]], node.ifs[1:]):
            kind = "condition negated" if len(tests) == len(node.ifs) else "condition missing"
            yield kind, ast.comprehension(node.target, node.iter, tests, node.is_async)


def _change_constant(node: Any, place: Place) -> Iterator[Change]:
    value = node.value
    if isinstance(value, bool):
        yield "another constant", ast.Constant(not value)
    elif isinstance(value, (int, float)):
        others = (value + 1, value - 1) if isinstance(value, int) else (value * 2, value + 1, -value)
        for other in dict.fromkeys(others):
            if other != value:
                yield "another constant", ast.Constant(other)
    elif isinstance(value, str) and value:
        for text in (f"{value}x", value[1:], value[:-1]):
            yield "another text", ast.Constant(text)


def _change_attribute(node: Any, place: Place) -> Iterator[Change]:
    if node.attr in ATTRIBUTES:
        yield "another attribute", ast.Attribute(node.value, ATTRIBUTES[node.attr], node.ctx)
    of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
    if of_self and node.attr in place.attributes and isinstance(node.ctx, ast.Load):
        for other in _follow(node.attr, place.attributes):
            yield "another attribute", ast.Attribute(node.value, other, node.ctx)


def _follow(name: str, names: tuple[str, ...]) -> Sequence[str]:
    """The names before and after one, in a circle."""
    where = names.index(name)
    return [n for n in dict.fromkeys((names[where - 1], names[(where + 1) % len(names)])) if n != name]


def _change_name(node: Any, place: Place) -> Iterator[Change]:
    if isinstance(node.ctx, ast.Load) and node.id in place.names:
        for other in _follow(node.id, place.names):
            yield "another name", ast.Name(other, node.ctx)


def _change_call(node: Any, place: Place) -> Iterator[Change]:
    if len(node.args) >= 2:
        swapped = [node.args[1], node.args[0], *node.args[2:]]
        yield "arguments exchanged", ast.Call(node.func, swapped, node.keywords)
        yield "an argument is missing", ast.Call(node.func, node.args[:-1], node.keywords)
    for keyword in node.keywords:
        others = [other for other in node.keywords if other is not keyword]
        yield "a keyword argument is missing", ast.Call(node.func, node.args, others)
    if len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred):
        yield "a call is missing", node.args[0]
    if not node.args and not node.keywords and isinstance(node.func, ast.Attribute):
        yield "a call is missing", node.func.value


def _change_items(node: Any, place: Place) -> Iterator[Change]:
    if isinstance(node.ctx if hasattr(node, "ctx") else ast.Load(), ast.Load) and len(node.elts) >= 2:
        for elements in (node.elts[:-1], node.elts[1:]):
            changed = copy.copy(node)
            changed.elts = elements
            yield "an item is missing", changed


def _change_loop(node: Any, place: Place) -> Iterator[Change]:
    changed = copy.copy(node)
    changed.body = [*node.body, ast.Break()]
    yield "the loop ends at once", changed


def _change_return(node: Any, place: Place) -> Iterator[Change]:
    if node.value is not None:
        yield "nothing is returned", ast.Return(None)
        yield "printed, not returned", ast.Expr(ast.Call(ast.Name("print", ast.Load()), [node.value], []))


CHANGES: Final[Mapping[type[ast.AST], Callable[[Any, Place], Iterator[Change]]]] = {
    ast.BinOp: _change_arithmetic,
    ast.Compare: _change_comparison,
    ast.BoolOp: _change_logic,
    ast.UnaryOp: _change_sign,
    ast.If: _change_test,
    ast.IfExp: _change_test,
    ast.While: _change_test,
    ast.comprehension: _change_comprehension,
    ast.Constant: _change_constant,
    ast.Attribute: _change_attribute,
    ast.Name: _change_name,
    ast.Call: _change_call,
    ast.Tuple: _change_items,
    ast.List: _change_items,
    ast.Set: _change_items,
    ast.For: _change_loop,
    ast.Return: _change_return,
}
