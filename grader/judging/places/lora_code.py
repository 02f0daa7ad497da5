"""The parts of a `LoRALayer` as a student wrote it: where W is kept, A and B are made, the scale is computed.

Behaviour decides what is wrong (see `oracle/lora.py`). This module only says which line is about it, and it never
decides a verdict: names and style are the student's own.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from grader.judging.places.code import FUNCTIONS, Code, Spot, calls, list_names, list_nodes, name_of, root_of

MATRIX_MAKERS: Final = (
    *("Linear", "Parameter", "LazyLinear", "Conv1d", "ParameterList", "ParameterDict", "ModuleList", "Sequential"),
    *("randn", "rand", "zeros", "ones", "empty", "normal", "full", "eye", "tensor", "randn_like", "zeros_like"),
    *("register_parameter", "register_buffer", "Identity", "Embedding", "Bilinear"),
)
REGISTERED: Final = ("Linear", "Parameter", "register_parameter", "Conv1d", "Embedding", "Bilinear")
FACTS_OF_W: Final = ("in_features", "out_features", "shape", "size", "device", "dtype", "ndim", "numel")
ACTIVATIONS: Final = (
    *("relu", "tanh", "gelu", "sigmoid", "silu", "softmax", "leaky_relu", "elu", "ReLU", "Tanh", "GELU", "Sigmoid"),
    *("dropout", "Dropout", "layer_norm", "LayerNorm", "normalize"),
)
RESHAPES: Final = ("reshape", "view", "flatten", "squeeze", "unsqueeze", "mean", "sum")
COMPOUND: Final = (ast.For, ast.While, ast.If, ast.With, ast.Try)
MISSING: Final = object()
CUTS: Final = ("detach", "no_grad", "inference_mode", "set_grad_enabled", "numpy", "item", "tolist")


@dataclass(frozen=True)
class LoraCode:
    """A class and the notebook that it stands in."""

    code: Code
    definition: Spot

    def method(self, name: str) -> Spot | None:
        """Return a method of the class, or of a class of the notebook that it is derived from."""
        waiting, seen = [self.definition], set()
        while waiting:
            spot = waiting.pop(0)
            node = spot.node
            if not isinstance(node, ast.ClassDef) or id(node) in seen:
                continue
            seen.add(id(node))
            found = next((n for n in reversed(node.body) if isinstance(n, FUNCTIONS) and n.name == name), None)
            if found is not None:
                return Spot(spot.cell, found)
            waiting += [s for base in node.bases if (s := self.code.definitions.get(name_of(base)))]
        return None

    @cached_property
    def statements(self) -> tuple[Spot, ...]:
        """The statements of `__init__`, of those within it too, and of the methods that it calls."""
        return tuple(s for method in self._follow("__init__") for s in method.find_all(_is_statement))

    @cached_property
    def computation(self) -> tuple[Spot, ...]:
        """The statements of `forward` and of the notebook's functions and methods that it calls."""
        forward = self.method("forward")
        functions = [*self._follow("forward"), *(self.code.follow(forward, levels=1)[1:] if forward else ())]
        return tuple(s for function in functions for s in function.find_all(_is_statement))

    def _follow(self, name: str) -> list[Spot]:
        """Return a method and those of the same class that it calls."""
        method = self.method(name)
        called = [name_of(n.func) for n in list_nodes(method.node) if isinstance(n, ast.Call)] if method else []
        names = dict.fromkeys(other for other in called if not other.startswith("__"))
        return [spot for each in (name, *names) if (spot := self.method(each))]

    @cached_property
    def self_name(self) -> str:
        """The name of the layer in its own methods."""
        init = self.method("__init__")
        given = init.node.args.args if init else ()  # type: ignore[attr-defined]
        return given[0].arg if given else "self"

    @cached_property
    def parameters(self) -> tuple[str, str, str]:
        """The names of W, rank and alpha in `__init__`; by position where they are called otherwise."""
        init = self.method("__init__")
        arguments = init.node.args if init else None  # type: ignore[attr-defined]
        given = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)] if arguments else []
        w, rank, alpha = (*given[1:4], *("W", "rank", "alpha")[max(0, len(given) - 1) :])[:3]
        return w, rank, alpha

    @cached_property
    def output(self) -> Spot | None:
        """The last `return` of `forward`, or its last statement where it returns nothing."""
        forward = self.method("forward")
        returns = [*forward.find_all(_returns)] if forward else []
        if returns or forward is None:
            return returns[-1] if returns else None
        return Spot(forward.cell, forward.node.body[-1])  # type: ignore[attr-defined]

    @property
    def is_silent(self) -> bool:
        """True for a class with a `forward` that returns nothing."""
        forward = self.method("forward")
        return forward is not None and forward.find(_returns) is None

    @cached_property
    def base(self) -> Spot | None:
        """The statement that keeps W, or that makes the layer which takes its place."""
        return next((s for s in self.statements if self._keeps_w(s.node)), None) or next(self._list_substitutes(), None)

    @property
    def substitute(self) -> Spot | None:
        """The statement that makes a layer of W's size where nothing keeps W itself."""
        kept = any(self._keeps_w(s.node) for s in self.statements)
        return None if kept else next(self._list_substitutes(), None)

    def _keeps_w(self, node: ast.AST) -> bool:
        value = getattr(node, "value", None)
        w = self.parameters[0]
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or value is None or not self._sets_attribute(node):
            return False
        copied = isinstance(value, ast.Call) and name_of(value.func) in ("deepcopy", "copy") and w in list_names(value)
        rooted = root_of(value) == w
        return copied or (rooted and not any(name_of(n) in FACTS_OF_W for n in ast.walk(value)))

    def _sets_attribute(self, node: ast.Assign | ast.AnnAssign) -> bool:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [part for t in targets for part in (t.elts if isinstance(t, ast.Tuple) else [t])]
        return any(isinstance(t, ast.Attribute) and root_of(t) == self.self_name for t in parts)

    def _list_substitutes(self) -> Iterator[Spot]:
        """Yield what makes a matrix with both sides of W."""
        for spot in self.statements:
            made = spot.find(calls("Linear"))
            sides = {name_of(n) for n in ast.walk(spot.node)}
            if made and {"in_features", "out_features"} <= sides and not _has_no_bias(made.node):
                yield spot

    @cached_property
    def matrices(self) -> tuple[Spot, ...]:
        """The statements that make A and B."""
        own = tuple(name for name, s in self.code.definitions.items() if isinstance(s.node, ast.ClassDef))
        made = (s for s in self.statements if not isinstance(s.node, COMPOUND) and not self._is_scale(s.node))
        found = [s for s in made if s.find(calls(*MATRIX_MAKERS, *own)) and not s.find(self._is_initialiser)]
        return tuple(s for s in found if s not in (self.base, self.substitute)) or tuple(found)

    @staticmethod
    def _is_initialiser(node: ast.AST) -> bool:
        return isinstance(node, ast.Expr) and name_of(getattr(node.value, "func", None)).endswith("_")

    @property
    def odd_matrix(self) -> Spot | None:
        """The first of these that shows a mistake: a bias, no `rank`, or a tensor that is not registered."""
        return next((s for s in self.matrices if self._has_bias(s)), None) or next(
            (s for s in self.matrices if not self._is_registered(s)), next(iter(self.matrices), None)
        )

    @property
    def fixed_matrix(self) -> Spot | None:
        """The first of these whose size is written as a number, and which takes nothing from W."""
        return next((s for s in self.matrices if s.find(_is_size) and not s.find(_reads_size)), None)

    @property
    def biased_matrix(self) -> Spot | None:
        """The first of these that has a bias."""
        return next((s for s in self.matrices if self._has_bias(s)), None)

    def _has_bias(self, spot: Spot) -> bool:
        return any(not _has_no_bias(made.node) for made in spot.find_all(calls("Linear")))

    def _is_registered(self, spot: Spot) -> bool:
        in_a_list = isinstance(getattr(spot.node, "value", None), (ast.List, ast.Tuple, ast.Dict))
        moved = spot.find(self._moves_parameter) is not None
        sized = self.parameters[1] in list_names(spot.node)
        return spot.find(calls(*REGISTERED)) is not None and sized and not in_a_list and not moved

    @staticmethod
    def _moves_parameter(node: ast.AST) -> bool:
        moves = calls("to", "cuda", "double", "half", "bfloat16", "type")
        return moves(node) and calls("Parameter")(node.func.value)  # type: ignore[attr-defined]

    @property
    def moved_parameter(self) -> Spot | None:
        """The statement that moves a parameter after it was made."""
        return next((s for s in self.statements if s.find(self._moves_parameter)), None)

    @cached_property
    def starts(self) -> tuple[Spot, ...]:
        """The statements that set the first values of A and B."""
        return tuple(s for s in self.statements if isinstance(s.node, (ast.Expr, ast.With)) and s.find(_sets_values))

    @cached_property
    def zeros(self) -> tuple[Spot, ...]:
        """The statements that start something at zero."""
        return tuple(s for s in self.statements if s.find(_sets_zeros) and not isinstance(s.node, COMPOUND))

    @property
    def both_zeros(self) -> Spot | None:
        """The last statement that starts something at zero, where A and B both do."""
        started = [call for s in self.zeros for call in s.find_all(_sets_zeros)]
        return self.zeros[-1] if len(started) > 1 else None

    @property
    def scale(self) -> Spot | None:
        """The statement that computes the factor of the update, unless it reads alpha / rank: then the output."""
        found = next((s for s in (*self.statements, *self.computation) if self._is_scale(s.node)), None)
        if found is None or self._is_right_scale(getattr(found.node, "value", None)):
            return self.output
        return found

    def _is_scale(self, node: ast.AST) -> bool:
        value = getattr(node, "value", None)
        if isinstance(node, ast.Expr):
            return calls("register_buffer")(value) and self._computes_scale(value)  # type: ignore[arg-type]
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or value is None or _makes_matrix(value):
            return False
        target = name_of(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        if isinstance(value, ast.Name):
            return value.id in self.parameters[1:] and target not in ("", *self.parameters[1:])
        is_number = isinstance(value, ast.Constant) and isinstance(value.value, (int, float))
        return self._multiplies(target) if is_number else self._computes_scale(value)

    def _computes_scale(self, value: ast.AST) -> bool:
        computed = [n for n in ast.walk(value) if isinstance(n, (ast.BinOp, ast.Call))]
        return any(set(self.parameters[1:]) & set(_list_own_names(n)) for n in computed)

    def _is_right_scale(self, value: ast.AST | None) -> bool:
        _, rank, alpha = self.parameters
        return (
            isinstance(value, ast.BinOp)
            and isinstance(value.op, ast.Div)
            and (name_of(value.left), name_of(value.right)) == (alpha, rank)
        )

    def _multiplies(self, attribute: str) -> bool:
        products = (p for s in self.computation for p in s.find_all(lambda n: isinstance(n, ast.BinOp)))
        return any(attribute in (name_of(p.node.left), name_of(p.node.right)) for p in products)  # type: ignore[attr-defined]

    @property
    def writes(self) -> Spot | None:
        """The statement of `forward`, `train` or `eval` that writes into a tensor of the layer."""
        switching = (s for name in ("train", "eval") for m in self._follow(name) for s in m.find_all(_is_statement))
        return next((s for s in (*self.computation, *switching) if _writes_in_place(s.node)), None)

    @property
    def only_evaluated(self) -> Spot | None:
        """The `return` under an `if self.training` that leaves A and B out."""
        tests = (s for s in self.computation if isinstance(s.node, ast.If) and s.find(_reads_mode))
        returns = (found for test in tests for found in test.find_all(_returns))
        return next((found for found in returns if self._is_base_alone(found.node)), None)

    def _is_base_alone(self, node: ast.AST) -> bool:
        """Return True for `return self.W(x)`, of whatever name."""
        kept = name_of(self.base.node.targets[0]) if self.base and isinstance(self.base.node, ast.Assign) else ""
        read = {name_of(n) for n in ast.walk(node) if isinstance(n, ast.Attribute) and root_of(n) == self.self_name}
        return bool(kept) and read == {kept}

    @property
    def uninitialised(self) -> Spot | None:
        """The statement that makes a matrix of A or B without values, which none gives it afterwards."""
        given = {name_of(n) for s in self.starts for n in ast.walk(s.node) if isinstance(n, ast.Attribute)}
        made = (s for s in self.matrices if s.find(calls("empty", "empty_like", "Tensor", "FloatTensor")))
        return next((s for s in made if isinstance(s.node, ast.Assign) and not _names(s.node.targets) & given), None)

    def compute_with(self, *names: str) -> Spot | None:
        """Return the first line of `forward` that calls or reads something of these names."""
        return next((spot for s in self.computation if (spot := s.find(lambda n: name_of(n) in names))), None)

    def list_attributes(self, maker: str) -> list[str]:
        """Return the names of what `__init__` makes by a call of this name."""
        made = (s.node for s in self.statements if isinstance(s.node, ast.Assign) and s.find(calls(maker)))
        return [name_of(target) for node in made for target in node.targets]

    def set_gradients(self, wanted: bool) -> Spot | None:
        """Return the line of `__init__` that sets `requires_grad` so: not of W alone, when it is to be frozen."""
        spots = [s for s in self.statements if not isinstance(s.node, COMPOUND)]
        spots = [s for s in spots if {wanted, None} & set(list_gradient_values(s.node)) and (wanted or s != self.base)]
        given = {self.parameters[0], *self._list_loops_over(self.parameters[0])}
        others = [s for s in spots if root_of(_get_target(s.node)) not in given]
        return next(iter([*others, *(spots if wanted else ())]), None)

    def _list_loops_over(self, name: str) -> list[str]:
        """Return the variables of loops over something of this one: `for p in W.parameters()`."""
        loops = [s.node for s in self.statements if isinstance(s.node, ast.For)]
        return [root_of(loop.target) for loop in loops if root_of(loop.iter) == name]

    @property
    def misnamed_forward(self) -> Spot:
        """The method that looks like a `forward` of another name, or the class."""
        body = self.definition.node.body  # type: ignore[attr-defined]
        methods = [n for n in body if isinstance(n, FUNCTIONS) and not n.name.startswith("__")]
        found = next((n for n in methods if len(n.args.args) == 2), None)
        return Spot(self.definition.cell, found) if found else self.definition


def _returns(node: ast.AST) -> bool:
    return isinstance(node, ast.Return) and node.value is not None


def _is_size(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value > 1


def _reads_mode(node: ast.AST) -> bool:
    return name_of(node) == "training"


def _names(expressions: Sequence[ast.expr]) -> set[str]:
    return {name_of(expression) for expression in expressions}


def _reads_size(node: ast.AST) -> bool:
    return name_of(node) in ("in_features", "out_features", "shape", "size")


def _is_statement(node: ast.AST) -> bool:
    return isinstance(node, ast.stmt) and not isinstance(node, FUNCTIONS)


def list_gradient_values(node: ast.AST) -> list[bool | None]:
    """Return what a statement sets `requires_grad` to, each time; None where the code does not show the value."""
    return [value for n in ast.walk(node) if (value := _read_gradient_value(n)) is not MISSING]


def _read_gradient_value(node: ast.AST) -> Any:
    if isinstance(node, ast.Assign) and any(name_of(target) == "requires_grad" for target in node.targets):
        return _read_truth(node.value)
    if calls("requires_grad_")(node):
        return _read_truth([*node.args, *(k.value for k in node.keywords), ast.Constant(True)][0])  # type: ignore[attr-defined]
    if calls("setattr")(node) and "requires_grad" in [getattr(a, "value", "") for a in node.args]:  # type: ignore[attr-defined]
        return _read_truth(node.args[-1])  # type: ignore[attr-defined]
    return MISSING


def _read_truth(value: ast.AST) -> bool | None:
    return bool(value.value) if isinstance(value, ast.Constant) else None


def _get_target(statement: ast.AST) -> ast.AST:
    """Return what a statement is about: what it assigns to, or the call that it is."""
    if isinstance(statement, ast.Assign):
        return statement.targets[0]
    return getattr(statement, "value", statement) or statement


def _has_no_bias(call: ast.AST) -> bool:
    """Return True if a call of `nn.Linear` says `bias=False`."""
    assert isinstance(call, ast.Call)
    given = {k.arg: k.value for k in call.keywords}
    bias = given.get("bias", call.args[2] if len(call.args) > 2 else None)
    return isinstance(bias, ast.Constant) and bias.value is False


def _makes_matrix(value: ast.AST) -> bool:
    """Return True if a value has the sides of a matrix, or is made by what makes one."""
    made = (n for n in ast.walk(value) if name_of(getattr(n, "func", None)) != "tensor")
    return any(calls(*MATRIX_MAKERS)(n) or name_of(n) in ("in_features", "out_features") for n in made)


def _list_own_names(value: ast.AST) -> list[str]:
    return [name_of(n) for n in ast.walk(value) if isinstance(n, (ast.Name, ast.Attribute))]


def _sets_zeros(node: ast.AST) -> bool:
    if calls("fill_", "constant_", "full")(node):
        return any(isinstance(a, ast.Constant) and a.value == 0 for a in node.args)  # type: ignore[attr-defined]
    return calls("zeros", "zeros_", "zero_", "zeros_like", "new_zeros")(node)


def _sets_values(node: ast.AST) -> bool:
    """Return True for a call such as `nn.init.zeros_(self.B)` or `self.B.weight.data.fill_(1)`."""
    if not isinstance(node, ast.Call):
        return False
    name = name_of(node.func)
    return name.endswith("_") and not name.startswith("__") and name != "requires_grad_"


def _writes_in_place(node: ast.AST) -> bool:
    """Return True for `self.W.weight.data += …`, `self.W.weight.data = …` and `self.W.weight.copy_(…)`."""
    if isinstance(node, (ast.AugAssign, ast.Assign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return any(root_of(t) == "self" and not isinstance(t, ast.Name) for t in targets)
    if not (isinstance(node, ast.Expr) and _sets_values(node.value)):
        return False
    return "self" in (root_of(node.value), *map(root_of, node.value.args[:1]))  # type: ignore[attr-defined]
