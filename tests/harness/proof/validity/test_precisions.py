"""Layers that know float32 only are right in the assignment's model, and wrong ones among them are still found."""

import pytest

from tests.proof.validity.corpus import Base, CaseKind, CorpusCase
from tests.proof.validity.repetition import repeat

pytestmark = pytest.mark.usefixtures("one_thread")

SEEDS = range(20_000, 20_005)
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
IMPORTS = "import torch\nfrom torch import nn"

FRESH, FORWARD, FROZEN, GRADIENTS = (f"step3.lora_{name}" for name in ("fresh", "forward", "frozen", "gradients"))
UPDATE = "(x.float() @ self.A.T @ self.B.T).to(x.dtype)"


@pytest.mark.parametrize(
    ("forward", "failed"),
    [
        pytest.param(f"return self.W(x) + self.scale * {UPDATE}", set(), id="update in float32"),
        pytest.param("x = x.to(self.dtype); return self.W(x) + self.scale * (x @ self.A.T @ self.B.T)", set(),
                     id="kept"),
        pytest.param("x = x + torch.zeros(1, dtype=torch.float64); x = x.float(); "
                     "return self.W(x) + self.scale * (x @ self.A.T @ self.B.T)", set(), id="by way of float64"),
        pytest.param(f"return self.W(x) + self.alpha * {UPDATE}", {FORWARD}, id="alpha alone"),
        pytest.param(f"return self.W(x) + (self.alpha // self.rank) * {UPDATE}", {FORWARD}, id="rounded down"),
        pytest.param(f"return self.W(x) - self.scale * {UPDATE}", {FORWARD}, id="subtracted"),
        pytest.param("return self.W(x) + self.scale * (torch.relu(x.float() @ self.A.T) @ self.B.T)", {FORWARD},
                     id="an activation between"),
        pytest.param(f"return x.float() @ self.W.weight.T + self.scale * {UPDATE}", {FRESH}, id="W's bias is missing"),
        pytest.param(f"return self.W(x) + self.scale * {UPDATE}.detach()", {GRADIENTS}, id="detached"),
        pytest.param("raise RuntimeError('both have the same dtype')", {FRESH, FORWARD, FROZEN, GRADIENTS},
                     id="always raises"),
        pytest.param("x = x.double(); return self.W(x) + self.scale * (x @ self.A.T @ self.B.T)",
                     {FRESH, FORWARD, FROZEN, GRADIENTS}, id="float64 only"),
        pytest.param("if x.dtype != torch.float32: raise ValueError('I do not like it')\n"
                     f"        return self.W(x) + self.scale * {UPDATE}", {FRESH, FORWARD, FROZEN, GRADIENTS},
                     id="raises something else"),
    ],
)  # fmt: skip
def test_layers_that_know_one_precision(forward: str, failed: set[str]) -> None:
    cells = {"imports": IMPORTS, "lora-layer": LAYER.format(forward)}
    case = CorpusCase("x", CaseKind.VARIANT, "", seen=False, cells=tuple(cells.values()), departs=0)
    failures = [failure.split(": ") for failure in repeat(Base(cells), case, SEEDS).failures]
    assert {check for _, check, *_ in failures} == failed
    assert {seed for seed, *_ in failures} == ({f"seed {seed}" for seed in SEEDS} if failed else set())
