"""The ways to build a `LoRALayer`: where A and B live, and what becomes of W."""

from collections.abc import Callable, Mapping
from typing import Final

from tests.proof.generated import factors
from tests.proof.generated.dice import Dice
from tests.proof.generated.layer import (
    SUMS,
    Layer,
    Sketch,
    define_helper,
    draw_names,
    finish,
    hold_in_dict,
    hold_in_modules,
    hold_separately,
    keep_linear,
    keep_scale,
    write_forward,
    write_update,
    write_update_alone,
)
from tests.proof.generated.text import lay_out


def write_layer(dice: Dice) -> Layer:
    """A right `LoRALayer`."""
    sketch = Sketch(dice, draw_names(dice))
    structure = dice.choose("layer: structure", STRUCTURES)
    return structure(sketch)


def write_plain(sketch: Sketch) -> Layer:
    """A and B in the layer itself."""
    output, weight, bias, layer = keep_linear(sketch)
    hold = sketch.dice.choose(
        "layer: A and B",
        {
            "attributes": hold_separately,
            "parameters in a container": hold_in_dict,
            "modules in a container": hold_in_modules,
        },
    )
    a, b = hold(sketch)
    by = keep_scale(sketch)
    return finish(sketch, write_forward(sketch, a, b, by, (output, weight, bias)), layer)


def write_helper(sketch: Sketch) -> Layer:
    """A and B in a module of their own."""
    dice, names = sketch.dice, sketch.names
    output, _, _, layer = keep_linear(sketch)
    inner = Sketch(dice, names)
    a, b = dice.choose("layer: A and B", {"attributes": hold_separately, "in a container": hold_in_dict})(inner)
    scaled_inside = dice.choose("layer: helper scales", {"yes": True, "no": False})
    by = keep_scale(inner) if scaled_inside else keep_scale(sketch)
    lines = write_update(inner, a, b, by) if scaled_inside else write_update_alone(inner, a, b)
    sketch.before.append(define_helper(inner, "LowRank", "forward", names.x, [*lines, "return update"]))
    sketch.init.append(f"self.adapter = LowRank({names.W}, {names.rank}, {names.alpha})")
    called = f"self.adapter({names.x})"
    update = called if scaled_inside else f"({by}) * {called}"
    total = [line.format(base=output) for line in dice.choose("layer: sum", SUMS)]
    return finish(sketch, [f"update = {update}", *total], layer)


def write_inherited(sketch: Sketch) -> Layer:
    """A and B in a class that the layer is derived from."""
    dice, names = sketch.dice, sketch.names
    inner = Sketch(dice, names)
    a, b = hold_separately(inner)
    by = keep_scale(inner)
    lines = [*write_update(inner, a, b, by), "return update"]
    sketch.before.append(define_helper(inner, "Adapter", "update", names.x, lines))
    sketch.parents = "Adapter"
    output, _, _, layer = keep_linear(sketch)
    total = [line.format(base=output) for line in dice.choose("layer: sum", SUMS)]
    return finish(sketch, [f"update = self.update({names.x})", *total], layer)


def write_subclass(sketch: Sketch) -> Layer:
    """A class derived from `nn.Linear`, with W's own tensors."""
    names = sketch.names
    sketch.parents = "nn.Linear"
    sketch.init += [f"self.weight = {names.W}.weight", f"self.bias = {names.W}.bias"]
    a, b = hold_separately(sketch)
    lines = write_update(sketch, a, b, keep_scale(sketch))
    base = sketch.dice.vary((f"super().forward({names.x})", f"nn.functional.linear({names.x}, self.weight, self.bias)"))
    return finish(sketch, [*lines, f"return {base} + update"], Layer("", freezes=False, copies=False))


