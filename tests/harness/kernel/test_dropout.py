"""Quick dropout masks: the same distribution, one seed one result, and gone when the training is."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from grader.kernel.training.dropout import use_fast_masks

COUNT = 1 << 20


@pytest.fixture
def _fast() -> Iterator[None]:
    torch.manual_seed(0)
    with use_fast_masks():
        yield


fast = pytest.mark.usefixtures("_fast")


@fast
@pytest.mark.parametrize("p", [0.0, 1e-4, 0.1, 0.5, 0.9, 0.99999, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.bool], ids=str)
def test_share_of_ones(p: float, dtype: torch.dtype) -> None:
    share = float(torch.empty(COUNT, dtype=dtype).bernoulli_(p).double().mean())
    # five standard deviations of a mean of COUNT draws, and the rounding of p
    assert abs(share - p) <= 5 * (p * (1 - p) / COUNT) ** 0.5 + 2**-16


@fast
def test_neighbours_and_masks_in_a_row_are_independent() -> None:
    mask = torch.empty(COUNT).bernoulli_(0.5) - 0.5
    for lag in (1, 2, 3, 4, 5, 64):
        correlation = float((mask[lag:] * mask[:-lag]).mean()) / 0.25
        assert abs(correlation) < 5 / COUNT**0.5
    assert not torch.equal(torch.empty(999).bernoulli_(0.5), torch.empty(999).bernoulli_(0.5))


@fast
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 3, 7)], ids=str)
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert set(torch.empty(shape).bernoulli_(0.5).flatten().tolist()) <= {0.0, 1.0}
    assert torch.empty(7, 5).t().bernoulli_(0.5).shape == (5, 7)


def drawn(seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    with use_fast_masks():
        return functional.dropout(torch.ones(1000), 0.1)


@fast
def test_the_seed_or_a_generator_of_ones_own_decides() -> None:
    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    first, again = (torch.empty(99).bernoulli_(0.5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)


@fast
@pytest.mark.parametrize("reentrant", [None, False, True], ids=["as it is", "checkpoint", "reentrant checkpoint"])
def test_gradients_follow_the_mask_also_in_a_second_pass(reentrant: bool | None) -> None:
    x = torch.ones(1000, requires_grad=True)
    dropout = functional.dropout
    y = dropout(x, 0.1) if reentrant is None else checkpoint(dropout, x, 0.1, use_reentrant=reentrant)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
    assert y.detach().unique().tolist() == pytest.approx([0, 1 / 0.9])


@fast
@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_impossible_chances_are_refused(p: float) -> None:
    with pytest.raises(RuntimeError, match=r"p to be in \[0, 1\]"):
        torch.empty(3).bernoulli_(p)


def test_torch_is_itself_afterwards() -> None:
    torch.manual_seed(5)
    before = torch.empty(99).bernoulli_(0.3)
    with warnings.catch_warnings(record=True) as seen, pytest.raises(ZeroDivisionError), use_fast_masks():
        raise ZeroDivisionError
    torch.manual_seed(5)
    assert torch.equal(torch.empty(99).bernoulli_(0.3), before)
    assert not seen
