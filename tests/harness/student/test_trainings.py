"""Trainings in cells, by loops and by Trainers, on small models: what the check says of them afterwards."""

from collections.abc import Iterator
from pathlib import Path
import pytest
from IPython.core.interactiveshell import InteractiveShell
from transformers import Trainer

from grader.kernel.probes.toys import build_distilbert
from grader.student import commands
from grader.student import watch as watch_module
from grader.student.watch import Watch

FIT = """import itertools, torch
seeds = itertools.count()
def load():
    return build_distilbert(8, next(seeds))
def make(model):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
def step(model, optimizer):
    model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([1])).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
def fit(model):
    optimizer = make(model)
    for _ in range(2):
        step(model, optimizer)
def freeze(model):
    model.distilbert.requires_grad_(False)"""
LAYER = """class LoRALayer(torch.nn.Module):
    def __init__(self, W, rank=2, alpha=4):
        super().__init__()
        self.W, self.A = W.requires_grad_(False), torch.nn.Linear(W.in_features, rank, bias=False)
        self.B = torch.nn.Linear(rank, W.out_features, bias=False)
    def forward(self, x):
        return self.W(x) + self.B(self.A(x))
def wrap(model):
    for layer in model.distilbert.transformer.layer:
        layer.attention.q_lin, layer.attention.v_lin = map(LoRALayer, (layer.attention.q_lin, layer.attention.v_lin))"""
FULL = "full_model = load()\nfit(full_model)"
HEAD = "head_model = load()\nfreeze(head_model)\nfit(head_model)"

FOLLOWED = ((Trainer, "train"), (Trainer, "save_model"))


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A shell that is watched, with functions for loops in it, and no training of before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    watch = Watch()
    monkeypatch.setattr(watch_module, "WATCH", watch)
    for owner, name in FOLLOWED:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    hook = watch._install()
    shell.user_ns["build_distilbert"] = build_distilbert
    run(shell, FIT, LAYER)
    yield shell
    hook.remove()
    shell.reset()
    InteractiveShell.clear_instance()


def run(shell: InteractiveShell, *cells: str, fails: bool = False) -> None:
    """Run cells; the last one fails if it should."""
    for index, cell in enumerate(cells):
        result = shell.run_cell(cell, store_history=True)
        assert result.success is not (fails and index == len(cells) - 1), result.error_in_exec


def read(exercise: str) -> tuple[dict[str, str], str]:
    """The rows of an exercise, title -> mark; and all that is said."""
    parts = commands._check(exercise).parts
    rows = [row for part in parts for row in part.rows]
    said = " ".join(f"{row.title} {row.rationale} {row.hint}" for row in rows)
    return {row.title: row.mark.value for row in rows}, " ".join([said, *(part.note for part in parts)])


ENCODER_OF_STEP_1 = "head_model = load()\nhead_model.distilbert = full_model.distilbert\nfreeze(head_model)"
CLASSIFIER_OF_STEP_1 = (
    "import copy\nhead_model = load()\nhead_model.classifier = copy.deepcopy(full_model.classifier)\nfreeze(head_model)"
)
COPY = "import copy\nhead_model = copy.deepcopy(full_model)\nfreeze(head_model)"
LORA = "lora_model = load()\nlora_model.distilbert = full_model.distilbert\nfreeze(lora_model)\nwrap(lora_model)"
FRESH = "head_model = load()\nfreeze(head_model)"
TWIN = "seeds = itertools.count()\nhead_model = load()\nfreeze(head_model)"
ON = "full_model_2 = load()\nfull_model_2.distilbert = full_model.distilbert\nfit(full_model_2)"


@pytest.mark.parametrize(
    ("cells", "exercise", "mark", "said"),
    [
        pytest.param([ENCODER_OF_STEP_1], "2.1", "failed", "step 1 has trained its encoder", id="before it is trained"),
        pytest.param(
            [ENCODER_OF_STEP_1, "fit(head_model)"], "2.2", "failed", "step 1 has trained its encoder", id="the encoder"
        ),
        pytest.param(
            [CLASSIFIER_OF_STEP_1, "fit(head_model)"], "2.2", "failed", "step 1 has trained its head", id="the head"
        ),
        pytest.param([COPY, "fit(head_model)"], "2.2", "failed", "step 1 has trained this one", id="all of it"),
        pytest.param(
            [LORA, "fit(lora_model)"], "3.4", "failed", "step 1 has trained its encoder", id="below the adapters"
        ),
        pytest.param([ON], "1.5", "note", "Its encoder had been trained already", id="the same step"),
        pytest.param([FRESH, "fit(head_model)"], "2.2", None, "", id="a fresh model"),
        pytest.param([TWIN, "fit(head_model)"], "2.2", None, "", id="a fresh model of the same seed"),
        pytest.param(
            [FRESH, "fit(head_model)", "lora_model = load()\nlora_model.distilbert = head_model.distilbert"]
            + ["wrap(lora_model)", "fit(lora_model)"],
            *("3.4", None, ""),
            id="an encoder that step 2 left as it was",
        ),
    ],
)
def test_a_part_of_a_model_that_another_step_trained_is_named(
    shell: InteractiveShell, cells: list[str], exercise: str, mark: str | None, said: str
) -> None:
    run(shell, FULL, *cells)
    titles, told = read(exercise)
    assert titles.get(f"Step {exercise[0]} begins with a fresh model") == mark
    assert said in told