def write_parametrized(sketch: Sketch) -> Layer:
    """The update as a parametrization of W's weight."""
    names = sketch.names
    inner = Sketch(sketch.dice, names)
    a, b = hold_separately(inner)
    delta = factors.scale(factors.multiply(sketch.dice, a, b), keep_scale(inner)).lay(sketch.dice, rows=True)
    sketch.before.append(define_helper(inner, "Shifted", "forward", "frozen", [f"return frozen + {delta}"]))
    sketch.init += [
        f"{names.W}.requires_grad_(False)",
        f"shift = Shifted({names.W}, {names.rank}, {names.alpha})",
        f'nn.utils.parametrize.register_parametrization({names.W}, "weight", shift)',
        f"self.{names.base} = {names.W}",
    ]
    return finish(sketch, [f"return self.{names.base}({names.x})"], Layer("", freezes=True, copies=False))


def write_vectors(sketch: Sketch) -> Layer:
    """The update as a sum of outer products, a pair of vectors for each rank."""
    dice, names = sketch.dice, sketch.names
    output, _, _, layer = keep_linear(sketch)
    by = keep_scale(sketch)
    sketch.init += [
        f"ins = [torch.randn({names.W}.in_features) * 0.1 for _ in range({names.rank})]",
        f"outs = [torch.zeros({names.W}.out_features) for _ in range({names.rank})]",
        "self.ins = nn.ParameterList([nn.Parameter(vector) for vector in ins])",
        "self.outs = nn.ParameterList([nn.Parameter(vector) for vector in outs])",
    ]
    each = dice.vary((f"({names.x} @ a).unsqueeze(-1) * b", f"({names.x} * a).sum(-1, keepdim=True) * b"))
    lines = [f"update = sum({each} for a, b in zip(self.ins, self.outs)) * ({by})"]
    return finish(sketch, [*lines, f"return {output} + update"], layer)


def write_packed(sketch: Sketch) -> Layer:
    """A and B side by side in one parameter."""
    names = sketch.names
    output, _, _, layer = keep_linear(sketch)
    by = keep_scale(sketch)
    sketch.init += [
        f"d_in, d_out = {names.W}.in_features, {names.W}.out_features",
        f"a, b = torch.randn({names.rank}, d_in) * 0.02, torch.zeros({names.rank}, d_out)",
        "self.ab = nn.Parameter(torch.cat([a, b], dim=1))",
        "self.d_in = d_in",
    ]
    lines = [
        "a, b = self.ab[:, : self.d_in], self.ab[:, self.d_in :]",
        f"return {output} + ({by}) * ({names.x} @ a.T @ b)",
    ]
    return finish(sketch, lines, layer)


def write_merging(sketch: Sketch) -> Layer:
    """As in loralib: evaluation adds the update to W's weight, and training takes it away again."""
    names = sketch.names
    sketch.init += [f"self.{names.base} = {names.W}", "self.merged = False"]
    a, b = hold_separately(sketch)
    by = keep_scale(sketch)
    delta = factors.scale(factors.multiply(sketch.dice, a, b), by).lay(sketch.dice, rows=True)
    lines = [
        "super().train(mode)",
        "if mode == self.merged:",
        "    sign = -1 if mode else 1",
        f"    self.{names.base}.weight.data += sign * ({delta}).data",
        "    self.merged = not mode",
        "return self",
    ]
    sketch.methods.append(f"def train(self, mode=True):\n{lay_out(chr(10).join(lines), 1)}")
    forward = [f"if self.merged:\n    return self.{names.base}({names.x})"]
    forward += [*write_update(sketch, a, b, by), f"return self.{names.base}({names.x}) + update"]
    return finish(sketch, forward, Layer("", freezes=False, copies=False))


STRUCTURES: Final[Mapping[str, Callable[[Sketch], Layer]]] = {
    "one class": write_plain,
    "one class, often": write_plain,
    "one class, mostly": write_plain,
    "helper module": write_helper,
    "parent class": write_inherited,
    "subclass of nn.Linear": write_subclass,
    "parametrization": write_parametrized,
    "pairs of vectors": write_vectors,
    "one parameter": write_packed,
    "merges in eval()": write_merging,
}
