"""Right ways to write `extract_qv_layers`."""

from typing import Final

from tests.proof.generated.dice import Dice
from tests.proof.generated.text import lay_out

# Is the module with this name a query or a value layer?
TESTS: Final = {
    "endswith": '{n}.endswith(("q_lin", "v_lin"))',
    "endswith with dots": '{n}.endswith((".q_lin", ".v_lin"))',
    "endswith twice": '{n}.endswith("q_lin") or {n}.endswith("v_lin")',
    "in": '"q_lin" in {n} or "v_lin" in {n}',
    "any": 'any(kind in {n} for kind in ("q_lin", "v_lin"))',
    "last part": '{n}.split(".")[-1] in ("q_lin", "v_lin")',
    "rpartition": '{n}.rpartition(".")[2] in {{"q_lin", "v_lin"}}',
    "rsplit": '{n}.rsplit(".", 1)[-1] in ["q_lin", "v_lin"]',
    "slice": '{n}[-5:] in ("q_lin", "v_lin")',
    "search": 're.search(r"(q|v)_lin$", {n})',
    "search class": 're.search(r"\\.[qv]_lin$", {n}) is not None',
    "fullmatch": 're.fullmatch(r"distilbert\\.transformer\\.layer\\.\\d+\\.attention\\.[qv]_lin", {n})',
    "fnmatch": 'fnmatch.fnmatch({n}, "*.attention.[qv]_lin")',
    "isinstance": 'isinstance({l}, nn.Linear) and {n}.endswith(("q_lin", "v_lin"))',
    "type": 'type({l}) is nn.Linear and ("q_lin" in {n} or "v_lin" in {n})',
    "attention": '"attention" in {n} and {n}.split(".")[-1][0] in "qv" and {n}.endswith("_lin")',
    "not k": '".attention." in {n} and not {n}.endswith(("k_lin", "out_lin", "dropout"))',
}
NAMED: Final = {
    "comprehension": ["return {{{n}: {l} for {n}, {l} in {m}.named_modules() if {test}}}"],
    "dict of a generator": ["return dict(({n}, {l}) for {n}, {l} in {m}.named_modules() if {test})"],
    "dict of a list": ["pairs = [({n}, {l}) for {n}, {l} in {m}.named_modules() if {test}]", "return dict(pairs)"],
    "loop": [
        "{found} = {{}}",
        "for {n}, {l} in {m}.named_modules():",
        "    if {test}:",
        "        {found}[{n}] = {l}",
        "return {found}",
    ],
    "loop with continue": [
        "{found} = dict()",
        "for {n}, {l} in {m}.named_modules():",
        "    if not ({test}):",
        "        continue",
        "    {found}.update({{{n}: {l}}})",
        "return {found}",
    ],
    "OrderedDict": [
        "{found} = collections.OrderedDict()",
        "for {n}, {l} in {m}.named_modules():",
        "    if {test}:",
        "        {found}[{n}] = {l}",
        "return {found}",
    ],
    "filter": [
        "def wanted(pair):",
        "    {n}, {l} = pair",
        "    return {test}",
        "",
        "return dict(filter(wanted, {m}.named_modules()))",
    ],
    "names, then get_submodule": [
        "names = [{n} for {n}, {l} in {m}.named_modules() if {test}]",
        "return {{{n}: {m}.get_submodule({n}) for {n} in names}}",
    ],
    "names from parameters": [
        "{found} = {{}}",
        "for path, _ in {m}.named_parameters():",
        "    {n}, _, kind = path.rpartition('.')",
        "    {l} = {m}.get_submodule({n})",
        "    if kind == 'weight' and ({test}):",
        "        {found}[{n}] = {l}",
        "return {found}",
    ],
    "while": [
        "{found}, steps = {{}}, iter({m}.named_modules())",
        "while (pair := next(steps, None)) is not None:",
        "    {n}, {l} = pair",
        "    if {test}:",
        "        {found}[{n}] = {l}",
        "return {found}",
    ],
    "all, then thrown out": [
        "{found} = dict({m}.named_modules())",
        "for {n}, {l} in list({found}.items()):",
        "    if not ({test}):",
        "        del {found}[{n}]",
        "return {found}",
    ],
    "inner generator": [
        "def wanted():",
        "    for {n}, {l} in {m}.named_modules():",
        "        if {test}:",
        "            yield {n}, {l}",
        "",
        "return dict(wanted())",
    ],
    "recursion": [
        "def collect(module, prefix, {found}):",
        "    for name, {l} in module.named_children():",
        "        {n} = f'{{prefix}}.{{name}}' if prefix else name",
        "        if {test}:",
        "            {found}[{n}] = {l}",
        "        else:",
        "            collect({l}, {n}, {found})",
        "    return {found}",
        "",
        "return collect({m}, '', {{}})",
    ],
    "stack": [
        "stack, {found} = [('', {m})], {{}}",
        "while stack:",
        "    path, module = stack.pop()",
        "    for name, {l} in module.named_children():",
        "        {n} = f'{{path}}.{{name}}'.lstrip('.')",
        "        if {test}:",
        "            {found}[{n}] = {l}",
        "        stack.append(({n}, {l}))",
        "return {found}",
    ],
}
# Without asking names: the places are known.
PLACES: Final = {
    "names in a loop": [
        "{found} = {{}}",
        "for i in range({count}):",
        "    for kind in ({kinds}):",
        "        {n} = f'distilbert.transformer.layer.{{i}}.attention.{{kind}}'",
        "        {found}[{n}] = {m}.get_submodule({n})",
        "return {found}",
    ],
    "names in a comprehension": [
        "names = [f'distilbert.transformer.layer.{{i}}.attention.{{k}}' for k in ({kinds}) for i in range({count})]",
        "return {{{n}: {m}.get_submodule({n}) for {n} in names}}",
    ],
    "format": [
        "pattern = 'distilbert.transformer.layer.{{}}.attention.{{}}_lin'",
        "names = [pattern.format(i, kind) for i in range({count}) for kind in 'qv']",
        "modules = dict({m}.named_modules())",
        "return {{{n}: modules[{n}] for {n} in names}}",
    ],
    "attributes": [
        "{found} = {{}}",
        "for i, block in enumerate({m}.distilbert.transformer.layer):",
        "    {found}[f'distilbert.transformer.layer.{{i}}.attention.q_lin'] = block.attention.q_lin",
        "    {found}['distilbert.transformer.layer.' + str(i) + '.attention.v_lin'] = block.attention.v_lin",
        "return {found}",
    ],
    "getattr": [
        "{found} = {{}}",
        "for i, block in enumerate({m}.distilbert.transformer.layer):",
        "    for kind in ({kinds}):",
        "        {found}['distilbert.transformer.layer.%d.attention.%s' % (i, kind)] = getattr(block.attention, kind)",
        "return {found}",
    ],
    "base model": [
        "prefix = {m}.base_model_prefix",
        "inner = {m}.base_model.named_modules()",
        "return {{f'{{prefix}}.{{{n}}}': {l} for {n}, {l} in inner if {n}.endswith(('q_lin', 'v_lin'))}}",
    ],
    "attention modules": [
        "{found} = {{}}",
        "for {n}, {l} in {m}.named_modules():",
        "    if hasattr({l}, 'q_lin') and hasattr({l}, 'v_lin'):",
        "        {found}[{n} + '.q_lin'] = {l}.q_lin",
        "        {found}[{n} + '.v_lin'] = {l}.v_lin",
        "return {found}",
    ],
    "product and reduce": [
        "{found} = {{}}",
        "for i, kind in itertools.product(range({count}), ({kinds})):",
        "    parts = ['distilbert', 'transformer', 'layer', str(i), 'attention', kind]",
        "    {found}['.'.join(parts)] = functools.reduce(getattr, parts, {m})",
        "return {found}",
    ],
    "match": [
        "{found} = {{}}",
        "for {n}, {l} in {m}.named_modules():",
        "    match {n}.split('.'):",
        "        case [*_, 'attention', 'q_lin' | 'v_lin']:",
        "            {found}[{n}] = {l}",
        "return {found}",
    ],
    "merged dicts": [
        "modules = list({m}.named_modules())",
        "queries = {{{n}: {l} for {n}, {l} in modules if {n}.endswith('.q_lin')}}",
        "values = {{{n}: {l} for {n}, {l} in modules if {n}.endswith('.v_lin')}}",
        "return queries | values",
    ],
    "identities": [
        "blocks = {m}.distilbert.transformer.layer",
        "wanted = {{id({l}) for b in blocks for {l} in (b.attention.q_lin, b.attention.v_lin)}}",
        "return {{{n}: {l} for {n}, {l} in {m}.named_modules() if id({l}) in wanted}}",
    ],
    "zip": [
        "names = [{n} for {n}, _ in {m}.named_modules() if {n}.endswith(('q_lin', 'v_lin'))]",
        "return dict(zip(names, map({m}.get_submodule, names)))",
    ],
    "sorted": [
        "{found} = {{{n}: {l} for {n}, {l} in {m}.named_modules() if {n}[-5:] in {{'q_lin', 'v_lin'}}}}",
        "return dict(sorted({found}.items(), reverse=True))",
    ],
}
SHELLS: Final = {
    "function": "def extract_qv_layers({m}{hint}){result}:\n{body}",
    "no_grad": "@torch.no_grad()\ndef extract_qv_layers({m}{hint}){result}:\n{body}",
    "helper": "def find({m}):\n{body}\n\n\ndef extract_qv_layers({m}{hint}){result}:\n    return find({m})",
    "class method": (
        "class Finder:\n    @classmethod\n    def find(cls, {m}):\n{deep}\n\n\nextract_qv_layers = Finder.find"
    ),
    "callable": ("class Finder:\n    def __call__(self, {m}):\n{deep}\n\n\nextract_qv_layers = Finder()"),
    "checked": ("def extract_qv_layers({m}{hint}){result}:\n    assert isinstance({m}, nn.Module)\n{body}"),
}
IMPORTS: Final = "import collections\nimport fnmatch\nimport functools\nimport itertools\nimport re\n\n\n"


