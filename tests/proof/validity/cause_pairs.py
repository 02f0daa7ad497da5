"""Layers with one or two of the usual mistakes, written from one template: each mistake changes one line of it."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Final

TEMPLATE: Final = """
class LoRALayer({parent}):
    def __init__(self, W, rank=12, alpha=24):
        {start}
        self.W = {keep}
        self.A = nn.Linear(W.in_features, {rank}, bias={a_bias})
        self.B = nn.Linear({rank}, W.out_features, bias={b_bias})
        {zero}
        self.scale = {scale}
        {end}

    def {forward}(self, x):
        {shape}
        read = {read}
        inner = {inner}
        update = {outer}
        base = {base}
        return {output}
"""
RIGHT: Final[Mapping[str, str]] = {
    "parent": "nn.Module",
    "start": "super().__init__()",
    "keep": "W.requires_grad_(False)",
    "rank": "rank",
    "a_bias": "False",
    "b_bias": "False",
    "zero": "nn.init.zeros_(self.B.weight)",
    "scale": "alpha / rank",
    "end": "pass",
    "forward": "forward",
    "shape": "pass",
    "read": "x",
    "inner": "self.A(read)",
    "outer": "self.B(inner)",
    "base": "self.W(x)",
    "output": "base + self.scale * update",
}
BIAS: Final = "(0 if self.W.bias is None else self.W.bias)"
# id of the cause -> the lines that it changes
MISTAKES: Final[Mapping[str, Mapping[str, str]]] = {
    "scale_alpha": {"scale": "alpha"},
    "scale_1_over_rank": {"scale": "1 / rank"},
    "scale_2": {"scale": "2.0"},
    "scale_alpha_over_sqrt_rank": {"scale": "alpha / rank**0.5"},
    "scale_constant": {"scale": "24 / rank"},
    "scale_minus_alpha_over_rank": {"output": "base - self.scale * update"},
    "bias_dropped": {"base": "nn.functional.linear(x, self.W.weight)"},
    "bias_twice": {"base": f"self.W(x) + {BIAS}"},
    "weight_untransposed": {"base": f"x @ self.W.weight + {BIAS}"},
    "update_alone": {"base": "0"},
    "input_instead_of_W": {"base": "x"},
    "residual": {"base": "self.W(x) + x"},
    "base_times_alpha_over_rank": {"base": "self.scale * self.W(x)"},
    "base_ReLU": {"base": "torch.relu(self.W(x))"},
    "fresh_linear": {"keep": "nn.Linear(W.in_features, W.out_features).requires_grad_(False)"},
    "between_ReLU": {"inner": "torch.relu(self.A(read))"},
    "between_tanh": {"inner": "torch.tanh(self.A(read))"},
    "dropout_always": {"inner": "nn.functional.dropout(self.A(read), 0.1)"},
    "detached": {"inner": "self.A(read).detach()"},
    "read_W": {"read": "self.W(x)"},
    "before_ReLU": {"read": "torch.relu(x)"},
    "after_ReLU": {"outer": "torch.relu(self.B(inner))"},
    "after_tanh": {"outer": "torch.tanh(self.B(inner))"},
    "no_grad": {"outer": "self.B(inner).detach()"},
    "both_random": {"zero": "pass"},
    "both_zero": {"zero": "nn.init.zeros_(self.A.weight); nn.init.zeros_(self.B.weight)"},
    "adapter_bias_A": {"a_bias": "True"},
    "adapter_bias_B": {"b_bias": "True"},
    "rank_hard_coded": {"rank": "12"},
    "adapter_frozen": {"end": "self.requires_grad_(False)"},
    "W_trainable": {"end": "self.W.requires_grad_(True)"},
    "output_ReLU": {"output": "torch.relu(base + self.scale * update)"},
    "output_times_2": {"output": "2 * (base + self.scale * update)"},
    "multiplied": {"output": "base * (self.scale * update)"},
    "product_unused": {"output": "base"},
    "flattened": {"shape": "x = x.reshape(-1, x.shape[-1])"},
    "three_dimensions_only": {"shape": "batch, tokens, width = x.shape"},
    "no_forward": {"forward": "call"},
    "no_super_init": {"start": "pass"},
    "not_a_module": {"parent": "object", "start": "pass"},
}
# Other names of a mistake: what it amounts to in some pairs, or what is said where less is known.
ALSO: Final[Mapping[str, frozenset[str]]] = {
    "both_random": frozenset({"adapter_bias_B"}),
    "adapter_bias_A": frozenset({"adapter_biases"}),
    "adapter_bias_B": frozenset({"adapter_biases"}),
    "detached": frozenset({"one_cut"}),
    "no_grad": frozenset({"both_cut"}),
    "update_alone": frozenset({"W_not_added"}),
    "multiplied": frozenset({"W_not_added"}),
    "base_ReLU": frozenset({"either_ReLU"}),
    "output_ReLU": frozenset({"either_ReLU"}),
    "output_times_2": frozenset({"either_times_2", "scale_constant"}),  # of the whole factor
    "fresh_linear": frozenset({"second_W"}),
    "base_times_alpha_over_rank": frozenset({"either_times_alpha_over_rank"}),
}


def list_layers(count: int) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the ids of `count` mistakes that change different lines, and the source of the layer that has them."""
    for ids in combinations(MISTAKES, count):
        lines = [line for id in ids for line in MISTAKES[id]]
        if len(set(lines)) == len(lines):
            changes = {line: text for id in ids for line, text in MISTAKES[id].items()}
            yield ids, TEMPLATE.format(**{**RIGHT, **changes})


def list_names(ids: tuple[str, ...]) -> frozenset[str]:
    """Return the names that are right for a layer with these mistakes."""
    names = frozenset(ids).union(*(ALSO.get(id, frozenset()) for id in ids))
    if "update_alone" in ids:  # what is done with the sum is done with the update, and 0 · update is 0
        names |= {id.replace("output_", "after_", 1) for id in ids} | (
            {"product_unused"} if "multiplied" in ids else set()
        )
    if "base_times_alpha_over_rank" in ids:  # by whatever the layer takes for the factor
        names |= {id.replace("scale_", f"{part}_times_", 1) for id in ids for part in ("base", "either")}
    return names
