"""Right ways to write `count_trainable_parameters`."""

from typing import Final

from tests.proof.generated.dice import Dice
from tests.proof.generated.text import lay_out

SIZES: Final = {
    "numel": "{p}.numel()",
    "nelement": "{p}.nelement()",
    "torch.numel": "torch.numel({p})",
    "shape.numel": "{p}.shape.numel()",
    "size().numel": "{p}.size().numel()",
    "math.prod": "math.prod({p}.shape)",
    "np.prod": "int(np.prod({p}.shape))",
    "np.prod of a list": "np.prod(list({p}.size()))",
    "flattened": "{p}.flatten().shape[0]",
    "view": "{p}.view(-1).size(0)",
    "length": "len({p}.reshape(-1))",
    "data": "{p}.data.numel()",
    "ones": "int(torch.ones_like({p}, dtype=torch.int64).sum())",
    "reduce": "functools.reduce(lambda one, other: one * other, {p}.shape, 1)",
}
CONDITIONS: Final = {
    "requires_grad": "{p}.requires_grad",
    "is True": "{p}.requires_grad is True",
    "== True": "{p}.requires_grad == True",
    "getattr": 'getattr({p}, "requires_grad")',
    "not not": "not (not {p}.requires_grad)",
}
# How the parameters are gone through: `p` is a parameter, `m` the model.
WALKS: Final = {
    "parameters": ("{p}", "{m}.parameters()"),
    "list of parameters": ("{p}", "list({m}.parameters())"),
    "named_parameters": ("_, {p}", "{m}.named_parameters()"),
    "dict of names": ("{p}", "dict({m}.named_parameters()).values()"),
    "enumerate": ("_, {p}", "enumerate({m}.parameters())"),
    "reversed": ("{p}", "reversed(list({m}.parameters()))"),
    "set": ("{p}", "set({m}.parameters())"),
}
FORMS: Final = {
    "sum": ["return sum({size} for {each} in {walk} if {condition})"],
    "sum of a list": ["return sum([{size} for {each} in {walk} if {condition}])"],
    "sum of products": ["return sum({size} * int({condition}) for {each} in {walk})"],
    "sum of choices": ["return sum({size} if {condition} else 0 for {each} in {walk})"],
    "loop": [
        "{total} = 0",
        "for {each} in {walk}:",
        "    if {condition}:",
        "        {total} += {size}",
        "return {total}",
    ],
    "loop with continue": [
        "{total} = 0",
        "for {each} in {walk}:",
        "    if not ({condition}):",
        "        continue",
        "    {total} = {total} + {size}",
        "return {total}",
    ],
    "two lists": [
        "chosen = [{p} for {each} in {walk} if {condition}]",
        "sizes = [{size} for {p} in chosen]",
        "return sum(sizes)",
    ],
    "filter and map": [
        "return sum(map(lambda {p}: {size}, filter(lambda {p}: {condition}, {m}.parameters())))",
    ],
    "reduce": ["return functools.reduce(lambda total, {p}: total + {size} * ({condition}), {m}.parameters(), 0)"],
    "while": [
        "waiting = list({m}.parameters())",
        "{total} = 0",
        "while waiting:",
        "    {p} = waiting.pop()",
        "    if {condition}:",
        "        {total} += {size}",
        "return {total}",
    ],
    "iterator": [
        "{total}, steps = 0, iter({m}.parameters())",
        "while ({p} := next(steps, None)) is not None:",
        "    {total} += {size} if {condition} else 0",
        "return {total}",
    ],
    "tensor": [
        "{total} = torch.tensor(0)",
        "for {each} in {walk}:",
        "    if {condition}:",
        "        {total} += {size}",
        "return {total}",
    ],
    "tensor item": [
        "{total} = torch.zeros((), dtype=torch.int64)",
        "for {each} in {walk}:",
        "    if {condition}:",
        "        {total} = {total} + {size}",
        "return {total}.item()",
    ],
    "numpy": ["return np.sum([{size} for {each} in {walk} if {condition}], dtype=np.int64)"],
    "numpy int": ["return int(np.sum([{size} for {each} in {walk} if {condition}]))"],
    "all less frozen": [
        "everything = sum({size} for {each} in {walk})",
        "frozen = sum({size} for {each} in {walk} if not ({condition}))",
        "return everything - frozen",
    ],
    "dict by name": [
        "sizes = {{name: {size} for name, {p} in {m}.named_parameters() if {condition}}}",
        "return sum(sizes.values())",
    ],
    "by module": [
        "seen, {total} = set(), 0",
        "for part in {m}.modules():",
        "    for {p} in part.parameters(recurse=False):",
        "        if {condition} and id({p}) not in seen:",
        "            seen.add(id({p}))",
        "            {total} += {size}",
        "return {total}",
    ],
    "inner generator": [
        "def sizes():",
        "    for {each} in {walk}:",
        "        if {condition}:",
        "            yield {size}",
        "",
        "return sum(sizes())",
    ],
    "early return": [
        "trained = [{p} for {each} in {walk} if {condition}]",
        "if not trained:",
        "    return 0",
        "return sum({size} for {p} in trained)",
    ],
    "match": [
        "{total} = 0",
        "for {each} in {walk}:",
        "    match bool({condition}):",
        "        case True:",
        "            {total} += {size}",
        "        case False:",
        "            pass",
        "return {total}",
    ],
}
SHELLS: Final = {
    "function": "def {name}({m}{hint}){result}:\n{body}",
    "no_grad": "@torch.no_grad()\ndef {name}({m}{hint}){result}:\n{body}",
    "more parameters": "def {name}({m}{hint}, verbose=False){result}:\n{body}",
    "static method": "class Counter:\n    @staticmethod\n    def count({m}):\n{deep}\n\n\n{name} = Counter.count",
    "helper": "def count_all({m}):\n{body}\n\n\ndef {name}({m}{hint}){result}:\n    return count_all({m})",
    "lambda": "def count_all({m}):\n{body}\n\n\n{name} = lambda {m}: count_all({m})",
    "partial": "def count_all({m}, scale):\n{body}\n\n\n{name} = functools.partial(count_all, scale=1)",
    "decorated": (
        "def logged(function):\n    @functools.wraps(function)\n    def call(*args, **kwargs):\n"
        "        return function(*args, **kwargs)\n\n    return call\n\n\n"
        "@logged\ndef {name}({m}{hint}){result}:\n{body}"
    ),
}


def write_count(dice: Dice) -> str:
    """Source that defines `count_trainable_parameters`."""
    names = {
        "p": dice.vary(("p", "param", "parameter", "tensor", "weight", "w")),
        "m": dice.vary(("model", "net", "module", "network", "m")),
        "total": dice.vary(("total", "count", "n", "result", "number", "num_params")),
    }
    each, walk = dice.choose("count: parameters", WALKS)
    size = dice.choose("count: size", SIZES).format(**names)
    condition = dice.choose("count: condition", CONDITIONS).format(**names)
    pieces = {**names, "each": each.format(**names), "walk": walk.format(**names), "size": size, "condition": condition}
    lines = [line.format(**pieces) for line in dice.choose("count: form", FORMS)]
    body = "\n".join(lines)
    source = dice.choose("count: shell", SHELLS).format(
        name="count_trainable_parameters",
        m=names["m"],
        hint=dice.vary(("", ": nn.Module", ": torch.nn.Module", ": PreTrainedModel")),
        result=dice.vary(("", " -> int")),
        body=lay_out(body, 1),
        deep=lay_out(body, 2),
    )
    return f"import functools\nimport math\n\n\n{source}"
