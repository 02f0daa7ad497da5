"""Parameters that are moved after they are made: wrong on a GPU only, so the source is read."""

import pytest

from grader.oracle.lora import find_moved_parameter

CLASS = """
class LoRALayer(nn.Module):
    def __init__(self, W, rank=12, alpha=24, device=None, dtype=None):
        super().__init__()
        self.A = {}
"""


@pytest.mark.parametrize(
    ("made", "moved"),
    [
        ("nn.Parameter(torch.randn(2, 3))", None),
        ("nn.Parameter(torch.randn(2, 3)).float()", None),
        ("nn.Parameter(torch.randn(2, 3)).to(torch.float32)", None),
        ("nn.Parameter(torch.randn(2, 3)).to(dtype=torch.float)", None),
        ("nn.Parameter(torch.randn(2, 3)).to(W.weight.dtype)", None),
        ("nn.Parameter(torch.randn(2, 3)).to(dtype=W.weight.dtype, non_blocking=flag)", None),
        ("nn.Parameter(torch.randn(2, 3)).to(dtype)", None),
        ("nn.Parameter(torch.randn(2, 3)).to(torch.get_default_dtype())", None),
        ("nn.Parameter(torch.randn(2, 3)).type(torch.float32)", None),
        ("nn.Parameter(torch.randn(2, 3).to(device))", None),
        ("nn.Linear(2, 3).to(device)", None),
        ("nn.Parameter(torch.randn(2, 3)).to(device)", "nn.Parameter(...).to(...)"),
        ("nn.Parameter(torch.randn(2, 3)).to(device=device)", "nn.Parameter(...).to(...)"),
        ("nn.Parameter(torch.randn(2, 3)).to('cuda')", "nn.Parameter(...).to(...)"),
        ("nn.Parameter(torch.randn(2, 3)).to(W.weight.device)", "nn.Parameter(...).to(...)"),
        ("nn.Parameter(torch.randn(2, 3)).to(W.weight)", "nn.Parameter(...).to(...)"),
        ("nn.Parameter(torch.randn(2, 3)).to(W.weight.device, W.weight.dtype)", "nn.Parameter(...).to(...)"),
        ("nn.Parameter(torch.randn(2, 3)).to(**placement)", "nn.Parameter(...).to(...)"),
        ("nn.Parameter(torch.randn(2, 3)).type(torch.cuda.FloatTensor)", "nn.Parameter(...).type(...)"),
        ("Parameter(torch.randn(2, 3)).cuda()", "Parameter(...).cuda(...)"),
        ("nn.Parameter(torch.randn(2, 3)).half()", "nn.Parameter(...).half(...)"),
        ("nn.Parameter(torch.randn(2, 3)).double()", "nn.Parameter(...).double(...)"),
    ],
    ids=lambda value: value,
)
def test_moves(made: str, moved: str | None) -> None:
    assert find_moved_parameter([CLASS.format(made)], "LoRALayer") == moved


def test_the_last_definition_counts() -> None:
    moving, right = CLASS.format("nn.Parameter(t).cuda()"), CLASS.format("nn.Parameter(t)")
    assert find_moved_parameter([moving, "%magic", right], "LoRALayer") is None
    assert find_moved_parameter([right, moving], "LoRALayer") is not None
    assert find_moved_parameter([moving], "Other") is None
