"""Training loops without Trainer: what is recorded, when they end, and that their code notices nothing."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import Adafactor, DistilBertModel

from grader.kernel.probes.toys import build_distilbert
from grader.kernel.training import loops
from grader.kernel.training.loops import TOKENS_WHEN_SPENT, LoopWatcher
from grader.kernel.training.work import Meter
from grader.protocol.plan import Budget, Plan
from grader.protocol.records import Entry, Training

ROWS, TOKENS = 48, 12
RATES = dict.fromkeys(("full", "head", "lora"), 0.01)
BUDGET = Budget(max_steps=2, batch_size=4, max_tokens=6, train_rows=8, eval_rows=8, learning_rates=RATES)


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A watcher of this process under a budget, until the test is over."""
    monkeypatch.setattr(DataLoader, "__iter__", DataLoader.__iter__)  # to be undone
    monkeypatch.setattr(DistilBertModel, "forward", DistilBertModel.forward)
    plan = Plan(seed=0, evidence="", inputs={}, base_weights="", names={}, budget=BUDGET)
    watching = LoopWatcher(Notes(plan))  # type: ignore[arg-type]
    watching.install()
    yield watching
    for hook in watching.hooks:
        hook.remove()


@pytest.fixture
def widths(watcher: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each pass through the model has read."""
    seen: list[int] = []
    original = DistilBertModel.forward

    def forward(model: Any, *args: Any, **kwargs: Any) -> Any:
        answer = original(model, *args, **kwargs)
        seen.append(answer.last_hidden_state.shape[1])
        return answer

    monkeypatch.setattr(DistilBertModel, "forward", forward)
    return seen


@dataclass
class Notes:
    """Takes the recorder's part: notes which models were trained, for how many steps, and how they ended."""

    plan: Plan
    depth: int = 0
    records: list[Training] = field(default_factory=list)
    models: list[nn.Module] = field(default_factory=list)
    weights: list[torch.Tensor] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)
    evaluations: list[tuple[Any, Any, int]] = field(default_factory=list)

    def begin(self, model: nn.Module, via: str) -> Training:
        names = tuple(name for name, p in model.named_parameters() if p.requires_grad)
        entry = Entry(type(model).__name__, trainable=0, total=0, trainable_names=names)
        self.records.append(Training(len(self.records), via, finished=False, entry=entry))
        self.models.append(model)
        return self.records[-1]

    def end(self, record: Training, model: nn.Module, seconds: float, steps: int) -> None:
        record.steps = steps
        self.weights.append(model.classifier.weight.detach().clone())

    def note_evaluation(self, encoder: Any, dataset: Any, rows: int) -> None:
        self.evaluations.append((encoder, dataset, rows))


def recorded(watcher: Any) -> list[Training]:
    """The trainings by the end of the cell."""
    watcher.end_cell()
    return list(watcher.recorder.records)


def model() -> nn.Module:
    return build_distilbert(8, 0)


def loader(batch_size: int, data: Any = None) -> DataLoader[Any]:
    ids = torch.randint(5, 50, (ROWS, TOKENS), generator=torch.Generator().manual_seed(0))
    return DataLoader(data or TensorDataset(ids, torch.arange(ROWS) % 2), batch_size=batch_size)


