"""Right ways to write `LoRALayer`."""

from dataclasses import dataclass, field
from typing import Final

from tests.proof.generated import factors
from tests.proof.generated.dice import Dice
from tests.proof.generated.factors import Factor, Shape, Start
from tests.proof.generated.text import lay_out


@dataclass(frozen=True)
class Layer:
    """A class that was written, and what the code around it has to know."""

    source: str
    freezes: bool  # W, in `__init__`
    copies: bool  # W: the pretrained tensors are not those of the model any more


@dataclass(frozen=True)
class Names:
    """Names of parameters and attributes."""

    W: str
    rank: str
    alpha: str
    a: str
    b: str
    base: str  # the attribute that holds W
    x: str
    scale: str


@dataclass
class Sketch:
    """A class while it is being written."""

    dice: Dice
    names: Names
    init: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)  # other definitions
    parents: str = "nn.Module"


def draw_names(dice: Dice) -> Names:
    """Names as students choose them."""
    rank, alpha = dice.choose(
        "layer: rank and alpha",
        {
            "rank, alpha": ("rank", "alpha"),
            "r, alpha": ("r", "alpha"),
            "r, lora_alpha": ("r", "lora_alpha"),
            "lora_rank, lora_alpha": ("lora_rank", "lora_alpha"),
            "k, weight: by position": ("k", "weight"),
        },
    )
    a, b = dice.random.choice([("A", "B"), ("lora_A", "lora_B"), ("down", "up"), ("a", "b"), ("first", "second")])
    return Names(
        W=dice.vary(("W", "pretrained", "linear", "base_layer", "original", "layer")),
        rank=rank,
        alpha=alpha,
        a=a,
        b=b,
        base=dice.vary(("W", "pretrained", "base", "linear", "frozen", "wrapped")),
        x=dice.vary(("x", "x", "inputs", "hidden_states", "input", "X")),
        scale=dice.vary(("scale", "scaling", "factor", "s", "multiplier")),
    )


# W as it is kept: statements of `__init__`, the expressions of its weight and bias, what to call, is it a copy?
KEPT: Final = {
    "module": (["self.{base} = {W}"], "self.{base}.weight", "self.{base}.bias", "self.{base}", False),
    "deep copy": (["self.{base} = copy.deepcopy({W})"], "self.{base}.weight", "self.{base}.bias", "self.{base}", True),
    "tensors": (
        ["self.weight = {W}.weight", "self.bias = {W}.bias"],
        *("self.weight", "self.bias", "", False),
    ),
    "buffers": (
        [
            'self.register_buffer("weight", {W}.weight.detach().clone())',
            'self.register_buffer("bias", None if {W}.bias is None else {W}.bias.detach().clone())',
        ],
        *("self.weight", "self.bias", "", True),
    ),
    "module list": (
        ["self.{base} = nn.ModuleList([{W}])"],
        "self.{base}[0].weight",
        "self.{base}[0].bias",
        "self.{base}[0]",
        False,
    ),
}
FREEZES: Final = {
    "outside": [],
    "requires_grad_": ["{W}.requires_grad_(False)"],
    "loop": ["for p in {W}.parameters():", "    p.requires_grad = False"],
    "loop with requires_grad_": ["for _, p in {W}.named_parameters():", "    p.requires_grad_(False)"],
    "each": [
        "{W}.weight.requires_grad = False",
        "if {W}.bias is not None:",
        "    {W}.bias.requires_grad = False",
    ],
}
OUTPUTS: Final = {
    "called": "{call}({x})",
    "forward": "{call}.forward({x})",
    "F.linear": "nn.functional.linear({x}, {weight}, {bias})",
    "matmul and bias": "{x} @ {weight}.T + (0 if {bias} is None else {bias})",
    "matmul, bias if": "({x} @ {weight}.t() if {bias} is None else {x} @ {weight}.t() + {bias})",
}
SCALES: Final = {
    "attribute": (["self.{s} = {alpha} / {rank}"], "self.{s}"),
    "attribute of a float": (["self.{s} = float({alpha}) / float({rank})"], "self.{s}"),
    "inverse rank": (["self.{s} = {alpha} * (1.0 / {rank})"], "self.{s}"),
    "in forward": (["self.rank, self.alpha = {rank}, {alpha}"], "(self.alpha / self.rank)"),
    "alpha and rank": (["self.alpha = {alpha}", "self.rank = {rank}"], "self.alpha / self.rank"),
    "buffer": (['self.register_buffer("{s}", torch.tensor({alpha} / {rank}))'], "self.{s}"),
    "buffer, not saved": (
        ['self.register_buffer("{s}", torch.tensor({alpha} / {rank}), persistent=False)'],
        "self.{s}",
    ),
    "frozen parameter": (
        ["self.{s} = nn.Parameter(torch.tensor({alpha} / {rank}), requires_grad=False)"],
        "self.{s}",
    ),
    "dictionary": (
        ['self.settings = {{"rank": {rank}, "alpha": {alpha}}}'],
        'self.settings["alpha"] / self.settings["rank"]',
    ),
    "number": (["self.{s} = ({alpha} / {rank})"], "float(self.{s})"),
}


