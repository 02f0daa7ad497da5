"""Certificates find exactly what changed and by what rank; of broken weights they state facts and never crash."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from grader import assignment
from grader.oracle.certificates import FLOAT32_NOISE, SKETCH, certify, compute_rank
from grader.protocol.records import Reduction

repeatable = settings(derandomize=True, deadline=None, max_examples=40)

PATH = assignment.QV_LAYER_NAMES[0]
QUERY = f"{PATH}.weight"
WORDS, BIAS = "distilbert.embeddings.word_embeddings.weight", "distilbert.transformer.layer.0.ffn.lin1.bias"
BASE = {QUERY: torch.ones(8, 8), WORDS: torch.ones(5, 8)}


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@repeatable
@given(
    rank=st.integers(0, SKETCH + 8),
    height=st.integers(SKETCH + 16, 160),
    width=st.integers(SKETCH + 16, 160),
    size=st.sampled_from([1e-3, 1.0, 1e3]),
    computed_in=st.sampled_from(["float64", "float32"]),
    seed=st.integers(0, 99),
)
def test_the_rank_is_found(rank: int, height: int, width: int, size: float, computed_in: str, seed: int) -> None:
    """A layer is added up in float64 or, where it cannot be copied to that, in float32; differences are in float32."""
    pretrained = normal(seed, height, width).float().double()
    update = size * normal(seed + 100, height, rank) @ normal(seed + 200, rank, width)
    trained = (pretrained + update).to(getattr(torch, computed_in)).double()
    difference = (trained - pretrained).float()
    assert compute_rank(difference, FLOAT32_NOISE if computed_in == "float32" else 0.0) == rank


ENCODER = (WORDS, BIAS)
QV = {f"{path}.weight": path for path in assignment.QV_LAYER_NAMES}
PRETRAINED = {name: normal(number, 6, 5).float() for number, name in enumerate((*ENCODER, *QV))}
HEAD = tuple(f"{name}.weight" for name in assignment.HEAD_MODULES)


@repeatable
@given(changed=st.sets(st.sampled_from(tuple(PRETRAINED))), whole=st.sets(st.sampled_from(tuple(PRETRAINED))))
def test_exactly_what_changed_is_found(changed: set[str], whole: set[str]) -> None:
    """Whether tensors are exported whole or as differences, and in whatever precision the equal ones are."""
    outer = torch.outer(normal(0, 6), normal(1, 5)).float()
    exported = {}
    for name, base in PRETRAINED.items():
        update = outer if name in changed else torch.zeros(6, 5)
        exported |= {f"w:{name}": (base + update).double()} if name in whole else {f"d:{name}": update}
    certificate = certify(exported, PRETRAINED, {})
    assert certificate.encoder_changed == tuple(sorted(changed.intersection(ENCODER)))
    assert certificate.qv_deltas.keys() == {QV[name] for name in changed.intersection(QV)}
    assert all(certificate.qv_ranks[QV[name]] == 1 for name in changed.intersection(QV) - whole)
    assert certificate.any_encoder_change == bool(changed)
    assert not certificate.head_changed


@pytest.mark.parametrize("name", HEAD)
def test_a_changed_head_is_found(name: str) -> None:
    certificate = certify({f"w:{name}": torch.ones(2, 2)}, PRETRAINED, {})
    assert (certificate.head_changed, certificate.any_encoder_change) == (True, False)


@pytest.mark.parametrize(
    ("tensors", "changed", "ranks"),
    [
        pytest.param({f"d:{QUERY}": torch.full((8, 8), float("nan"))}, (), {PATH: 8}, id="a difference of nan"),
        pytest.param({f"w:{QUERY}": torch.full((8, 8), float("inf"))}, (), {PATH: 8}, id="infinite weights"),
        pytest.param({f"d:{QUERY}": torch.full((8, 8), 1e38)}, (), {PATH: 1}, id="huge and of rank one"),
        pytest.param({f"w:{QUERY}": torch.ones(9, 8)}, (QUERY,), {}, id="another shape"),
        pytest.param({f"w:{QUERY}": torch.ones(0, 8)}, (QUERY,), {}, id="nothing in it"),
        pytest.param({f"d:{QUERY}": torch.ones(3)}, (QUERY,), {}, id="a vector"),
        pytest.param({"w:no.such.tensor": torch.ones(3)}, (), {}, id="an unknown name"),
        pytest.param({"x": torch.ones(3)}, (), {}, id="a name that is too short"),
        pytest.param({f"w:{WORDS}": torch.ones(6, 8)}, (WORDS,), {}, id="embeddings for one more word"),
    ],
)
def test_broken_weights(tensors: dict[str, Tensor], changed: tuple[str, ...], ranks: dict[str, int]) -> None:
    certificate = certify(tensors, BASE, {})
    assert (certificate.encoder_changed, certificate.qv_ranks) == (changed, ranks)


@pytest.mark.parametrize(
    ("reduced", "unreadable", "absent"),
    [
        pytest.param({}, (), [], id="plain"),
        pytest.param({PATH: Reduction(dtype="torch.float64", residual=1e-12)}, (), [], id="a linear layer"),
        pytest.param({PATH: Reduction(dtype="torch.float64", residual=0.5)}, (PATH,), [], id="one that is not linear"),
        pytest.param({QUERY: Reduction(dtype="absent", residual=None)}, (QUERY,), [QUERY], id="a tensor that is gone"),
    ],
)
def test_what_cannot_be_read(reduced: dict[str, Reduction], unreadable: tuple[str, ...], absent: list[str]) -> None:
    certificate = certify({}, BASE, reduced)
    assert (certificate.unreadable, certificate.find_absent(BASE)) == (unreadable, absent)
    assert not certificate.any_encoder_change  # so that a model without its encoder does not pass for a trained one
