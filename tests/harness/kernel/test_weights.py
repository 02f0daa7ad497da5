"""The effective weights of a model, whatever its layers are made of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from grader.kernel import weights, writing
from grader.kernel.probes.toys import build_distilbert
from grader.kernel.training import observation
from grader.oracle.certificates import certify
from grader.protocol.checkpoint import load_base_tensors
from grader.protocol.tensor_names import EMBEDDINGS

WIDTH, RANK, SCALE = 16, 3, 2.0
QUERY = "distilbert.transformer.layer.2.attention.q_lin"
OTHER = "distilbert.transformer.layer.2.attention.k_lin"

# W_eff is computed in float64: products of 16 numbers of size 1, with room to spare.
EXACT = 1e-12


class Linears(nn.Module):
    def __init__(self, W: nn.Linear) -> None:
        super().__init__()
        self.W = W.requires_grad_(False)
        self.A = nn.Linear(WIDTH, RANK, bias=False)
        self.B = nn.Linear(RANK, W.out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.W(x) + SCALE * self.B(self.A(x))

    def effective(self) -> Tensor:
        """W + s · B A, in float64."""
        return self.W.weight.double() + SCALE * self.B.weight.double() @ self.A.weight.double()


class Parameters(nn.Module):
    """Adapters as parameters that lie the other way round, written with @."""

    def __init__(self, W: nn.Linear) -> None:
        super().__init__()
        self.frozen = W.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(WIDTH, RANK))
        self.up = nn.Parameter(torch.randn(RANK, W.out_features))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.frozen.weight, self.frozen.bias) + x @ self.down @ self.up * SCALE

    def effective(self) -> Tensor:
        return self.frozen.weight.double() + SCALE * (self.down.double() @ self.up.double()).T


class Uncopyable(Linears):
    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("cannot pickle")


class Float32Inside(Linears):
    """A layer that makes float32 tensors in its forward pass, so that it does not run in float64."""

    def forward(self, x: Tensor) -> Tensor:
        return self.W(x) + SCALE * (x @ self.A.weight.float().T @ self.B.weight.float().T + torch.zeros(1))

    def to(self, *args: Any, **kwargs: Any) -> Any:
        if torch.float64 in args:
            raise RuntimeError("float64 is not supported")
        return super().to(*args, **kwargs)


class Float32Throughout(Linears):
    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.linear(x.float(), self.W.weight.float(), self.W.bias.float())
        return (y + SCALE * (x.float() @ self.A.weight.float().T @ self.B.weight.float().T)).to(x.dtype)


class Dropping(Linears):
    def forward(self, x: Tensor) -> Tensor:
        return self.W(x) + SCALE * self.B(nn.functional.dropout(self.A(x), 0.5, self.training))


class Nonlinear(Linears):
    def forward(self, x: Tensor) -> Tensor:
        return self.W(x) + SCALE * self.B(torch.relu(self.A(x)))


class Failing(Linears):
    def forward(self, x: Tensor) -> Tensor:
        raise ZeroDivisionError("division by zero")


# In float32: sums of 19 products of size below 4.
STYLES = [
    *((style, "torch.float64", EXACT) for style in (Linears, Parameters, Dropping)),
    *((style, "torch.float32", 2e-5) for style in (Uncopyable, Float32Inside, Float32Throughout)),
]


@pytest.fixture
def pretrained() -> Any:
    return build_distilbert(WIDTH, seed=0)


@pytest.fixture
def base(tmp_path: Path, pretrained: nn.Module) -> dict[str, Tensor]:
    """The encoder of a small pretrained model, read from a file as the kernel does."""
    save_file(dict(pretrained.state_dict().items()), tmp_path / "base.safetensors")
    return load_base_tensors(str(tmp_path / "base.safetensors"))


def wrapped(style: Callable[[nn.Linear], nn.Module], path: str = QUERY, dtype: torch.dtype = torch.float32) -> Any:
    """The pretrained model with one layer wrapped, and the wrapper."""
    torch.manual_seed(3)
    model = build_distilbert(WIDTH, seed=0).to(dtype)
    parent, _, name = path.rpartition(".")
    layer = style(model.get_submodule(path)).to(dtype)
    setattr(model.get_submodule(parent) if parent else model, name, layer)
    return model, layer


def check_difference(tensors: dict[str, Tensor], layer: Any, base: dict[str, Tensor], tolerance: float) -> None:
    expected = layer.effective().detach() - base[f"{QUERY}.weight"].double()
    torch.testing.assert_close(tensors[f"d:{QUERY}.weight"].double(), expected, rtol=1e-6, atol=tolerance)


@pytest.mark.parametrize(("style", "dtype", "tolerance"), STYLES)
def test_effective_weight(style: Any, dtype: str, tolerance: float) -> None:
    _, layer = wrapped(style)
    matrix, bias, how = weights.reduce_linear(layer, WIDTH)
    assert (how.dtype, how.residual < max(tolerance, 1e-12)) == (dtype, True)
    torch.testing.assert_close(matrix, layer.effective().detach(), rtol=0, atol=tolerance)
    frozen = next(m for m in layer.modules() if type(m) is nn.Linear and m.bias is not None)
    torch.testing.assert_close(bias, frozen.bias.detach().double(), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("style", "dtype", "tolerance"), STYLES)
def test_only_the_wrapped_layer_is_exported(style: Any, dtype: str, tolerance: float, base: dict[str, Tensor]) -> None:
    model, layer = wrapped(style)
    tensors, notes = weights.export(model, base)
    encoder = {key for key in tensors if key[2:].startswith("distilbert.")}
    assert encoder - {f"d:{QUERY}.bias"} == {f"d:{QUERY}.weight"}
    assert (notes.unsupported, set(notes.reduced)) == ({}, {QUERY})
    check_difference(tensors, layer, base, tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_difference_has_the_adapters_rank(dtype: torch.dtype, base: dict[str, Tensor]) -> None:
    tensors, _ = weights.export(wrapped(Linears, dtype=dtype)[0], base)
    values = torch.linalg.svdvals(tensors[f"d:{QUERY}.weight"].double())
    # Beyond the rank there is what float32 storage rounds: 6e-8 of the largest, times sqrt(2 · 16) at most.
    assert int((values > 1e-6 * values[0]).sum()) == RANK


def test_a_fresh_wrapper_leaves_no_difference(base: dict[str, Tensor]) -> None:
    model, layer = wrapped(Linears)
    nn.init.zeros_(layer.B.weight)
    tensors, _ = weights.export(model, base)
    assert not [key for key in tensors if key[2:].startswith("distilbert.")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_one_bit_is_a_change_in_any_precision(dtype: torch.dtype, pretrained: Any, base: dict[str, Tensor]) -> None:
    assert weights.find_changed(pretrained.to(dtype), base) == []
    if dtype not in (torch.float32, torch.bfloat16):
        return
    weight = pretrained.get_submodule(OTHER).weight
    with torch.no_grad():
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0, dtype=dtype))
    assert weights.find_changed(pretrained, base) == [f"{OTHER}.weight"]
    assert torch.equal(weights.export(pretrained, base)[0][f"w:{OTHER}.weight"], weight)


def test_layers_that_are_not_linear_or_fail_are_named(base: dict[str, Tensor]) -> None:
    _, notes = weights.export(wrapped(Nonlinear)[0], base)
    assert (notes.reduced[QUERY].residual or 0) > 1e-2
    tensors, notes = weights.export(wrapped(Failing)[0], base)
    assert notes.unsupported == {QUERY: "ZeroDivisionError"}
    assert f"d:{QUERY}.weight" not in tensors


def test_asking_a_layer_leaves_it_as_it_was() -> None:
    _, layer = wrapped(Uncopyable)
    layer.train()
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    weights.reduce_linear(layer, WIDTH)
    assert layer.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())


@pytest.mark.parametrize("path", ["pre_classifier", "classifier"])
def test_a_wrapped_head_is_as_wide_as_the_model(path: str, base: dict[str, Tensor]) -> None:
    model, layer = wrapped(Linears, path)
    tensors, notes = weights.export(model, base)
    assert notes.unsupported == {}
    torch.testing.assert_close(tensors[f"w:{path}.weight"], layer.effective().detach().float())


HOOKS: dict[str, tuple[Callable[[Any], object], list[str]]] = {
    "watches the output": (lambda layer: layer.register_forward_hook(lambda m, a, o: None), []),
    "watches the input": (lambda layer: layer.register_forward_pre_hook(lambda m, a: None), []),
    "changes the output": (lambda layer: layer.register_forward_hook(lambda m, a, o: 2 * o), [QUERY]),
    "raises": (lambda layer: layer.register_forward_hook(lambda m, a, o: 1 / 0), [QUERY]),
}


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_that_do_something_are_part_of_what_a_layer_computes(
    name: str, pretrained: nn.Module, base: dict[str, Tensor]
) -> None:
    hook, found = HOOKS[name]
    hook(pretrained.get_submodule(QUERY))
    assert list(weights.find_wrapped(pretrained, base)) == found
    if name == "changes the output":
        tensors, _ = weights.export(pretrained, base)
        torch.testing.assert_close(tensors[f"d:{QUERY}.weight"], base[f"{QUERY}.weight"])  # 2 W − W


COLLECTING = {  # code that gives `layer` a hook, and an expression of what the hook has collected
    "a list": ("seen = []\nlayer.register_forward_hook(lambda m, a, o: seen.append(o))", "len(seen)"),
    "the input": ("seen = []\nlayer.register_forward_pre_hook(lambda m, a: seen.append(a))", "len(seen)"),
    "a dictionary": ("seen = {}\ndef hook(m, a, o): seen['q'] = o\nlayer.register_forward_hook(hook)", "len(seen)"),
    "a number": (
        "seen = 0\ndef hook(m, a, o):\n    global seen\n    seen += 1\nlayer.register_forward_hook(hook)",
        "seen",
    ),
    "lists by name": (
        "import collections\nseen = collections.defaultdict(list, q=[])\n"
        "layer.register_forward_hook(lambda m, a, o: seen['q'].append(o))",
        "len(seen['q'])",
    ),
    "a closure": (
        "def make():\n    seen = []\n    return seen, lambda m, a, o: seen.append(o)\n"
        "seen, hook = make()\nlayer.register_forward_hook(hook)",
        "len(seen)",
    ),
    "another function": (
        "seen = []\ndef keep(o): seen.append(o)\ndef hook(m, a, o): keep(o)\nlayer.register_forward_hook(hook)",
        "len(seen)",
    ),
    "an argument": (
        "import functools\nseen = []\ndef hook(kept, m, a, o): kept.append(o)\n"
        "layer.register_forward_hook(functools.partial(hook, seen))",
        "len(seen)",
    ),
    "an object": (
        "class Keep:\n    def __init__(self): self.seen, self.calls = [], 0\n"
        "    def hook(self, m, a, o):\n        self.seen.append(o)\n        self.calls += 1\n"
        "keep = Keep()\nlayer.register_forward_hook(keep.hook)",
        "len(keep.seen) + keep.calls",
    ),
    "an output before": (
        "seen = [layer(torch.ones(16)) * 2]\nlayer.register_forward_hook(lambda m, a, o: seen.append(o))",
        "len(seen) - 1",
    ),
    "the layer": (
        "def hook(m, a, o): m.seen = o\nlayer.register_forward_hook(hook)",
        "int(hasattr(layer, 'seen'))",
    ),
}


@pytest.mark.parametrize("name", COLLECTING)
def test_a_hook_that_collects_collects_nothing_of_a_question(
    name: str, pretrained: nn.Module, base: dict[str, Tensor]
) -> None:
    code, collected = COLLECTING[name]
    layer = pretrained.get_submodule(QUERY)
    notebook = {"__name__": "__main__", "torch": torch, "layer": layer}
    exec(code, notebook)
    hooks = [*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()]
    assert list(weights.find_wrapped(pretrained, base)) == []
    assert eval(collected, notebook) == 0
    assert [*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()] == hooks
    layer(torch.ones(1, 16))
    assert eval(collected, notebook) > 0  # it is the student's own again


class Holder(nn.Module):
    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def head(model: Any) -> dict[str, nn.Module]:
    return {"pre_classifier": model.pre_classifier, "classifier": model.classifier}


def rename(model: Any) -> nn.Module:
    return Holder(encoder=model.distilbert, **head(model))


def split(model: Any) -> nn.Module:
    return Holder(embeddings=model.distilbert.embeddings, blocks=model.distilbert.transformer, **head(model))


HOLDERS: dict[str, Callable[[Any], nn.Module]] = {
    "encoder renamed": rename,
    "inside": lambda model: Holder(model=model),
    "inside twice": lambda model: Holder(model=Holder(model=model)),
    "renamed, inside": lambda model: Holder(model=rename(model)),
}
# The encoder and the whole model, one registered before the other.
WITH_BOTH = {**HOLDERS, "both": lambda model: Holder(body=model.distilbert, model=model)}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_an_encoder_is_found_under_any_name(holder: Any, pretrained: Any, base: dict[str, Tensor]) -> None:
    tensors, notes = weights.export(holder(pretrained), base)
    assert notes.reduced == {}
    assert not certify(tensors, base, {}).any_encoder_change
    assert {"w:pre_classifier.weight", "w:classifier.bias"} <= set(tensors)
    tuned, _ = weights.export(holder(build_distilbert(WIDTH, seed=1)), base)
    assert EMBEDDINGS in certify(tuned, base, {}).encoder_changed
    assert len(certify(tuned, base, {}).qv_deltas) == 12


@pytest.mark.parametrize("holder", WITH_BOTH.values(), ids=WITH_BOTH)
def test_an_adapter_is_found_under_any_name(holder: Any, base: dict[str, Tensor]) -> None:
    model, layer = wrapped(Linears)
    held = holder(model)
    seen = observation.describe_entry(held, base)
    assert (seen.wrapped, seen.changed) == ({QUERY: "Linears"}, ())
    assert seen.adapters == {QUERY: ((RANK, WIDTH), (WIDTH, RANK))}
    check_difference(weights.export(held, base)[0], layer, base, EXACT)


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_what_is_trainable_has_its_pretrained_name(holder: Any, pretrained: Any, base: dict[str, Tensor]) -> None:
    assert set(base) < set(observation.describe_entry(holder(pretrained), base).trainable_names)
    pretrained.distilbert.requires_grad_(False)
    names = tuple(f"{layer}.{kind}" for layer in head(pretrained) for kind in ("weight", "bias"))
    assert observation.describe_entry(holder(pretrained), base).trainable_names == names
    assert observation.hash_head(holder(pretrained)) == observation.hash_head(pretrained)


@pytest.mark.parametrize("holder", [split, lambda model: nn.Sequential(model.classifier)], ids=["in parts", "hidden"])
def test_tensors_that_are_nowhere_to_be_found_are_named(holder: Any, base: dict[str, Tensor]) -> None:
    tensors, notes = weights.export(holder(build_distilbert(WIDTH, seed=1)), base)
    certificate = certify(tensors, base, notes.reduced)
    assert certificate.find_absent(base) == sorted(base)
    assert not certificate.encoder_changed


def test_linear_paths_are_derived_from_the_file(base: dict[str, Tensor]) -> None:
    paths = weights.list_linear_paths(base)
    assert len(paths) == 6 * 6 + 2
    assert not [path for path in paths if "embeddings" in path or "layer_norm" in path]


def test_shared_tensors_are_written(tmp_path: Path) -> None:
    weight = torch.arange(6.0).view(2, 3)
    writing.write_tensors(str(tmp_path), "x.safetensors", {"a": weight, "b": weight, "c": weight.T, "d": weight[0]})
    read = load_file(tmp_path / "x.safetensors")
    assert torch.equal(read["b"], weight)
    assert torch.equal(read["c"], weight.T)


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("payload", "written"),
    [
        pytest.param({"loss": float("nan")}, '{"loss": null}', id="nan"),
        pytest.param([float("inf"), (1, -float("inf"))], "[null, [1, null]]", id="infinities, nested"),
        pytest.param(writing.cut("\ud800"), '"?"', id="a lone surrogate"),
        pytest.param(writing.cut(Hostile()), '"<Hostile>"', id="an object that cannot be shown"),
        pytest.param(len(writing.cut("x" * 10_000)) < 600, "true", id="a long text"),
    ],
)
def test_json(payload: Any, written: str, tmp_path: Path) -> None:
    writing.write_json(str(tmp_path), "x.json", payload)
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == written
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_what_a_notebook_puts_in_the_way_of_a_record(tmp_path: Path) -> None:
    (tmp_path / "x.json" / "inner").mkdir(parents=True)
    (tmp_path / "x.partial").mkdir()
    writing.write_json(str(tmp_path), "x.json", [])
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == "[]"
