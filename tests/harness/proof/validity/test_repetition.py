"""Verdicts on right LoRA layers do not depend on the draw, and on wrong ones neither.

Layers that know float32 only are right in the assignment's model, and wrong ones among them are still found.
"""

from collections.abc import Iterable, Iterator

import pytest
import torch

from tests.proof.validity.corpus import Base, CaseKind, CorpusCase
from tests.proof.validity.corpus_run import REPEATED_VARIANTS, load
from tests.proof.validity.repetition import repeat

BASE, CORPUS = load()
CASES = {case.id: case for case in CORPUS}
SEEDS, FEW_SEEDS = range(10_000, 10_020), range(20_000, 20_005)
FRESH, FORWARD, FROZEN, GRADIENTS = (f"step3.lora_{name}" for name in ("fresh", "forward", "frozen", "gradients"))
WRONG = {
    "scale_square_root": FORWARD,
    "scale_floor": FORWARD,
    "update_subtracted": FORWARD,
    "relu_between": FORWARD,
    "almost_zero": FRESH,
    "weight_untransposed": FRESH,
    "bias_dropped": FRESH,
    "detached": GRADIENTS,
    "W_unfrozen_in_the_class": FROZEN,
    "rank_hard_coded": "step3.lora_registered",
}
LAYER = """
class LoRALayer(nn.Module):
    def __init__(self, W, rank=12, alpha=24):
        super().__init__()
        self.W, self.rank, self.alpha, self.scale, self.dtype = W, rank, alpha, alpha / rank, torch.float32
        self.A = nn.Parameter(torch.randn(rank, W.in_features) * 0.01)
        self.B = nn.Parameter(torch.zeros(W.out_features, rank))

    def forward(self, x):
        {}
"""
UPDATE = "(x.float() @ self.A.T @ self.B.T).to(x.dtype)"
ADDED = "return self.W(x) + self.scale *"
DISLIKED = "if x.dtype != torch.float32: raise ValueError('I do not like it')"
UNUSABLE = {FRESH, FORWARD, FROZEN, GRADIENTS}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """For layers of 16 to 48 units, which are not worth a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def failing_seeds(failures: Iterable[str]) -> dict[str, set[str]]:
    """Check -> "seed 7" and others with which it failed."""
    found: dict[str, set[str]] = {}
    for seed, check, *_ in (failure.split(": ") for failure in failures):
        found.setdefault(check, set()).add(seed)
    return found


def all_of(seeds: Iterable[int]) -> set[str]:
    return {f"seed {seed}" for seed in seeds}


@pytest.mark.parametrize("name", ["reference", *REPEATED_VARIANTS])
def test_right_layer_passes_for_every_seed(name: str) -> None:
    assert repeat(BASE, CASES[name], SEEDS) == ()


@pytest.mark.parametrize(("name", "check"), WRONG.items())
def test_wrong_layer_fails_for_every_seed(name: str, check: str) -> None:
    assert failing_seeds(repeat(BASE, CASES[name], SEEDS))[check] == all_of(SEEDS)


@pytest.mark.parametrize(
    ("forward", "failed"),
    [
        pytest.param(f"{ADDED} {UPDATE}", set(), id="update in float32"),
        pytest.param(f"x = x.to(self.dtype); {ADDED} (x @ self.A.T @ self.B.T)", set(), id="kept"),
        pytest.param(
            f"x = (x + torch.zeros(1, dtype=torch.float64)).float(); {ADDED} (x @ self.A.T @ self.B.T)",
            set(),
            id="by way of float64",
        ),
        pytest.param(f"return self.W(x) + self.alpha * {UPDATE}", {FORWARD}, id="alpha alone"),
        pytest.param(f"return self.W(x) + (self.alpha // self.rank) * {UPDATE}", {FORWARD}, id="rounded down"),
        pytest.param(f"return self.W(x) - self.scale * {UPDATE}", {FORWARD}, id="subtracted"),
        pytest.param(f"{ADDED} (torch.relu(x.float() @ self.A.T) @ self.B.T)", {FORWARD}, id="an activation between"),
        pytest.param(f"return x.float() @ self.W.weight.T + self.scale * {UPDATE}", {FRESH}, id="W's bias is missing"),
        pytest.param(f"{ADDED} {UPDATE}.detach()", {GRADIENTS}, id="detached"),
        pytest.param("raise RuntimeError('both have the same dtype')", UNUSABLE, id="always raises"),
        pytest.param(f"x = x.double(); {ADDED} (x @ self.A.T @ self.B.T)", UNUSABLE, id="float64 only"),
        pytest.param(f"{DISLIKED}\n        {ADDED} {UPDATE}", UNUSABLE, id="raises something else"),
    ],
)
def test_layers_that_know_one_precision(forward: str, failed: set[str]) -> None:
    cells = {"imports": "import torch\nfrom torch import nn", "lora-layer": LAYER.format(forward)}
    case = CorpusCase("x", CaseKind.VARIANT, "", seen=False, cells=tuple(cells.values()), departs=0)
    failures = failing_seeds(repeat(Base(cells), case, FEW_SEEDS))
    assert set(failures) == failed
    assert set().union(*failures.values()) == (all_of(FEW_SEEDS) if failed else set())
