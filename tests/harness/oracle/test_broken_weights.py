"""Certificates of weights that no sound training leaves: facts, never a crash."""

import pytest
import torch
from torch import Tensor

from grader import assignment
from grader.oracle.certificates import certify
from grader.protocol.records import Reduction

PATH = assignment.QV_LAYER_NAMES[0]
QUERY = f"{PATH}.weight"
BASE = {QUERY: torch.ones(8, 8), "distilbert.embeddings.word_embeddings.weight": torch.ones(5, 8)}


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
        pytest.param(
            {"w:distilbert.embeddings.word_embeddings.weight": torch.ones(6, 8)},
            ("distilbert.embeddings.word_embeddings.weight",),
            {},
            id="embeddings for one more word",
        ),
    ],
)
def test_broken_weights(tensors: dict[str, Tensor], changed: tuple[str, ...], ranks: dict[str, int]) -> None:
    certificate = certify(tensors, BASE, {})
    assert certificate.encoder_changed == changed
    assert certificate.qv_ranks == ranks


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
    assert certificate.unreadable == unreadable
    assert certificate.find_absent(BASE) == absent
    assert not certificate.any_encoder_change  # so that a model without its encoder does not pass for a trained one
