"""The watch over trainings: none is changed by it, and each is found under its step."""

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from safetensors.torch import save_file

from grader.kernel.probes.toys import build_distilbert
from grader.kernel.training import observation
from grader.protocol.records import Entry
from grader.student import journal, notebook_file
from grader.student.noted import Noted
from grader.student.placing import place
from grader.student.watch import Watch, _follow

HEAD = ("pre_classifier.weight", "classifier.bias")
ALL = (*HEAD, "distilbert.transformer.layer.5.ffn.lin2.bias")
FREEZE = "for p in model.distilbert.parameters():\n    p.requires_grad = False"
COUNT = "def count(model):\n    return sum(p.numel() for p in model.parameters() if p.requires_grad)"
MODULE = "model.distilbert.requires_grad = False"
WRAP = "replace_layers(model, {n: LoRALayer(W) for n, W in extract_qv_layers(model).items()})"
HELPER = "def freeze(model):\n    model.distilbert.requires_grad_(False)"
TOYS = f"{COUNT}\nmodel = load()\nassert count(nn.Linear(3, 2).requires_grad_(False)) == 0\nassert count(model) == 10"
TOY_LAYERS = "model = load()\ntoy = LoRALayer(nn.Linear(5, 3))\nreplace_layers(toy_model, {'1.0': toy})"
DEFINED = "class LoRALayer(nn.Module):\n    pass\ndef replace_layers(model, named_layers):\n    pass"


@pytest.mark.parametrize(
    ("names", "wrapped", "section", "called", "since", "step"),
    [
        pytest.param(ALL, False, None, [], COUNT, "step1", id="everything trained"),
        pytest.param(ALL, False, None, [], MODULE, "step2", id="frozen in a way that has no effect"),
        pytest.param(ALL, False, None, ["out", "head_model"], "", "step2", id="named after step 2"),
        pytest.param(ALL, False, "step2", ["full"], "", "step2", id="below the heading of step 2"),
        pytest.param(ALL, False, None, ["full_model"], WRAP, "step1", id="the name counts before the code"),
        pytest.param(HEAD, False, None, ["full"], FREEZE, "step2", id="a folder's name left over from step 1"),
        pytest.param(
            ALL, False, None, ["head_model", "full"], "", "step2", id="everything trained, into step 1's folder"
        ),
        pytest.param(ALL, False, None, ["full_model", "head"], "", "step2", id="the model of step 1 in step 2"),
        pytest.param(HEAD, False, None, [], FREEZE, "step2", id="the head alone"),
        pytest.param(HEAD, False, None, [], FREEZE + "\n" + WRAP, "step3", id="layers that never got into the model"),
        pytest.param(HEAD, False, None, [], FREEZE + "\n" + DEFINED, "step2", id="layers only defined"),
        pytest.param(HEAD, False, None, ["lora_model"], FREEZE, "step3", id="named after step 3"),
        pytest.param(HEAD, True, "step2", ["head"], "", "step3", id="wrapped layers"),
        pytest.param(ALL, False, "step3", ["full_model", "model", "full"], WRAP, "step1", id="step 1 in a cell of 3"),
        pytest.param(HEAD, False, "step3", ["head_model", "model", "head"], WRAP, "step2", id="step 2 in a cell of 3"),
        pytest.param(HEAD, False, "step1", ["head_model", "out"], FREEZE, "step2", id="step 2 in a cell of 1"),
        pytest.param(HEAD, False, "step3", ["model", "out"], "", "step3", id="layers that are missing in step 3"),
        pytest.param(ALL, False, "step3", ["lora_model", "full"], "", "step3", id="nothing frozen in step 3"),
        pytest.param(ALL, False, "step3", ["head_model"], "", "step3", id="nothing frozen, below another heading"),
        pytest.param(HEAD, False, "step1", ["full_model"], "", "step1", id="frozen in step 1"),
        pytest.param(ALL, False, None, ["checkpoint", "model"], FREEZE, "step2", id="names that say nothing"),
        pytest.param(ALL, False, None, [], TOYS, "step1", id="assertions that freeze a toy"),
        pytest.param(ALL, False, None, [], TOY_LAYERS, "step1", id="layers in a toy"),
        pytest.param(ALL, False, None, [], HELPER, "step1", id="a helper that is defined early"),
        pytest.param(ALL, False, None, [], HELPER + "\nfreeze(other)", "step1", id="another model frozen"),
        pytest.param(ALL, False, None, [], HELPER + "\nfreeze(model)", "step2", id="the helper used"),
        pytest.param(ALL, False, None, [], "%%time\nfreeze(model)", "step2", id="in a cell that is timed"),
        pytest.param(ALL, False, None, [], FREEZE + "\nmodel = load()", "step1", id="loaded anew afterwards"),
        pytest.param(ALL, False, None, [], MODULE + "\nmodel = model.to(device)", "step2", id="moved afterwards"),
        pytest.param(ALL, False, None, [], FREEZE.replace("False", "True"), "step1", id="made trainable"),
        pytest.param(ALL, False, None, [], "unfreeze(model)", "step1", id="made trainable by a helper"),
    ],
)
def test_a_training_is_placed(
    names: tuple[str, ...], wrapped: bool, section: str | None, called: list[str], since: str, step: str
) -> None:
    inside = {"distilbert.transformer.layer.0.attention.q_lin": "LoRALayer"} if wrapped else {}
    assert place(Entry("Model", 10, 10, names, inside), section, ["model"], called, [since]) == step


