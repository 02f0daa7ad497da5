"""Right ways to freeze the encoder for step 2."""

from dataclasses import dataclass
from typing import Final

from tests.proof.generated.dice import Dice
from tests.proof.generated.text import lay_out

# Does the parameter with this name belong to the head?
HEADS: Final = {
    "startswith": '{n}.startswith(("pre_classifier", "classifier"))',
    "startswith twice": '{n}.startswith("pre_classifier") or {n}.startswith("classifier")',
    "not in": '"distilbert" not in {n}',
    "not startswith": 'not {n}.startswith("distilbert.")',
    "in": '"classifier" in {n}',
    "first part": '{n}.split(".")[0] in ("pre_classifier", "classifier")',
    "partition": '{n}.partition(".")[0] in {{"pre_classifier", "classifier"}}',
    "any": 'any({n}.startswith(part) for part in ["pre_classifier", "classifier"])',
    "regex": 're.match(r"(pre_)?classifier\\.", {n}) is not None',
    "base model": "not {n}.startswith({m}.base_model_prefix)",
}
FORMS: Final = {
    "by name": ["for {n}, {p} in {m}.named_parameters():", "    {p}.requires_grad = {head}"],
    "by name, method": ["for {n}, {p} in {m}.named_parameters():", "    {p}.requires_grad_({head})"],
    "by name, if": [
        "for {n}, {p} in {m}.named_parameters():",
        "    if not ({head}):",
        "        {p}.requires_grad = False",
    ],
    "by name, if and else": [
        "for {n}, {p} in {m}.named_parameters():",
        "    if {head}:",
        "        {p}.requires_grad = True",
        "    else:",
        "        {p}.requires_grad = False",
    ],
    "by name, continue": [
        "for {n}, {p} in {m}.named_parameters():",
        "    if {head}:",
        "        continue",
        "    {p}.requires_grad_(False)",
    ],
    "everything, then the head by name": [
        "for {p} in {m}.parameters():",
        "    {p}.requires_grad = False",
        "for {n}, {p} in {m}.named_parameters():",
        "    if {head}:",
        "        {p}.requires_grad = True",
    ],
    "encoder": ["for {p} in {m}.distilbert.parameters():", "    {p}.requires_grad = False"],
    "encoder, method": ["{m}.distilbert.requires_grad_(False)"],
    "base_model": ["for {p} in {m}.base_model.parameters():", "    {p}.requires_grad = False"],
    "base_model, method": ["{m}.base_model.requires_grad_(requires_grad=False)"],
    "get_submodule": ['{m}.get_submodule("distilbert").requires_grad_(False)'],
    "everything, then the head": [
        "{m}.requires_grad_(False)",
        "{m}.pre_classifier.requires_grad_(True)",
        "{m}.classifier.requires_grad_()",
    ],
    "everything, then the head in a loop": [
        "{m}.requires_grad_(False)",
        "for part in ({m}.pre_classifier, {m}.classifier):",
        "    for {p} in part.parameters():",
        "        {p}.requires_grad = True",
    ],
    "children": [
        "for {n}, child in {m}.named_children():",
        "    if {n} not in ('pre_classifier', 'classifier', 'dropout'):",
        "        child.requires_grad_(False)",
    ],
    "children, always": [
        "for {n}, child in {m}.named_children():",
        "    child.requires_grad_({head_module})",
    ],
    "parts of the encoder": [
        "for part in ({m}.distilbert.embeddings, {m}.distilbert.transformer):",
        "    for {p} in part.parameters():",
        "        {p}.requires_grad = False",
    ],
    "blocks": [
        "{m}.distilbert.embeddings.requires_grad_(False)",
        "for block in {m}.distilbert.transformer.layer:",
        "    block.requires_grad_(False)",
    ],
    "modules": [
        "for module in {m}.distilbert.modules():",
        "    for {p} in module.parameters(recurse=False):",
        "        {p}.requires_grad = False",
    ],
    "identities": [
        "head = {{id({p}) for part in ({m}.pre_classifier, {m}.classifier) for {p} in part.parameters()}}",
        "for {p} in {m}.parameters():",
        "    {p}.requires_grad = id({p}) in head",
    ],
    "set of parameters": [
        "head = set({m}.pre_classifier.parameters()) | set({m}.classifier.parameters())",
        "for {p} in set({m}.parameters()) - head:",
        "    {p}.requires_grad_(False)",
    ],
    "getattr": [
        "{m}.requires_grad_(False)",
        "for part in ['pre_classifier', 'classifier']:",
        "    getattr({m}, part).requires_grad_(True)",
    ],
    "list": ["[{p}.requires_grad_({head}) for {n}, {p} in {m}.named_parameters()]"],
    "map": ["list(map(lambda {p}: {p}.requires_grad_(False), {m}.distilbert.parameters()))"],
    "two lists": [
        "frozen = [{p} for {n}, {p} in {m}.named_parameters() if not ({head})]",
        "for {p} in frozen:",
        "    {p}.requires_grad = False",
    ],
    "setattr": [
        "for {p} in {m}.distilbert.parameters():",
        "    setattr({p}, 'requires_grad', False)",
    ],
    "while": [
        "waiting = [{m}.distilbert]",
        "while waiting:",
        "    module = waiting.pop()",
        "    waiting.extend(module.children())",
        "    for {p} in module.parameters(recurse=False):",
        "        {p}.requires_grad = False",
    ],
    "match": [
        "for {n}, {p} in {m}.named_parameters():",
        "    match {n}.split('.')[0]:",
        "        case 'pre_classifier' | 'classifier':",
        "            {p}.requires_grad = True",
        "        case _:",
        "            {p}.requires_grad = False",
    ],
}