def fit(net: nn.Module, batches: DataLoader[Any], every: int = 1, epochs: int = 1) -> None:
    """A loop as students write it, with a step after every so many batches."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.train()
    for _ in range(epochs):
        for i, (ids, labels) in enumerate(batches):
            net(input_ids=ids, labels=labels).loss.backward()
            if (i + 1) % every == 0:
                optimizer.step()
                optimizer.zero_grad()


BATCHES = {
    "the budget's own size": (4, 1, 2),
    "small batches": (2, 1, 4),
    "large batches": (16, 1, 1),
    "accumulated": (2, 2, 2),
    "accumulated beyond the budget": (4, 4, 1),
}


@pytest.mark.parametrize(("size", "every", "steps"), BATCHES.values(), ids=BATCHES)
def test_a_loop_sees_as_many_reviews_as_the_budget(watcher: Any, size: int, every: int, steps: int) -> None:
    fit(model(), loader(size), every)
    assert [record.steps for record in recorded(watcher)] == [steps]


def test_without_a_budget_a_loop_trains_as_written(watcher: Any) -> None:
    watcher.recorder.plan = replace(watcher.recorder.plan, budget=None)
    fit(model(), loader(4), epochs=2)
    assert [record.steps for record in recorded(watcher)] == [2 * ROWS // 4]


def test_each_model_trained_in_one_cell_is_a_training(watcher: Any) -> None:
    models = [model() for _ in range(3)]
    for net in models:
        fit(net, loader(4))
    assert [record.steps for record in recorded(watcher)] == [2] * 3
    assert watcher.recorder.models == models


def test_a_model_trained_again_is_another_training_and_the_first_ends_before(watcher: Any) -> None:
    net = model()
    fit(net, loader(4))
    between = net.classifier.weight.detach().clone()
    fit(net, loader(4))
    watcher.end_cell()
    first, second = watcher.recorder.weights
    assert torch.equal(first, between)
    assert not torch.equal(second, between)


def test_two_optimisers_that_take_turns_are_not_a_training_each_time(watcher: Any) -> None:
    net = model()
    encoder, head = (torch.optim.SGD(part.parameters(), lr=0.1) for part in (net.distilbert, net.classifier))
    net.train()
    for ids, labels in loader(2):
        net(input_ids=ids, labels=labels).loss.backward()
        encoder.step()
        head.step()
    assert len(recorded(watcher)) == 2  # the first step, before the second optimiser shows up, and all the rest
    assert watcher.recorder.models[1] is net


def test_toys_are_not_recorded(watcher: Any) -> None:
    toy = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(toy.parameters(), lr=0.1)
    for _ in range(3):
        toy(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert recorded(watcher) == []
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_evaluation_gets_every_row(watcher: Any, widths: list[int]) -> None:
    net = model()
    fit(net, loader(4))
    net.eval()
    widths.clear()
    with torch.no_grad():
        predicted = [net(input_ids=ids).logits.argmax(-1) for ids, _ in loader(4)]
    assert sum(map(len, predicted)) == ROWS
    assert widths == [BUDGET.max_tokens] * 2 + [TOKENS_WHEN_SPENT] * (ROWS // 4 - 2)


def test_a_loop_over_slices_is_short_when_the_budget_is_spent(watcher: Any, widths: list[int]) -> None:
    net, data = model(), loader(4).dataset.tensors  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(net.parameters())
    net.train()
    for start in range(0, ROWS, 4):
        net(input_ids=data[0][start : start + 4], labels=data[1][start : start + 4]).loss.backward()
        optimizer.step()
    assert widths[-1] == TOKENS_WHEN_SPENT
    assert optimizer.param_groups[0]["lr"] == 0  # and nothing is learned any more
    assert all(parameter.grad is None for parameter in net.parameters())  # nor computed
    assert recorded(watcher)[0].steps == ROWS // 4


def take_by_backward(loss: torch.Tensor, parameters: list[nn.Parameter]) -> list[Any]:
    loss.backward()
    return [parameter.grad for parameter in parameters]


def take_by_grad(loss: torch.Tensor, parameters: list[nn.Parameter]) -> list[Any]:
    return list(torch.autograd.grad(loss, parameters))


@pytest.mark.parametrize("frozen", [False, True], ids=["full", "head only"])
@pytest.mark.parametrize("take", [take_by_backward, take_by_grad])
def test_a_loop_can_look_at_all_gradients_when_the_budget_is_spent(watcher: Any, take: Any, frozen: bool) -> None:
    net = model().train()
    net.distilbert.requires_grad_(not frozen)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    norms = []
    for ids, labels in [batch for _ in range(2) for batch in loader(4)]:
        gradients = take(net(input_ids=ids, labels=labels).loss, trained)
        norms.append(max(gradient.norm().item() for gradient in gradients))
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(trained, 1e-3)
        optimizer.step()
        optimizer.zero_grad()
    assert min(norms) > 0  # the head's


def test_outside_of_loops_nothing_is_cut(watcher: Any, widths: list[int]) -> None:
    net = model()
    ids, _ = next(iter(loader(4)))  # a batch taken by hand does not start a loop
    assert torch.equal(net(input_ids=ids).logits, copy.deepcopy(net)(ids).logits)
    assert widths == [TOKENS, TOKENS]


def test_outside_of_loops_many_rows_are_cut_until_the_cell_ends(
    watcher: Any, widths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an accuracy that goes over slices of all reviews does, before a training."""
    monkeypatch.setattr(loops, "TOKENS_OUTSIDE", 2 * 4 * TOKENS)
    net, ids = model().eval(), loader(4).dataset.tensors[0][:4]  # type: ignore[attr-defined]
    for _ in range(4):
        net(input_ids=ids)
    watcher.end_cell()
    net(input_ids=ids)
    assert widths == [TOKENS, TOKENS, TOKENS_WHEN_SPENT, TOKENS_WHEN_SPENT, TOKENS]


def test_the_learning_rate_is_the_notebooks(watcher: Any) -> None:
    """Not the budget's, and not that at which a schedule begins."""
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / 10)
    for _ in range(2):
        for ids, labels in loader(4):
            net(input_ids=ids, labels=labels).loss.backward()
            optimizer.step()
            schedule.step()
        watcher.end_cell()
    assert [record.arguments["learning_rate"] for record in watcher.recorder.records] == [0.3, 0.3]


def evaluate(net: Any, batches: Any) -> None:
    net.eval()
    with torch.no_grad():
        for ids, *_ in batches:
            net(input_ids=ids)