def keep_linear(sketch: Sketch) -> tuple[str, str, str, Layer]:
    """Keep W. Returns the expressions of W(x), of its weight and of its bias, and a layer without a source yet."""
    dice, names = sketch.dice, sketch.names.__dict__
    lines, weight, bias, call, copies = dice.choose("layer: W kept as", KEPT)
    freezes = dice.choose("layer: W frozen", FREEZES)
    sketch.init += [line.format(**names) for line in (*freezes, *lines)]
    weight, bias, call = (text.format(**names) for text in (weight, bias, call))
    ways = [way for way in OUTPUTS if call or "call" not in OUTPUTS[way]]
    output = OUTPUTS[dice.choose("layer: W(x)", ways)].format(call=call, weight=weight, bias=bias, **names)
    return output, weight, bias, Layer("", bool(freezes), copies)


def keep_scale(sketch: Sketch) -> str:
    """Keep alpha / rank. Returns its expression."""
    names = sketch.names
    if sketch.dice.happens(0.1):
        sketch.dice.choices["layer: scale"] = "property"
        sketch.init += [f"self.rank = {names.rank}", f"self.alpha = {names.alpha}"]
        sketch.methods.append(f"@property\ndef {names.scale}(self):\n    return self.alpha / self.rank")
        return f"self.{names.scale}"
    lines, text = sketch.dice.choose("layer: scale", SCALES)
    known = {"s": names.scale, "alpha": names.alpha, "rank": names.rank}
    sketch.init += [line.format(**known) for line in lines]
    return text.format(**known)


def draw_starts(sketch: Sketch) -> tuple[Start, Start]:
    """One factor begins at zero, the other at random."""
    b_is_zero = sketch.dice.choose("layer: zero at first", {"B": True, "B, again": True, "A": False})
    placed = sketch.dice.choose("layer: placed like W", {"yes": True, "no": False})
    known = {"linear": sketch.names.W, "rank": sketch.names.rank, "placed": placed}
    return Start(zero=not b_is_zero, **known), Start(zero=b_is_zero, **known)  # type: ignore[arg-type]


def list_shapes(names: Names, dice: Dice) -> tuple[Shape, Shape]:
    """Of A and B, in one of the ways to ask W for its sizes."""
    inputs, outputs = dice.random.choice(
        [
            (f"{names.W}.in_features", f"{names.W}.out_features"),
            (f"{names.W}.weight.shape[1]", f"{names.W}.weight.shape[0]"),
            (f"{names.W}.weight.size(1)", f"{names.W}.weight.size(0)"),
        ]
    )
    return Shape(inputs, names.rank), Shape(names.rank, outputs)


def hold_separately(sketch: Sketch) -> tuple[Factor, Factor]:
    """A and B as attributes of their own, each in its own way."""
    dice, names = sketch.dice, sketch.names
    made = []
    for which, attribute, shape, start in zip(
        "AB", (names.a, names.b), list_shapes(names, dice), draw_starts(sketch), strict=True
    ):
        hold = dice.choose(f"layer: {which} held as", factors.HOLDERS)
        made.append(hold(dice, attribute, shape, start))
    order = made if dice.choose("layer: made first", {"A": True, "B": False}) else made[::-1]
    sketch.init += [line for lines, _ in order for line in lines]
    return made[0][1], made[1][1]


