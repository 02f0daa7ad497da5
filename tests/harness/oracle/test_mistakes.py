"""What a mistake would have answered is what a layer or function with this mistake answers; and it alone is named."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from grader import assignment, challenges
from grader.challenges import LoraChallenge
from grader.kernel.probes import functions
from grader.oracle.mistakes import adapters, counting, diagnosis, extraction, freezing, measured, raised, table
from grader.oracle.mistakes.adapters import Registered
from grader.oracle.mistakes.forms import Adapter, Form, Question, compute_scale, predict, read_adapters
from grader.oracle.mistakes.observations import Observation
from grader.oracle.mistakes.raised import Failure
from grader.protocol.records import CountItem, Raised
from tests.proof.validity import cause_pairs
from tests.proof.validity.causes import examine_layer

repeatable = settings(derandomize=True, deadline=None, max_examples=15)
SIZE = 6
MISTAKES = {mistake.cause.id: mistake for mistake in table.list_mistakes()}


def layer(rank: int, alpha: int, width: int = SIZE, height: int = SIZE, dtype: str = "float64") -> LoraChallenge:
    return LoraChallenge("c", rank, alpha, dtype, bias=True, in_features=width, out_features=height, graded=True)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# A layer with the mistake, as a student writes it: of x, W (a linear layer), A, B, rank and alpha.
Written = Callable[[Tensor, Any, Tensor, Tensor, int, int], Tensor]
LAYERS: Mapping[str, Written] = {
    "bias_dropped": lambda x, W, A, B, r, a: x @ W.weight.T + a / r * x @ A.T @ B.T,
    "bias_twice": lambda x, W, A, B, r, a: W(x) + W.bias + a / r * x @ A.T @ B.T,
    "bias_scaled": lambda x, W, A, B, r, a: x @ W.weight.T + a / r * (W.bias + x @ A.T @ B.T),
    "weight_untransposed": lambda x, W, A, B, r, a: x @ W.weight + W.bias + a / r * x @ A.T @ B.T,
    "input_instead_of_W": lambda x, W, A, B, r, a: x + a / r * x @ A.T @ B.T,
    "weight_missing": lambda x, W, A, B, r, a: W.bias + a / r * x @ A.T @ B.T,
    "update_alone": lambda x, W, A, B, r, a: a / r * x @ A.T @ B.T,
    "residual": lambda x, W, A, B, r, a: x + W(x) + a / r * x @ A.T @ B.T,
    "base_times_alpha_over_rank": lambda x, W, A, B, r, a: a / r * (W(x) + x @ A.T @ B.T),
    "base_ReLU": lambda x, W, A, B, r, a: W(x).relu() + a / r * x @ A.T @ B.T,
    "scale_alpha": lambda x, W, A, B, r, a: W(x) + a * x @ A.T @ B.T,
    "scale_1_over_rank": lambda x, W, A, B, r, a: W(x) + x @ A.T @ B.T / r,
    "scale_alpha_over_sqrt_rank": lambda x, W, A, B, r, a: W(x) + a / r**0.5 * x @ A.T @ B.T,
    "scale_alpha_floor_rank": lambda x, W, A, B, r, a: W(x) + a // r * x @ A.T @ B.T,
    "scale_minus_alpha_over_rank": lambda x, W, A, B, r, a: W(x) - a / r * x @ A.T @ B.T,
    "product_unused": lambda x, W, A, B, r, a: W(x),
    "read_W": lambda x, W, A, B, r, a: W(x) + a / r * W(x) @ A.T @ B.T,
    "before_tanh": lambda x, W, A, B, r, a: W(x) + a / r * x.tanh() @ A.T @ B.T,
    "between_GELU": lambda x, W, A, B, r, a: W(x) + a / r * functional.gelu(x @ A.T) @ B.T,
    "after_sigmoid": lambda x, W, A, B, r, a: W(x) + (a / r * x @ A.T @ B.T).sigmoid(),
    "multiplied": lambda x, W, A, B, r, a: W(x) * (a / r * x @ A.T @ B.T),
    "output_times_2": lambda x, W, A, B, r, a: 2 * (W(x) + a / r * x @ A.T @ B.T),
    "output_softmax": lambda x, W, A, B, r, a: (W(x) + a / r * x @ A.T @ B.T).softmax(-1),
}


@pytest.mark.parametrize("name", LAYERS)
@repeatable
@given(rank=st.integers(1, 5), alpha=st.integers(1, 40), seed=st.integers(0, 99), rows=st.integers(1, 9))
def test_a_mistake_answers_what_a_layer_with_it_answers(name: str, rank: int, alpha: int, seed: int, rows: int) -> None:
    linear = nn.Linear(SIZE, SIZE, dtype=torch.float64)
    x, a, b = normal(seed, rows, SIZE), normal(seed + 1, rank, SIZE), normal(seed + 2, SIZE, rank)
    question = Question(layer(rank, alpha), linear.weight.detach(), linear.bias.detach(), {"x": x})
    form = table.apply(MISTAKES[name])
    assert form is not None
    predicted = predict(form, question, x, Adapter(a, b))
    torch.testing.assert_close(predicted, LAYERS[name](x, linear, a, b, rank, alpha).detach(), rtol=1e-9, atol=1e-9)


@repeatable
@given(rank=st.integers(2, 5), alpha=st.integers(1, 40), seed=st.integers(0, 99), rows=st.booleans())
def test_the_magnitude_of_dora(rank: int, alpha: int, seed: int, rows: bool) -> None:
    linear = nn.Linear(SIZE, SIZE + 1, dtype=torch.float64)
    x, a, b = normal(seed, 4, SIZE), normal(seed + 1, rank, SIZE), normal(seed + 2, SIZE + 1, rank)
    length = normal(seed + 3, *((SIZE + 1, 1) if rows else (1, SIZE)))
    challenge = layer(rank, alpha, height=SIZE + 1)
    question = Question(challenge, linear.weight.detach(), linear.bias.detach(), {"x": x})
    whole = linear.weight + alpha / rank * b @ a
    expected = functional.linear(x, length * whole / whole.norm(dim=int(rows), keepdim=True), linear.bias)
    found = [
        predict(Form(adapter="magnitude"), question, x, adapter) for adapter in read_adapters([length, a, b], challenge)
    ]
    assert any(y is not None and torch.allclose(y, expected) for y in found)


def observe(written: Written, seed: int = 3) -> list[Observation]:
    """The answers of a layer to the graded challenges of a draw, in float64."""
    drawn = challenges.draw(seed)
    found = []
    for c in (c for c in drawn.lora if c.graded and c.dtype != "bfloat16"):
        names = ("weight", "bias", "x", "x3", "fill", "cotangent")
        given_ = {name: drawn.lora_tensors[f"{c.key}.{name}"].double() for name in names}
        linear = nn.Linear(c.in_features, c.out_features, dtype=torch.float64)
        linear.load_state_dict({"weight": given_["weight"], "bias": given_["bias"] * c.bias})
        shapes = (c.rank, c.in_features), (c.out_features, c.rank)
        question = Question(c, given_["weight"], given_["bias"] * c.bias, {k: given_[k] for k in ("x", "x3")})
        observation = Observation(question, given_["fill"], given_["cotangent"], shapes, {})
        a, b = observation.adapters[0].a, observation.adapters[0].b
        fills = {"emptied": (0 * a, 0 * b), "filled": (a, b), "ones": (a * 0 + 1, b * 0 + 1)}
        answers = {
            name + suffix: written(given_[inputs], linear, *fill, c.rank, c.alpha).detach()
            for name, fill in fills.items()
            for inputs, suffix in (("x", ""), ("x3", "_batched"))
        }
        found.append(Observation(question, given_["fill"], given_["cotangent"], shapes, answers))
    return found


def name_causes(written: Written) -> list[str]:
    return [cause.id for cause in diagnosis.list_causes(diagnosis.diagnose(observe(written)))]


@pytest.mark.parametrize("name", LAYERS)
def test_a_mistake_is_named_and_no_other(name: str) -> None:
    assert name_causes(LAYERS[name]) == [name]


def test_nothing_is_named_where_nothing_is_wrong_or_known() -> None:
    assert name_causes(lambda x, W, A, B, r, a: W(x) + a / r * x @ A.T @ B.T) == []
    assert name_causes(lambda x, W, A, B, r, a: W(x).sin() + a / r * (x @ A.T @ B.T).sin()) == []


PAIRS: Mapping[str, tuple[Written, list[str]]] = {
    "in the base": (
        lambda x, W, A, B, r, a: x @ W.weight + a / r * x @ A.T @ B.T,
        ["bias_dropped", "weight_untransposed"],
    ),
    "in both parts": (lambda x, W, A, B, r, a: W(x) + x + a * x @ A.T @ B.T, ["residual", "scale_alpha"]),
    "in the update": (
        lambda x, W, A, B, r, a: W(x) - 2 * (x @ A.T).relu() @ B.T,
        [],  # three mistakes: two at most are combined in one part
    ),
    "only the base is known": (lambda x, W, A, B, r, a: x + (x @ A.T @ B.T).sin(), ["input_instead_of_W"]),
    "only the update is known": (lambda x, W, A, B, r, a: W(x).sin() + a * x @ A.T @ B.T, ["scale_alpha"]),
}


@pytest.mark.parametrize("name", PAIRS)
def test_several_mistakes(name: str) -> None:
    written, expected = PAIRS[name]
    assert sorted(name_causes(written)) == sorted(expected)


CONSTANTS = [
    pytest.param(lambda r, a: 24 / r, "24 / rank", id="alpha written as a number"),
    pytest.param(lambda r, a: a / 12, "alpha / 12", id="rank written as a number"),
    pytest.param(lambda r, a: 0.3, "the constant 0.3", id="a constant"),
    pytest.param(lambda r, a: 0.5 * a / r, "0.5 · (alpha / rank)", id="a further factor"),
]


@pytest.mark.parametrize(("factor", "words"), CONSTANTS)
def test_a_factor_with_a_constant_is_measured(factor: Callable[[int, int], float], words: str) -> None:
    found = observe(lambda x, W, A, B, r, a: W(x) + factor(r, a) * x @ A.T @ B.T)
    named = [cause.words for cause in diagnosis.list_causes(diagnosis.diagnose(found))]
    assert named == [f"the update is multiplied by {words} instead of alpha / rank"]


def test_a_factor_is_not_measured_on_few_challenges() -> None:
    assert list(measured.list_scales(observe(LAYERS["scale_alpha"])[:2])) == []
    assert compute_scale("alpha / rank", layer(2, 6)) == 3


W, H = 16, 16
SHAPES = [
    pytest.param(lambda r: ((r, W), (H, r), (H,)), ["adapter_bias_B"], id="a bias of B"),
    pytest.param(lambda r: ((r, W), (r,), (H, r)), ["adapter_bias_A"], id="a bias of A"),
    pytest.param(lambda r: ((W, r), (r,), (r, H), (H,)), ["adapter_biases"], id="two biases, turned"),
    pytest.param(lambda r: ((r, W), (H, r), (H, 1)), ["magnitude"], id="DoRA"),
    pytest.param(lambda r: ((r, W), (H, r), ()), ["scale_trainable"], id="a trainable factor"),
    pytest.param(lambda r: ((12, W), (H, 12)), ["rank_hard_coded"], id="rank 12"),
    pytest.param(lambda r: ((12, W), (H, 12), (H,)), ["rank_hard_coded", "adapter_bias_B"], id="rank 12 and a bias"),
    pytest.param(lambda r: ((8 * r, W), (H, 8 * r)), ["rank_is_alpha"], id="rank alpha"),
    pytest.param(lambda r: ((r, 768), (768, r)), ["size_hard_coded"], id="width 768"),
    pytest.param(lambda r: ((r, W),), ["only_one"], id="only A"),
    pytest.param(lambda r: ((H, W),), ["square_adapter"], id="one square matrix"),
    pytest.param(lambda r: ((H, W), (H,), (r, W), (H, r)), ["second_W"], id="another W"),
    pytest.param(lambda r: (), ["not_registered"], id="nothing"),
    pytest.param(lambda r: ((r, 5), (7, 11)), [], id="unknown"),
]


@pytest.mark.parametrize(("shapes", "expected"), SHAPES)
def test_registered_tensors(shapes: Callable[[int], tuple[tuple[int, ...], ...]], expected: list[str]) -> None:
    found = [Registered(layer(r, 8 * r, W, H), shapes(r), frozen=False, later=False) for r in (2, 3, 5)]
    assert [cause.id for cause in adapters.explain(found)] == expected


def test_nothing_registered_has_three_reasons() -> None:
    def explain(frozen: bool, later: bool) -> tuple[Any, ...]:
        return adapters.explain([Registered(layer(2, 4), (), frozen, later)])

    assert explain(False, False) == (adapters.PLAIN,)
    assert explain(True, False) == (adapters.FROZEN,)
    assert explain(False, True) == (adapters.LAZY,)


def cannot(a: object, b: object, c: object, d: object) -> str:
    return f"mat1 and mat2 shapes cannot be multiplied ({a}x{b} and {c}x{d})"


RAISED = [
    pytest.param(
        "NotImplementedError", lambda r, w: 'Module [L] is missing the required "forward" function', "no_forward"
    ),
    pytest.param("NotImplementedError", lambda r, w: "Step 3.3: write LoRALayer.forward", "unfinished"),
    pytest.param("ValueError", lambda r, w: "not enough values to unpack (expected 3, got 2)", "three_dimensions_only"),
    pytest.param("RuntimeError", lambda r, w: cannot(16, w, r, w), "A_untransposed_or_B_first"),
    pytest.param("RuntimeError", lambda r, w: cannot(16, r, w, r), "B_untransposed"),
    pytest.param("RuntimeError", lambda r, w: cannot(r, w, w, r), "product_reversed"),
    pytest.param("RuntimeError", lambda r, w: cannot(16, w, 768, r), "size_hard_coded"),
    pytest.param("AttributeError", lambda r, w: "'LoRALayer' object has no attribute 'rank'", "attribute_missing"),
    pytest.param("AttributeError", lambda r, w: "'LoRALayer' object has no attribute 'parameters'", "not_a_module"),
    pytest.param("AttributeError", lambda r, w: "'Linear' object has no attribute 'shape'", "W_as_tensor"),
    pytest.param("NameError", lambda r, w: "name 'rank' is not defined", "name_missing"),
    pytest.param("RuntimeError", lambda r, w: f"something else ({w})", None),
]


@pytest.mark.parametrize(("kind", "message", "expected"), RAISED)
def test_errors(kind: str, message: Callable[[int, int], str], expected: str | None) -> None:
    sizes = [(2, 16), (3, 24), (5, 32)]
    found = [Failure(layer(r, 2 * r, w, w), Raised(kind, message(r, w)), "LoRALayer") for r, w in sizes]
    cause = raised.explain(found, works_with_bias=False)
    assert (cause and cause.id) == expected


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(Raised("TypeError", "LoRALayer returns NoneType"), "NoneType", id="nothing"),
        pytest.param(Raised("TypeError", "LoRALayer returns tuple"), "tuple", id="two things"),
        pytest.param(Raised("RuntimeError", "LoRALayer returns tuple"), None, id="another error"),
        pytest.param(Raised("TypeError", "f() takes 1 positional argument"), None, id="an error of the layer's own"),
        pytest.param(None, None, id="no error"),
    ],
)
def test_what_a_layer_returns_in_place_of_a_tensor(error: Raised | None, kind: str | None) -> None:
    assert raised.find_returned(error) == kind


Counter = Callable[[nn.Module], Any]
COUNTERS: Mapping[str, Counter] = {
    "count_ignores_requires_grad": lambda m: sum(p.numel() for p in m.parameters()),
    "count_frozen_only": lambda m: sum(p.numel() for p in m.parameters() if not p.requires_grad),
    "count_tensors": lambda m: sum(p.requires_grad for p in m.parameters()),
    "count_matrices_only": lambda m: sum(p.numel() for p in m.parameters() if p.requires_grad and p.dim() > 1),
    "count_biases_only": lambda m: sum(p.numel() for p in m.parameters() if p.requires_grad and p.dim() == 1),
    "count_rows": lambda m: sum(p.shape[0] for p in m.parameters() if p.requires_grad),
    "count_columns": lambda m: sum(p.shape[-1] for p in m.parameters() if p.requires_grad),
    "count_sides": lambda m: sum(sum(p.shape) for p in m.parameters() if p.requires_grad),
    "count_shared_twice": lambda m: sum(
        p.numel() for _, p in m.named_parameters(remove_duplicate=False) if p.requires_grad
    ),
    "count_buffers": lambda m: sum(
        t.numel() for t in [*m.parameters(), *m.buffers()] if t.requires_grad or t.sum() == 0
    ),
    "count_state_dict": lambda m: sum(t.numel() for t in m.state_dict().values()),
    "count_first_module_only": lambda m: next((p.numel() * p.requires_grad for p in m.parameters()), None),
    "count_millions": lambda m: sum(p.numel() for p in m.parameters() if p.requires_grad) / 1e6,
    "count_same": lambda m: 66_955_010,
    "count_nothing": lambda m: sum(p.numel() for p in m.parameters() if p.grad is not None),
}


def explain_counter(counter: Counter) -> list[str]:
    drawn = challenges.draw(7)
    items: Sequence[CountItem] = [functions.count(counter, toy.description) for toy in drawn.toys]
    return [cause.id for cause in counting.explain(drawn.toys, items)]


@pytest.mark.parametrize("name", COUNTERS)
def test_counting(name: str) -> None:
    assert explain_counter(COUNTERS[name]) == [name]


def test_counting_with_two_mistakes_and_with_unknown_ones() -> None:
    assert explain_counter(lambda m: len(list(m.parameters()))) == ["count_ignores_requires_grad", "count_tensors"]
    assert explain_counter(lambda m: 3 * sum(p.numel() for p in m.parameters() if p.requires_grad) + 1) == []


def keys(kinds: Sequence[str], blocks: Sequence[int] = range(6), form: str = "distilbert.{}") -> list[str]:
    return [form.format(f"transformer.layer.{i}.{kind}") for i in blocks for kind in kinds]


Q, K, V = (f"attention.{kind}_lin" for kind in "qkv")
LINEARS = [Q, K, V, "attention.out_lin", "ffn.lin1", "ffn.lin2"]
EXTRACTED = [
    pytest.param(list(assignment.QV_LAYER_NAMES), [], id="right"),
    pytest.param(keys([Q, K]), ["extract_other_kinds"], id="queries and keys"),
    pytest.param(keys([Q, K, V]), ["extract_more_kinds"], id="keys as well"),
    pytest.param(keys([V]), ["extract_fewer_kinds"], id="values only"),
    pytest.param(keys(LINEARS), ["extract_all_linears"], id="all linears"),
    pytest.param([*keys(LINEARS), "classifier"], ["extract_all_linears", "extract_head"], id="and the head"),
    pytest.param(keys([Q, V], range(5)), ["extract_fewer_blocks"], id="five blocks"),
    pytest.param(keys([Q, V], form="{}"), ["extract_without_prefix"], id="no prefix"),
    pytest.param(keys([Q], form="{}"), ["extract_without_prefix", "extract_fewer_kinds"], id="no prefix, queries"),
    pytest.param(
        [key.replace("attention.", "") for key in keys([Q, V])], ["extract_without_attention"], id="no attention"
    ),
    pytest.param(keys([Q, V], form="distilbert.{}.weight"), ["extract_parameter_names"], id="parameters"),
    pytest.param(["q_lin", "v_lin"], ["extract_short_names"], id="short names"),
    pytest.param([str(i) for i in range(12)], ["extract_numbers_as_keys"], id="numbers"),
    pytest.param(keys(["attention"]), ["extract_whole_attention"], id="attention blocks"),
    pytest.param([*keys([Q, V]), "distilbert.transformer.layer.0.attention.k_lin"], [], id="one more"),
    pytest.param(["a", "b"], [], id="others"),
]


@pytest.mark.parametrize(("observed", "expected"), EXTRACTED)
def test_extraction(observed: list[str], expected: list[str]) -> None:
    assert [cause.id for cause in extraction.explain(observed)] == expected


ENCODER = [
    *(f"distilbert.embeddings.{name}" for name in ("word_embeddings.weight", "LayerNorm.weight", "LayerNorm.bias")),
    *(f"distilbert.transformer.layer.{i}.ffn.lin1.{part}" for i in range(6) for part in ("weight", "bias")),
]
FROZEN = [
    pytest.param(lambda name: True, ["nothing_frozen"], id="nothing"),
    pytest.param(lambda name: "embeddings" in name, ["embeddings_left"], id="embeddings left"),
    pytest.param(lambda name: ".layer." in name, ["blocks_left"], id="blocks left"),
    pytest.param(lambda name: "layer.5" in name, ["some_blocks_left"], id="last block left"),
    pytest.param(lambda name: name.endswith("bias"), ["biases_left"], id="biases left"),
    pytest.param(lambda name: "layer.5.ffn.lin1.weight" in name, [], id="one tensor"),
    pytest.param(lambda name: False, [], id="right"),
]


@pytest.mark.parametrize(("left", "expected"), FROZEN)
def test_freezing(left: Callable[[str], bool], expected: list[str]) -> None:
    found = freezing.explain_encoder([name for name in ENCODER if left(name)], ENCODER)
    assert [cause.id for cause in found] == expected


NUMBERS = [
    pytest.param(66_955_010, ["nothing_frozen"], id="nothing frozen"),
    pytest.param(592_130, [], id="right"),
    pytest.param(1_538, ["pre_classifier_frozen"], id="classifier only"),
    pytest.param(592_130 + freezing.EMBEDDINGS, ["embeddings_left"], id="embeddings left"),
    pytest.param(592_130 + 2 * freezing.BLOCK, ["some_blocks_left"], id="two blocks left"),
    pytest.param(123, [], id="any number"),
]


@pytest.mark.parametrize(("number", "expected"), NUMBERS)
def test_a_number_alone(number: int, expected: list[str]) -> None:
    assert [cause.id for cause in freezing.explain_number(number)] == expected


SINGLES = {ids[0]: source for ids, source in cause_pairs.list_layers(1)}


@pytest.mark.parametrize(
    "name", ["bias_twice", "fresh_linear", "dropout_always", "detached", "both_zero", "no_forward"]
)
def test_a_layer_that_is_asked(name: str) -> None:
    told = list(examine_layer((name,), SINGLES[name]))
    assert told
    assert all(one.right for one in told), [one.text for one in told]


SPELLED = [
    pytest.param("p.requires_grad = False", "nothing_frozen", id="right"),
    pytest.param("p.require_grad = False", "requires_grad_misspelt", id="a letter is missing"),
    pytest.param("for p in x: p.requires_grad_ = False", "requires_grad_misspelt", id="a method is overwritten"),
    pytest.param("# p.require_grad = False", "nothing_frozen", id="in a comment"),
    pytest.param("assert p.require_grad == False", "nothing_frozen", id="only read"),
    pytest.param("p.requires_grad_(False)", "nothing_frozen", id="the method"),
]


@pytest.mark.parametrize(("source", "expected"), SPELLED)
def test_spelling(source: str, expected: str) -> None:
    (cause,) = freezing.explain_spelling((freezing.NOTHING_FROZEN,), ["import torch", f"x = 1\n{source}"])
    assert cause.id == expected
    assert freezing.explain_spelling((freezing.ONLY_W,), [source]) == (freezing.ONLY_W,)