def test_a_model_without_a_variable_is_not_frozen_by_others() -> None:
    assert place(Entry("Model", 10, 10, ALL), None, [], ["out"], [FREEZE, WRAP]) == "step1"


class Trainer:
    """As much of a Trainer as the watch sees."""

    def __init__(self, folder: str = "out") -> None:
        self.model, self.args = build_distilbert(8, 0), SimpleNamespace(output_dir=folder)

    def train(self, steps: int = 1) -> str:
        """Draws a number, as trainings do."""
        if steps < 0:
            raise ValueError("the student's own")
        self.drawn()
        return f"{steps} {torch.rand(1).item()}"

    def drawn(self) -> None:
        """Happens in each step."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves nothing."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def follow(monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch()
    for name in ("train", "save_model"):
        monkeypatch.setattr(Trainer, name, getattr(Trainer, name))
    _follow(Trainer, "train", watch._train)
    _follow(Trainer, "save_model", watch._save)
    return watch


def draw(trainer: Any) -> str:
    torch.manual_seed(0)
    return str(trainer.train(steps=3))


def test_a_training_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = draw(Trainer())
    watch = follow(monkeypatch)
    trainer = Trainer("head")
    assert draw(trainer) == expected
    with pytest.raises(ValueError, match="the student's own"):
        trainer.train(-1)
    assert [(noted.step, noted.finished, noted.error) for noted in watch.trainings] == [
        ("step2", True, ""),
        ("step2", False, "ValueError"),
    ]
    assert all(noted.ended_s is not None and noted.ended_s >= noted.began_s for noted in watch.trainings)
    assert set(watch.trainings[0].left) == {"pre_classifier.weight", "pre_classifier.bias", *HEAD, "classifier.weight"}
    trainer.train()
    trainer.save_model(str(tmp_path / "checkpoint"), _internal_call=True)
    assert watch.trainings[-1].saved == ""
    trainer.save_model(str(tmp_path))
    assert watch.trainings[-1].saved == str(tmp_path)


LABELLED = """def record(name, trainer):
    trainer.train()