def hold_in_dict(sketch: Sketch) -> tuple[Factor, Factor]:
    """A and B in a container of parameters."""
    dice, names = sketch.dice, sketch.names
    a_rows, b_rows = dice.happens(0.5), dice.happens(0.5)
    a_shape, b_shape = list_shapes(names, dice)
    a_start, b_start = draw_starts(sketch)
    a = factors.write_value(dice, a_shape.lay(a_rows), a_start)
    b = factors.write_value(dice, b_shape.lay(b_rows), b_start)
    kind = dice.choose("layer: container", ("ParameterDict", "ParameterDict, item by item", "ParameterList"))
    if kind == "ParameterList":
        sketch.init.append(f"self.lora = nn.ParameterList([nn.Parameter({a}), nn.Parameter({b})])")
        return Factor("self.lora[0]", a_rows), Factor("self.lora[1]", b_rows)
    if kind == "ParameterDict":
        sketch.init.append(f'self.lora = nn.ParameterDict({{"A": nn.Parameter({a}), "B": nn.Parameter({b})}})')
    else:
        sketch.init += [
            "self.lora = nn.ParameterDict()",
            f'self.lora["A"] = nn.Parameter({a})',
            f'self.lora["B"] = nn.Parameter({b})',
        ]
    return Factor('self.lora["A"]', a_rows), Factor('self.lora["B"]', b_rows)


def hold_in_modules(sketch: Sketch) -> tuple[Factor, Factor]:
    """A and B as linear layers in a container of modules."""
    dice, names = sketch.dice, sketch.names
    (a, b), starts = list_shapes(names, dice), draw_starts(sketch)
    first, second = (f"nn.Linear({s.inputs}, {s.outputs}, bias=False)" for s in (a, b))
    kind = dice.choose("layer: container", ("Sequential", "ModuleList", "ModuleDict"))
    if kind == "ModuleDict":
        sketch.init.append(f'self.lora = nn.ModuleDict({{"A": {first}, "B": {second}}})')
        places = ('self.lora["A"]', 'self.lora["B"]')
    else:
        inside = f"{first}, {second}" if kind == "Sequential" else f"[{first}, {second}]"
        sketch.init.append(f"self.lora = nn.{kind}({inside})")
        places = ("self.lora[0]", "self.lora[1]")
    sketch.init += [factors.write_start(dice, f"{p}.weight", s) for p, s in zip(places, starts, strict=True) if s.zero]
    return Factor(f"{places[0]}.weight", True, places[0]), Factor(f"{places[1]}.weight", True, places[1])


def write_update(sketch: Sketch, a: Factor, b: Factor, by: str) -> list[str]:
    """Statements that compute (alpha / rank) B A x into `update`."""
    dice, x = sketch.dice, sketch.names.x
    place = dice.choose(
        "layer: scaled", ("update", "update, from the right", "mul", "x", "hidden", "A", "B", "product", "divided")
    )
    if place in ("A", "product"):
        a = factors.scale(a, by)
    if place == "B":
        b = factors.scale(b, by)
    if place == "x":
        x = f"({by} * {x})"
    if place != "hidden" and dice.choose("layer: product", {"B(A x)": False, "(B A) x": True}):
        found = factors.apply(dice, factors.multiply(dice, a, b), x, "update by")
        return [f"update = {_scale_update(place, found, by)}"]
    hidden = factors.apply(dice, a, x, "A by")
    lines = [f"h = {hidden} * ({by})" if place == "hidden" else f"h = {hidden}"]
    return [*lines, f"update = {_scale_update(place, factors.apply(dice, b, 'h', 'B by'), by)}"]


def _scale_update(place: str, update: str, by: str) -> str:
    ways = {
        "update": f"{by} * ({update})",
        "update, from the right": f"({update}) * ({by})",
        "mul": f"({update}).mul({by})",
        "divided": f"({update}) / (1 / ({by}))",
    }
    return ways.get(place, update)


SUMS: Final = {
    "base + update": ["return {base} + update"],
    "update + base": ["return update + {base}"],
    "add": ["return torch.add({base}, update)"],
    "in place": ["y = {base}", "y += update", "return y"],
    "two names": ["y = {base}", "y = y + update", "return y"],
    "stack": ["return torch.stack([{base}, update]).sum(dim=0)"],
    "sum": ["return sum([{base}, update])"],
    "result": ["result = {base}", "result = update.add(result)", "return result"],
}