@dataclass(frozen=True)
class Freezing:
    """The cell of step 2, and how step 3 can freeze a model in the same way."""

    cell: str
    reuse: str  # a statement about `lora_model`


def write_statements(dice: Dice, model: str, dimension: str) -> str:
    """Statements that freeze all of a model but its head."""
    names = {
        "m": model,
        "n": dice.vary(("name", "n", "key", "full_name")),
        "p": dice.vary(("p", "param", "parameter", "weight")),
    }
    head = HEADS[dice.choose(f"{dimension}: test", list(HEADS))].format(**names)
    head_module = f"{names['n']} in ('pre_classifier', 'classifier', 'dropout')"
    form = dice.choose(f"{dimension}: form", FORMS)
    return "\n".join(line.format(**names, head=head, head_module=head_module) for line in form)


def write_freezing(dice: Dice) -> Freezing:
    """A right cell for step 2."""
    shell = dice.choose("freeze: shell", ("function", "function", "returns the model", "in the cell", "loads", "class"))
    model = "head_model" if shell == "in the cell" else dice.vary(("model", "net", "m"))
    body = write_statements(dice, model, "freeze")
    if shell == "in the cell":
        cell = f"head_model = load_model()\n{body}"
        return Freezing(f"import re\n\n{cell}", write_statements(dice, "lora_model", "freeze for step 3"))
    inner = lay_out(body, 1)
    if shell == "returns the model":
        cell = f"def freeze({model}):\n{inner}\n    return {model}\n\n\nhead_model = freeze(load_model())"
        return Freezing(f"import re\n\n\n{cell}", "lora_model = freeze(lora_model)")
    if shell == "loads":
        load = f"def load_frozen():\n    {model} = load_model()\n{inner}\n    return {model}"
        cell = f"{load}\n\n\nhead_model = load_frozen()"
        return Freezing(f"import re\n\n\n{cell}", write_statements(dice, "lora_model", "freeze for step 3"))
    if shell == "class":
        cell = (
            f"class Freezer:\n    @staticmethod\n    def freeze({model}):\n{lay_out(body, 2)}\n\n\n"
            "head_model = load_model()\nFreezer.freeze(head_model)"
        )
        return Freezing(f"import re\n\n\n{cell}", "Freezer.freeze(lora_model)")
    cell = f"def freeze_encoder({model}):\n{inner}\n\n\nhead_model = load_model()\nfreeze_encoder(head_model)"
    return Freezing(f"import re\n\n\n{cell}", "freeze_encoder(lora_model)")
