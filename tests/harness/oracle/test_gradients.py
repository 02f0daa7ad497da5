"""The gradient challenge: what a kernel answers for a model, and what follows from the model's weights."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from grader import assignment, challenges
from grader.kernel.training import gradients as kernel
from grader.oracle import gradients as oracle
from grader.protocol.plan import GradientQuestion

WIDTH = 24  # of a model as in the assignment otherwise: six blocks, twelve heads
RANK = 3
QUESTION = GradientQuestion([[2, 5, 7, 3], [2, 9, 3, 0]], [[1, 1, 1, 1], [1, 1, 1, 0]], [1, 0], [])
NAMES = [f"{path}.weight" for path in (*assignment.QV_LAYER_NAMES, *assignment.HEAD_MODULES)]


def build() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "max_position_embeddings": 16, "dim": WIDTH, "hidden_dim": 48, "n_heads": 12}
    return DistilBertForSequenceClassification(DistilBertConfig(**sizes, initializer_range=0.3))


class Layer(nn.Module):
    """A LoRA layer with parameters; subclasses make one mistake or have another style."""

    def __init__(self, W: nn.Linear) -> None:
        super().__init__()
        self.W = W.requires_grad_(False)
        self.A = nn.Parameter(torch.randn(RANK, WIDTH))
        self.B = nn.Parameter(torch.zeros(WIDTH, RANK))

    def base(self, x: Tensor) -> Tensor:
        return self.W(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 2 * x @ self.A.T @ self.B.T


class Transposed(Layer):
    def __init__(self, W: nn.Linear) -> None:
        super().__init__(W)
        self.A, self.B = nn.Parameter(torch.randn(WIDTH, RANK)), nn.Parameter(torch.zeros(RANK, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.W(x) + 0.5 * x @ self.A @ self.B


class ZeroA(Layer):
    def __init__(self, W: nn.Linear) -> None:
        super().__init__(W)
        self.A, self.B = nn.Parameter(torch.zeros(RANK, WIDTH)), nn.Parameter(torch.randn(WIDTH, RANK))


class Linears(Layer):
    def __init__(self, W: nn.Linear) -> None:
        super().__init__(W)
        del self.A, self.B
        self.up, self.down = nn.Linear(RANK, WIDTH, bias=False), nn.Linear(WIDTH, RANK, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.W(x) + self.up(self.down(x))


class BaseWithoutGradient(Layer):
    def base(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.W(x)


class BaseOfDetached(Layer):
    def base(self, x: Tensor) -> Tensor:
        return self.W(x.detach())


class Merging(Layer):
    """As in loralib: in evaluation mode the update is a part of W."""

    def train(self, mode: bool = True) -> "Merging":
        if mode != self.training:
            self.W.weight.data += (-1 if mode else 1) * 2 * self.B @ self.A
        super().train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.training else self.W(x)


class Flat(Layer):
    def __init__(self, W: nn.Linear) -> None:
        super().__init__(W)
        del self.A, self.B
        self.both = nn.Parameter(torch.cat([torch.randn(RANK * WIDTH), torch.zeros(RANK * WIDTH)]))

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.both.view(2, RANK, WIDTH)
        return self.W(x) + x @ a.T @ b


def ask(layer: Callable[[nn.Linear], nn.Module] | None) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """The kernel's answer for a model with such layers; gradients and logits that follow from its weights."""
    model = build()
    base = {n: t.clone() for n, t in model.state_dict().items() if n.startswith("distilbert.")}
    state = {n: t.clone() for n, t in model.state_dict().items()}
    if layer:
        model.distilbert.requires_grad_(False)
        for path in assignment.QV_LAYER_NAMES:
            model.set_submodule(path, layer(model.get_submodule(path)))
    question = GradientQuestion(QUESTION.input_ids, QUESTION.attention_mask, QUESTION.labels, NAMES)
    answer = {key: tensor.detach() for key, tensor in kernel.answer(model, base, question).items()}
    logits, expected = oracle.compute(state, question, NAMES)
    return answer, expected, logits


@pytest.mark.parametrize("layer", [None, Layer, Transposed, ZeroA, Linears, BaseWithoutGradient, Flat])
def test_logits_are_those_of_plain_distilbert(layer: Callable[[nn.Linear], nn.Module] | None) -> None:
    answer, _, logits = ask(layer)
    torch.testing.assert_close(answer["logits"], logits)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_plain_distilbert(name: str) -> None:
    answer, expected, _ = ask(None)
    torch.testing.assert_close(answer[f"gradient:{name}"], expected[name][: kernel.ROWS], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "wrong"),
    [
        pytest.param(Layer, 0, id="parameters"),
        pytest.param(Transposed, 0, id="transposed"),
        pytest.param(ZeroA, 0, id="A is zero"),
        pytest.param(Linears, 0, id="B first, and layers"),
        pytest.param(Merging, 0, id="merged in evaluation"),
        pytest.param(BaseWithoutGradient, 10, id="W without gradient"),  # all blocks but the last
        pytest.param(BaseOfDetached, 10, id="W of a detached x"),
        pytest.param(Flat, None, id="not two matrices"),
    ],
)
def test_gradients_of_adapters(layer: type[Layer], wrong: int | None) -> None:
    answer, expected, _ = ask(layer)
    errors = oracle.compare_adapters(answer, expected)
    assert (sum(error > 0.01 for error in errors.values()) if errors else None) == wrong


def test_an_answer_without_a_head_is_not_compared() -> None:
    assert oracle.compare({"logits": torch.zeros(2, 2)}, {}, QUESTION) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("gradient:adapter:{}:0", torch.zeros(40, 1, 1), id="a shape that would spread"),
        pytest.param("gradient:adapter:{}:0", torch.zeros(WIDTH, WIDTH), id="as large as W"),
        pytest.param("adapter:{}:1", torch.zeros(0, WIDTH), id="of no rank"),
        pytest.param("gradient:adapter:{}:1", torch.full((WIDTH, RANK), torch.nan), id="no numbers"),
    ],
)
def test_malformed_adapters_are_never_right(name: str, value: Tensor) -> None:
    answer, expected, _ = ask(Layer)
    answer = {**answer, name.format(assignment.QV_LAYER_NAMES[0]): value}
    errors = oracle.compare_adapters(answer, expected)
    assert not errors or max(errors.values()) == float("inf")


def test_the_question_is_two_reviews_of_which_one_is_padded() -> None:
    question = challenges.draw(3).question
    lengths = [sum(row) for row in question.attention_mask]
    assert lengths[0] == challenges.QUESTION_TOKENS > lengths[1] > 1
    assert [[int(token > 0) for token in row] for row in question.input_ids] == question.attention_mask
    assert sorted(question.labels) == [0, 1]


def test_a_model_is_left_as_it_was() -> None:
    model = build().train()
    model.distilbert.embeddings.eval()  # frozen on purpose
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    kernel.answer(model, {}, GradientQuestion(QUESTION.input_ids, QUESTION.attention_mask, QUESTION.labels, NAMES))
    assert torch.equal(torch.rand(3), drawn)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
