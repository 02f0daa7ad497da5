"""Right ways to hold one factor of a LoRA update, to start it, and to apply it to x.

A factor maps x (…, in) to (…, out). As a matrix it is held as rows (out, in), as `nn.Linear` holds its weight, or as
columns (in, out).
"""

from dataclasses import dataclass, replace
from typing import Final

from tests.proof.generated.dice import Dice


@dataclass(frozen=True)
class Factor:
    """A or B, as an expression."""

    matrix: str
    rows: bool  # (out, in) rather than (in, out)
    call: str = ""  # what to call with x, where a module holds it

    def lay(self, dice: Dice, rows: bool) -> str:
        """The matrix in this orientation."""
        return self.matrix if rows == self.rows else transpose(dice, self.matrix)


@dataclass(frozen=True)
class Shape:
    """Sizes of a factor, as expressions."""

    inputs: str
    outputs: str

    def lay(self, rows: bool) -> str:
        """As the arguments of `torch.empty`."""
        return f"{self.outputs}, {self.inputs}" if rows else f"{self.inputs}, {self.outputs}"


TRANSPOSES: Final = ("{}.T", "{}.t()", "{}.transpose(0, 1)", "{}.mT", "{}.permute(1, 0)", "torch.transpose({}, 0, 1)")


def transpose(dice: Dice, matrix: str) -> str:
    """The transposed matrix."""
    return dice.vary(TRANSPOSES).format(protect(matrix))


def protect(expression: str) -> str:
    """The expression, in brackets where a method could not follow it."""
    return expression if expression.replace(".", "").replace("_", "").isalnum() else f"({expression})"


# Values to start with: `s` is the shape, `d` further arguments for device and precision, `r` the rank.
RANDOM_VALUES: Final = {
    "randn, small": "torch.randn({s}{d}) * 0.02",
    "randn": "torch.randn({s}{d})",
    "randn over rank": "torch.randn({s}{d}) / {r}",
    "randn over its root": "torch.randn({s}{d}) / {r} ** 0.5",
    "randn, tiny": "torch.randn({s}{d}).mul(1e-4)",
    "rand": "0.1 * torch.rand({s}{d}) - 0.05",
    "normal": "torch.normal(0.0, 0.02, size=({s}))",
    "empty, normal_": "torch.empty({s}{d}).normal_(std=0.02)",
    "empty, uniform_": "torch.empty({s}{d}).uniform_(-0.1, 0.1)",
    "empty, xavier": "nn.init.xavier_uniform_(torch.empty({s}{d}))",
    "empty, kaiming": "nn.init.kaiming_uniform_(torch.empty({s}{d}), a=5**0.5)",
    "empty, trunc_normal_": "nn.init.trunc_normal_(torch.empty({s}{d}), std=0.02)",
    "new_empty": "{w}.weight.new_empty({s}).normal_(0, 0.01)",
}
ZERO_VALUES: Final = {
    "zeros": "torch.zeros({s}{d})",
    "full": "torch.full(({s}), 0.0{d})",
    "new_zeros": "{w}.weight.new_zeros({s})",
    "empty, zero_": "torch.empty({s}{d}).zero_()",
    "randn times 0": "torch.randn({s}{d}) * 0",
    "empty, zeros_": "nn.init.zeros_(torch.empty({s}{d}))",
    "zeros_like": "torch.zeros_like(torch.empty({s}{d}))",
}
# Statements that start a matrix after it has been made.
RANDOM_STATEMENTS: Final = {
    "kaiming_uniform_": "nn.init.kaiming_uniform_({m}, a=math.sqrt(5))",
    "kaiming_normal_": "nn.init.kaiming_normal_({m})",
    "xavier_uniform_": "nn.init.xavier_uniform_({m})",
    "xavier_normal_": "nn.init.xavier_normal_({m})",
    "normal_": "nn.init.normal_({m}, mean=0.0, std=0.02)",
    "normal_, deviation 1": "torch.nn.init.normal_({m})",
    "uniform_": "nn.init.uniform_({m}, -0.05, 0.05)",
    "trunc_normal_": "nn.init.trunc_normal_({m}, std=0.01)",
    "orthogonal_": "nn.init.orthogonal_({m})",
    "data": "{m}.data.normal_(0.0, 0.1)",
    "no_grad": "with torch.no_grad():\n    {m}.normal_()",
}
ZERO_STATEMENTS: Final = {
    "zeros_": "nn.init.zeros_({m})",
    "constant_": "nn.init.constant_({m}, 0.0)",
    "data.zero_": "{m}.data.zero_()",
    "data.fill_": "{m}.data.fill_(0)",
    "no_grad": "with torch.no_grad():\n    {m}.zero_()",
    "new data": "{m}.data = torch.zeros_like({m})",
    "copy_": "with torch.no_grad():\n    {m}.copy_(torch.zeros({m}.shape))",
}


@dataclass(frozen=True)
class Start:
    """How a factor begins."""

    zero: bool
    linear: str  # name of W, to be like it
    rank: str  # name of the rank
    placed: bool  # on the device and in the precision of W

    @property
    def name(self) -> str:
        """For the page."""
        return "zero" if self.zero else "random"

    @property
    def placement(self) -> str:
        """Further arguments of `torch.empty` or `nn.Linear`."""
        return f", device={self.linear}.weight.device, dtype={self.linear}.weight.dtype" if self.placed else ""