def test_what_is_read_without_a_step_is_an_evaluation(watcher: Any) -> None:
    net, other, learned = model(), model(), loader(4)
    few = TensorDataset(*(part[:8] for part in learned.dataset.tensors))  # type: ignore[attr-defined]
    evaluate(net, loader(4, few))
    fit(net, learned)
    evaluate(net, loader(4, few))
    evaluate(other, learned)
    evaluate(net, [few[:2]])  # without a data loader
    for ids, _ in loader(4, few):
        net(input_ids=ids)  # with gradients, which nobody uses
    found = watcher.recorder.evaluations
    assert [(encoder, rows) for encoder, _, rows in found] == [
        *((net.distilbert, 8), (net.distilbert, 8), (other.distilbert, ROWS), (net.distilbert, 2), (net.distilbert, 8))
    ]
    assert [data for _, data, _ in found] == [few, few, learned.dataset, None, few]


def freeze_and_step_in_evaluation_mode(net: Any, batches: DataLoader[Any]) -> None:
    """As where the encoder is only read, and `train()` is forgotten."""
    optimizer = torch.optim.AdamW(net.classifier.parameters(), lr=1e-3)
    net.eval()
    for ids, labels in batches:
        with torch.no_grad():
            hidden = net.distilbert(input_ids=ids).last_hidden_state[:, 0]
        nn.functional.cross_entropy(net.classifier(hidden), labels).backward()
        optimizer.step()


def test_a_training_is_no_evaluation_whatever_its_mode(watcher: Any) -> None:
    freeze_and_step_in_evaluation_mode(model(), loader(4))
    assert len(recorded(watcher)) == 1
    assert watcher.recorder.evaluations == []


class Own(nn.Module):
    """A class of the notebook's own around the pretrained network, with a head of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = model().distilbert, nn.Linear(8, 2)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> Any:
        logits = self.head(self.encoder(input_ids=input_ids).last_hidden_state[:, 0])
        return SimpleNamespace(loss=nn.functional.cross_entropy(logits, labels))


def test_a_model_of_the_notebooks_own_class_is_found(watcher: Any) -> None:
    net = Own()
    fit(net, loader(4))
    assert [record.steps for record in recorded(watcher)] == [2]
    assert watcher.recorder.models == [net]


def test_weights_are_kept_before_a_model_is_set_back(watcher: Any) -> None:
    """As where one model is trained by several methods in one cell."""
    net = model()
    start = copy.deepcopy(net.state_dict())
    for _ in range(2):
        fit(net, loader(4))
        net.load_state_dict(start)
    assert len(recorded(watcher)) == 2
    assert not any(torch.equal(kept, start["classifier.weight"]) for kept in watcher.recorder.weights)


NEXT = """
batches = iter(loader)
for _ in range(len(loader)):
    ids, labels = next(batches)
    net(input_ids=ids, labels=labels).loss.backward()
    optimizer.step()
    read += 1
"""


@pytest.mark.parametrize(
    ("code", "read"),
    [
        pytest.param(NEXT, ROWS // 4, id="next"),
        pytest.param(
            NEXT.replace(
                "for _ in range(len(loader)):\n    ids, labels = next(batches)", "for ids, labels in batches:"
            ),
            2,
            id="for",
        ),
    ],
)
def test_a_notebook_that_asks_for_the_next_batch_gets_it(watcher: Any, code: str, read: int) -> None:
    net = model().train()
    names = {"net": net, "loader": loader(4), "optimizer": torch.optim.AdamW(net.parameters()), "read": 0}
    exec(code, {"__name__": "__main__"} | names, names)
    assert names["read"] == read


def test_reviews_in_lists_are_not_taken_for_those_of_another_loader(watcher: Any) -> None:
    net, batches = model(), [*loader(4)]
    evaluate(net, loader(4))
    fit(net, batches)  # type: ignore[arg-type]
    assert [record.data.train for record in recorded(watcher)] == [None]


def test_an_optimiser_without_a_learning_rate_is_recorded(watcher: Any) -> None:
    net = model().train()
    optimizer = Adafactor(net.parameters(), relative_step=True, warmup_init=True, lr=None)
    for ids, labels in loader(4):
        net(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    assert [record.arguments["learning_rate"] for record in recorded(watcher)] == [None]


@pytest.mark.parametrize(("width", "tokens"), [(16, None), (17, 17)], ids=["as many as positions", "too many"])
def test_reviews_that_are_too_long_are_noted(watcher: Any, width: int, tokens: int | None) -> None:
    """The budget cuts them, so that no cell fails here."""
    fit(model(), loader(4, TensorDataset(torch.full((ROWS, width), 7), torch.arange(ROWS) % 2)))
    (record,) = recorded(watcher)
    assert (record.batch and record.batch.tokens) == tokens


def test_inside_of_trainer_loops_are_left_to_it(watcher: Any) -> None:
    watcher.recorder.depth = 1
    fit(model(), loader(4))
    assert recorded(watcher) == []
