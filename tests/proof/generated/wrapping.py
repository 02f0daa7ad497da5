"""Right ways to wrap the query and value layers for step 3, with everything frozen that has to be."""

from typing import Final

from tests.proof.generated.dice import Dice
from tests.proof.generated.freezing import Freezing
from tests.proof.generated.layer import Layer
from tests.proof.generated.text import lay_out

WRAPS: Final = {
    "comprehension": [
        "adapters = {{{n}: LoRALayer({l}, RANK, ALPHA) for {n}, {l} in extract_qv_layers(lora_model).items()}}",
        "replace_layers(lora_model, adapters)",
    ],
    "loop": [
        "adapters = {{}}",
        "for {n}, {l} in extract_qv_layers(lora_model).items():",
        "    adapters[{n}] = LoRALayer({l}, RANK, ALPHA)",
        "replace_layers(lora_model, adapters)",
    ],
    "one after the other": [
        "for {n}, {l} in extract_qv_layers(lora_model).items():",
        "    replace_layers(lora_model, {{{n}: LoRALayer({l}, RANK, ALPHA)}})",
    ],
    "the first dictionary": [
        "for {n}, {l} in qv_layers.items():",
        "    qv_layers[{n}] = LoRALayer({l}, RANK, ALPHA)",
        "replace_layers(lora_model, qv_layers)",
    ],
    "zip": [
        "found = extract_qv_layers(lora_model)",
        "made = [LoRALayer({l}, RANK, ALPHA) for {l} in found.values()]",
        "replace_layers(lora_model, dict(zip(found, made)))",
    ],
    "map": [
        "found = extract_qv_layers(lora_model)",
        "replace_layers(lora_model, dict(map(lambda pair: (pair[0], LoRALayer(pair[1], RANK, ALPHA)), found.items())))",
    ],
    "sorted names": [
        "found = extract_qv_layers(lora_model)",
        "replace_layers(lora_model, {{{n}: LoRALayer(found[{n}], RANK, ALPHA) for {n} in sorted(found)}})",
    ],
    "setattr": [
        "for {n}, {l} in extract_qv_layers(lora_model).items():",
        "    parent, _, child = {n}.rpartition('.')",
        "    setattr(lora_model.get_submodule(parent), child, LoRALayer({l}, RANK, ALPHA))",
    ],
    "set_submodule": [
        "for {n}, {l} in extract_qv_layers(lora_model).items():",
        "    lora_model.set_submodule({n}, LoRALayer({l}, RANK, ALPHA))",
    ],
    "attributes": [
        "for block in lora_model.distilbert.transformer.layer:",
        "    block.attention.q_lin = LoRALayer(block.attention.q_lin, RANK, ALPHA)",
        "    block.attention.v_lin = LoRALayer(block.attention.v_lin, RANK, ALPHA)",
    ],
    "get_submodule": [
        "found = extract_qv_layers(lora_model)",
        "adapters = {{{n}: LoRALayer(lora_model.get_submodule({n}), RANK, ALPHA) for {n} in found}}",
        "replace_layers(named_layers=adapters, model=lora_model)",
    ],
    "union": [
        "adapters = {{}}",
        "for {n}, {l} in extract_qv_layers(lora_model).items():",
        "    adapters |= {{{n}: LoRALayer({l}, RANK, ALPHA)}}",
        "replace_layers(lora_model, adapters)",
    ],
}
# Around wrapping: what stands before it and what after it. `pretrained` tensors are found again by identity.
AFTERWARDS: Final = {
    "pretrained by identity": (
        "pretrained = {id(p) for p in lora_model.distilbert.parameters()}",
        "for p in lora_model.parameters():\n    if id(p) in pretrained:\n        p.requires_grad = False",
    ),
    "pretrained kept in a list": (
        "pretrained = list(lora_model.distilbert.parameters())",
        "for p in pretrained:\n    p.requires_grad_(False)",
    ),
    "adapters by identity": (
        "",
        "trained = {id(p) for m in lora_model.modules() if isinstance(m, LoRALayer) for p in m.parameters() "
        "if p.requires_grad}\nfor name, p in lora_model.named_parameters():\n"
        "    p.requires_grad = id(p) in trained or 'classifier' in name",
    ),
    "all outside the adapters": (
        "",
        "for name, p in lora_model.named_parameters():\n"
        "    if name.startswith('distilbert') and '.q_lin.' not in name and '.v_lin.' not in name:\n"
        "        p.requires_grad = False",
    ),
    "saved and restored": (
        "",
        "adapted = [m for m in lora_model.modules() if isinstance(m, LoRALayer)]\n"
        "trained = [p for m in adapted for p in m.parameters() if p.requires_grad]\n"
        "lora_model.requires_grad_(False)\nfor p in trained:\n    p.requires_grad_(True)\n"
        "lora_model.pre_classifier.requires_grad_(True)\nlora_model.classifier.requires_grad_(True)",
    ),
}
BY_IDENTITY: Final = ("pretrained by identity", "pretrained kept in a list")


def write_wrapping(dice: Dice, layer: Layer, freezing: Freezing) -> str:
    """A right cell for the wrapping of step 3."""
    rank, alpha = dice.choose(
        "wrap: rank and alpha",
        {"12, 24": (12, 24), "8, 16": (8, 16), "4, 8": (4, 8), "6, 12": (6, 12), "16, 16": (16, 16), "2, 32": (2, 32)},
    )
    names = {"n": dice.vary(("name", "path", "key")), "l": dice.vary(("W", "layer", "linear"))}
    wrap = "\n".join(line.format(**names) for line in dice.choose("wrap: form", WRAPS))
    before, after = choose_freezing(dice, layer, freezing)
    lines = "\n".join(part for part in (before, wrap, after) if part)
    if dice.choose("wrap: shell", {"in the cell": False, "in a function": True}):
        lines = (
            f"def adapt(lora_model):\n{lay_out(lines, 1)}\n    return lora_model\n\n\nlora_model = adapt(lora_model)"
        )
    return f"import re\n\nRANK = {rank}\nALPHA = {alpha}\n\n\n{lines}"


def choose_freezing(dice: Dice, layer: Layer, freezing: Freezing) -> tuple[str, str]:
    """Statements before and after wrapping."""
    ways = {"before": (freezing.reuse, "")}
    if layer.freezes:
        ways |= {name: way for name, way in AFTERWARDS.items() if name not in BY_IDENTITY}
    if not layer.copies:
        ways |= {name: AFTERWARDS[name] for name in BY_IDENTITY}
    return dice.choose("wrap: everything else frozen", {"before, as usual": ways["before"], **ways})