def write_extract(dice: Dice) -> str:
    """Source that defines `extract_qv_layers`."""
    names = {
        "m": dice.vary(("model", "net", "m", "pretrained_model", "module_tree")),
        "n": dice.vary(("name", "full_name", "key", "n", "layer_name")),
        "l": dice.vary(("layer", "submodule", "child", "linear", "mod")),
        "found": dice.vary(("layers", "result", "found", "qv", "extracted", "out")),
        "count": dice.vary(("6", "len({m}.distilbert.transformer.layer)", "{m}.config.n_layers")),
        "kinds": dice.vary(("'q_lin', 'v_lin'", "'v_lin', 'q_lin'", "*['q_lin', 'v_lin'],")),
    }
    names["count"] = names["count"].format(**names)
    way = dice.choose("extract: by", {"name": NAMED, "place": PLACES})
    form = dice.choose("extract: form", way)
    test = dice.choose("extract: test", TESTS).format(**names) if way is NAMED else ""
    body = "\n".join(line.format(**names, test=test) for line in form)
    return IMPORTS + dice.choose("extract: shell", SHELLS).format(
        m=names["m"],
        hint=dice.vary(("", ": nn.Module", ": PreTrainedModel")),
        result=dice.vary(("", " -> dict", " -> dict[str, nn.Linear]")),
        body=lay_out(body, 1),
        deep=lay_out(body, 2),
    )