for label in ("full", "head", "lora"):
    record(label, make_trainer())"""


def test_what_a_training_is_recorded_under_is_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = follow(monkeypatch)
    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    shell.user_ns["make_trainer"] = Trainer
    assert shell.run_cell(LABELLED).success
    InteractiveShell.clear_instance()
    assert [noted.step for noted in watch.trainings] == ["step1", "step2", "step3"]


def step(watch: Watch, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        watch._before_step(optimizer, (), {})
        optimizer.step()


@pytest.mark.parametrize(
    ("failed", "error"),
    [pytest.param(None, "", id="to its end"), pytest.param(KeyboardInterrupt(), "KeyboardInterrupt", id="stopped")],
)
def test_a_loop_of_the_students_own_is_noted(failed: BaseException | None, error: str) -> None:
    watch, model, toy = Watch(), build_distilbert(8, 0), torch.nn.Linear(2, 2)
    model.distilbert.requires_grad_(False)
    optimizers = [torch.optim.SGD(part.parameters()) for part in (model.pre_classifier, model.classifier, toy)]
    model.classifier.bias.grad = torch.ones(2)
    for _ in range(2):
        step(watch, *optimizers)
    assert watch.trainings[0].finished is False
    watch._end_cell(SimpleNamespace(error_in_exec=failed))
    (noted,) = watch.trainings
    assert (noted.step, noted.via, noted.finished, noted.error) == ("step2", "loop", not error, error)
    step(watch, optimizers[0])
    assert watch.trainings[1].find_before(watch.trainings) is noted


def test_steps_of_a_trainer_are_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, trainer = follow(monkeypatch), Trainer()
    optimizer = torch.optim.SGD(trainer.model.parameters())
    monkeypatch.setattr(trainer, "drawn", lambda: watch._before_step(optimizer, (), {}), raising=False)
    trainer.train()
    assert [noted.via for noted in watch.trainings] == ["Trainer"]


@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("no package"), OSError(28, "No space left on device"), MemoryError(), RecursionError()],
)
def test_what_goes_wrong_in_the_watch_ends_no_training(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    expected = draw(Trainer())
    watch = follow(monkeypatch)

    def fail(*_: Any) -> None:
        torch.rand(1)
        raise error

    monkeypatch.setattr(observation, "describe_form", fail)
    trainer = Trainer()
    assert draw(trainer) == expected
    trainer.save_model()
    assert watch.trainings == []
    assert watch.unseen[0].startswith(type(error).__name__)


def test_what_was_not_noted_is_forgotten_with_the_next_training(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = follow(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(observation, "describe_form", lambda *_: 1 / 0)
        Trainer().train()
    assert len(watch.unseen) == 1
    Trainer().train()
    assert (len(watch.trainings), watch.unseen) == (1, [])


@pytest.mark.parametrize("numbered", [True, False], ids=["a cell", "a request of the editor's own"])
def test_only_cells_are_noted(numbered: bool) -> None:
    watch = Watch()
    watch._note_cell(SimpleNamespace(cell_id="a", raw_cell="x = 1", store_history=numbered))
    assert [one.source for one in watch.ran] == ["x = 1"] * numbered


def test_a_cell_and_a_folder_that_cannot_be_noted_lose_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, trainer = follow(monkeypatch), Trainer()
    trainer.train()
    monkeypatch.setattr(watch, "_note_saved", lambda *_: 1 / 0)
    trainer.save_model()
    assert watch.attempt(watch._note_cell, None, of_training=False) is None
    assert watch.unseen == []


def test_a_restart_forgets_only_what_was_not_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    follow(monkeypatch)
    saved, lost = Trainer("head"), Trainer("lora")
    for trainer in (saved, lost):
        trainer.train()
    folder = tmp_path / "weights"
    folder.mkdir()
    saved.save_model(str(folder))
    save_file(saved.model.state_dict(), folder / "model.safetensors")
    recalled = {noted.step: noted for noted in journal.recall(notebook_file.get_key())}
    assert {step: bool(journal.find_weights(noted)) for step, noted in recalled.items()} == {
        "step2": True,
        "step3": False,
    }
    assert (recalled["step2"].here, recalled["step2"].entry.trainable) == (False, recalled["step3"].entry.trainable)
    save_file(Trainer().model.state_dict() | {"classifier.bias": torch.ones(2)}, folder / "model.safetensors")
    assert not journal.find_weights(recalled["step2"])  # of another training


@pytest.mark.parametrize(
    ("left", "known"), [({"classifier.bias": "as loaded"}, False), ({"classifier.bias": "trained"}, True)]
)
def test_after_a_restart_a_training_that_changed_nothing_has_trained_no_model(
    left: dict[str, str], known: bool
) -> None:
    seeded = {"classifier.bias": "as loaded"}  # what every model has that is loaded with this seed
    entry = Entry("Model", 10, 10, ALL, head=seeded)
    before = Noted("step2", entry, time.time() - 60, error="OutOfMemoryError", left=left)
    journal.keep("key", [before])
    (recalled,) = journal.recall("key")
    assert bool(recalled.list_trained()) is known
    now = Noted("step1", replace(entry, head=left), time.time())
    assert (now.find_before([recalled]) is recalled) is known


@pytest.mark.parametrize("content", ["{", "[1]", '[{"step": "step1"}]', "null"])
def test_a_journal_that_cannot_be_read_is_none(cache: Path, content: str) -> None:
    journal.keep("key", [])
    (path,) = cache.rglob("*.json")
    path.write_text(content, encoding="utf-8")
    assert journal.recall("key") == []


def test_a_cache_that_cannot_be_written_ends_no_training(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    cache.write_text("a file in the place of the folder", encoding="utf-8")
    watch = follow(monkeypatch)
    Trainer().train()
    assert ([noted.finished for noted in watch.trainings], watch.unseen) == ([True], [])