def write_value(dice: Dice, shape: str, start: Start) -> str:
    """An expression for the first value of a factor."""
    options = ZERO_VALUES if start.zero else RANDOM_VALUES
    value = dice.choose(f"layer: {start.name} factor", options)
    return value.format(s=shape, d=start.placement, r=start.rank, w=start.linear)


def write_start(dice: Dice, matrix: str, start: Start) -> str:
    """A statement that gives a factor its first value."""
    options = ZERO_STATEMENTS if start.zero else RANDOM_STATEMENTS
    return dice.choose(f"layer: {start.name} factor", options).format(m=matrix)


PARAMETERS: Final = {
    "parameter": "{a} = nn.Parameter({v})",
    "Parameter, trainable": "{a} = torch.nn.Parameter({v}, requires_grad=True)",
    "Parameter of data": "{a} = nn.Parameter(data={v})",
}


def hold_parameter(dice: Dice, attribute: str, shape: Shape, start: Start) -> tuple[list[str], Factor]:
    """The factor as an `nn.Parameter`, either way round."""
    rows = dice.happens(0.5)
    factor = Factor(f"self.{attribute}", rows)
    text = dice.vary(tuple(PARAMETERS.values()))
    if dice.happens(0.5):
        return [text.format(a=factor.matrix, v=write_value(dice, shape.lay(rows), start))], factor
    empty = text.format(a=factor.matrix, v=f"torch.empty({shape.lay(rows)}{start.placement})")
    return [empty, write_start(dice, factor.matrix, start)], factor


def hold_registered(dice: Dice, attribute: str, shape: Shape, start: Start) -> tuple[list[str], Factor]:
    """The factor as a parameter that is registered by its name."""
    lines, factor = hold_parameter(dice, attribute, shape, start)
    _, _, value = lines[0].partition(" = ")
    return [f'self.register_parameter("{attribute}", {value})', *lines[1:]], factor


def hold_linear(dice: Dice, attribute: str, shape: Shape, start: Start) -> tuple[list[str], Factor]:
    """The factor as an `nn.Linear` without a bias."""
    factor = Factor(f"self.{attribute}.weight", True, f"self.{attribute}")
    bias = dice.vary(("bias=False", "bias=False", "False"))
    placement = start.placement if bias == "bias=False" else ""
    made = f"self.{attribute} = nn.Linear({shape.inputs}, {shape.outputs}, {bias}{placement})"
    if start.placed and dice.happens(0.3):
        made = f"self.{attribute} = nn.Linear({shape.inputs}, {shape.outputs}, {bias}).to({start.linear}.weight.device)"
    if not start.zero and dice.happens(0.3):
        dice.choices["layer: random factor"] = "as nn.Linear starts"
        return [made], factor
    return [made, write_start(dice, factor.matrix, start)], factor


HOLDERS: Final = {"nn.Linear": hold_linear, "nn.Parameter": hold_parameter, "register_parameter": hold_registered}

# The factor applied to x: `c` its columns (in, out), `r` its rows (out, in), `m` either, as it is held.
PRODUCTS: Final = {
    "@": "{x} @ {c}",
    "matmul": "torch.matmul({x}, {c})",
    ".matmul": "{px}.matmul({c})",
    "F.linear": "nn.functional.linear({x}, {r})",
    "inner": "torch.inner({x}, {r})",
    "einsum": 'torch.einsum("...i,{e}->...o", {x}, {m})',
    "tensordot": "torch.tensordot({x}, {m}, dims=([-1], [{axis}]))",
    "unsqueezed @": "({px}.unsqueeze(-2) @ {c}).squeeze(-2)",
    "@ from the left": "({r} @ {px}.unsqueeze(-1)).squeeze(-1)",
    "broadcast": "({px}.unsqueeze(-1) * {c}).sum(dim=-2)",
    "mm": "torch.mm({px}.reshape(-1, {px}.shape[-1]), {c}).reshape(*{px}.shape[:-1], -1)",
}


def apply(dice: Dice, factor: Factor, x: str, dimension: str) -> str:
    """The factor times x, as an expression."""
    way = dice.choose(f"layer: {dimension}", [*PRODUCTS, *["call"] * 6] if factor.call else list(PRODUCTS))
    if way == "call":
        return f"{factor.call}({x})"
    return PRODUCTS[way].format(
        x=protect(x),
        px=protect(x),
        c=protect(factor.lay(dice, rows=False)),
        r=protect(factor.lay(dice, rows=True)),
        m=factor.matrix,
        e="oi" if factor.rows else "io",
        axis=1 if factor.rows else 0,
    )


def multiply(dice: Dice, a: Factor, b: Factor) -> Factor:
    """The product B A as one factor."""
    if dice.happens(0.5):
        return Factor(f"({protect(b.lay(dice, True))} @ {protect(a.lay(dice, True))})", True)
    if dice.happens(0.5):
        return Factor(f"torch.matmul({a.lay(dice, False)}, {b.lay(dice, False)})", False)
    subscripts = f"{'ri' if a.rows else 'ir'},{'or' if b.rows else 'ro'}->oi"
    return Factor(f'torch.einsum("{subscripts}", {a.matrix}, {b.matrix})', True)


def scale(factor: Factor, by: str) -> Factor:
    """The factor times a number."""
    return replace(factor, matrix=f"({by} * {factor.matrix})", call="")