def write_update_alone(sketch: Sketch, a: Factor, b: Factor) -> list[str]:
    """Statements that compute B A x into `update`."""
    hidden = factors.apply(sketch.dice, a, sketch.names.x, "A by")
    return [f"h = {hidden}", f"update = {factors.apply(sketch.dice, b, 'h', 'B by')}"]


def write_forward(sketch: Sketch, a: Factor, b: Factor, by: str, base: tuple[str, str, str]) -> list[str]:
    """Statements of `forward`. `base`: W(x), W's weight, W's bias."""
    dice, x = sketch.dice, sketch.names.x
    output, weight, bias = base
    how = dice.choose("layer: forward", ("sum", "sum", "sum", "sum", "merged weight", "method", "dropout", "flattened"))
    if how == "merged weight":
        delta = factors.scale(factors.multiply(dice, a, b), by).lay(dice, rows=True)
        return [f"return nn.functional.linear({x}, {weight} + {delta}, {bias})"]
    total = [line.format(base=output) for line in dice.choose("layer: sum", SUMS)]
    if how == "method":
        body = lay_out("\n".join([*write_update(sketch, a, b, by), "return update"]), 1)
        sketch.methods.append(f"def compute_update(self, {x}):\n{body}")
        return [f"update = self.compute_update({x})", *total]
    if how == "dropout":
        sketch.init.append(f"self.dropout = nn.Dropout({dice.vary(('0.1', '0.05', 'p=0.2'))})")
        return [f"kept = {output}", f"{x} = self.dropout({x})", *write_update(sketch, a, b, by), "return kept + update"]
    if how == "flattened":
        lines = write_update(sketch, a, b, by)
        return [
            f"shape = {x}.shape",
            f"{x} = {x}.reshape(-1, shape[-1])",
            *lines,
            f"flat = {output} + update",
            "return flat.reshape(*shape[:-1], flat.shape[-1])",
        ]
    return [*write_update(sketch, a, b, by), *total]


def define_helper(sketch: Sketch, name: str, method: str, argument: str, lines: list[str]) -> str:
    """A module that is made of W, rank and alpha, with one method of its own."""
    names = sketch.names
    methods = [
        f"def __init__(self, {names.W}, {names.rank}, {names.alpha}):\n"
        + lay_out("\n".join(["super().__init__()", *sketch.init]), 1),
        *sketch.methods,
        f"def {method}(self, {argument}):\n{lay_out(chr(10).join(lines), 1)}",
    ]
    return f"class {name}(nn.Module):\n{lay_out((chr(10) * 2).join(methods), 1)}"


def finish(sketch: Sketch, forward: list[str], layer: Layer) -> Layer:
    """The class, with everything that was sketched."""
    dice, names = sketch.dice, sketch.names
    more = dice.choose(
        "layer: more parameters",
        {
            "none": "",
            "none at all": "",
            "dropout": ", dropout=0.0",
            "device": ", device=None",
            "**kwargs": ", **kwargs",
        },
    )
    hints = dice.choose("layer: type hints", {"yes": (": nn.Linear", ": int", ": float"), "no": ("", "", "")})
    defaults = dice.vary(("12,24", "12,24", "8,16", "4,8"))
    rank, alpha = defaults.split(",")
    if sketch.parents == "Adapter":
        begin = f"super().__init__({names.W}, {names.rank}, {names.alpha})"
    elif sketch.parents == "nn.Linear":
        begin = f"super().__init__({names.W}.in_features, {names.W}.out_features, bias={names.W}.bias is not None)"
    else:
        begin = dice.vary(("super().__init__()", "super(LoRALayer, self).__init__()", "nn.Module.__init__(self)"))
    header = f"self, {names.W}{hints[0]}, {names.rank}{hints[1]} = {rank}, {names.alpha}{hints[2]} = {alpha}{more}"
    methods = [
        f"def __init__({header}):\n{lay_out(chr(10).join([begin, *sketch.init]), 1)}",
        *sketch.methods,
        f"def forward(self, {names.x}):\n{lay_out(chr(10).join(forward), 1)}",
    ]
    body = "\n\n".join(lay_out(method, 1) for method in methods)
    source = "\n\n\n".join([*sketch.before, f"class LoRALayer({sketch.parents}):\n{body}"])
    return Layer(
        f"import copy\nimport math\n\nimport torch.nn.utils.parametrize\n\n\n{source}", layer.freezes, layer.copies
    )
