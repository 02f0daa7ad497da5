"""Trainings in cells, by loops and by Trainers, on small models: what the check says of them afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from transformers import PreTrainedModel, Trainer

from grader.kernel.probes.toys import build_distilbert
from grader.student import commands, notebook_file, overview, report
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

FOLLOWED = (
    *((Trainer, name) for name in ("train", "save_model", "call_model_init")),
    (PreTrainedModel, "save_pretrained"),
)


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
            [FRESH, "fit(head_model)", LORA.replace("full_model", "head_model"), "fit(lora_model)"],
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


PLOT = f"{FULL}\nplot(full_model)"
IN_THE_LOOP = """full_model = load()
optimizer = make(full_model)
for epoch in range(2):
    step(full_model, optimizer)
    plot()"""
AFTER_THE_LOOP = f"{IN_THE_LOOP.replace('    plot()', 'plot()')}"
STOPPED = AFTER_THE_LOOP.replace("plot()", "raise KeyboardInterrupt")
SECOND_LOOP = f"{AFTER_THE_LOOP[:-6]}for epoch in range(2):\n    plot()\n    step(full_model, optimizer)"
WARMED_UP = f"{AFTER_THE_LOOP[:-6]}for epoch in range(2):\n    step(full_model, optimizer)\n    plot()"
FIT_AND_PLOT = """def fit_and_plot(model):
    optimizer = make(model)
    for _ in range(2):
        step(model, optimizer)
    plot()
full_model = load()
fit_and_plot(full_model)"""
EPOCHS = """def train_epoch(model, optimizer):
    step(model, optimizer)
full_model = load()
optimizer = make(full_model)
for epoch in range(2):
    train_epoch(full_model, optimizer)
    plot()"""
IN_THE_STEP = "full_model = load()\noptimizer = make(full_model)\nstep(full_model, optimizer)\nstep(5, optimizer)"


@pytest.mark.parametrize(
    ("cell", "ended"),
    [
        pytest.param(AFTER_THE_LOOP, "", id="after the loop"),
        pytest.param(PLOT, "", id="after the function that trains"),
        pytest.param(FULL.replace("\nfit", "; fit") + "; plot()", "", id="in the same line as that function"),
        pytest.param(FIT_AND_PLOT, "", id="in the function, after its loop"),
        pytest.param(STOPPED, "", id="stopped after the loop"),
        pytest.param(SECOND_LOOP, "", id="in another loop, before its first step"),
        pytest.param(IN_THE_LOOP, "NameError", id="in the loop"),
        pytest.param(WARMED_UP, "NameError", id="in the second loop"),
        pytest.param(EPOCHS, "NameError", id="after a function that trains one epoch of several"),
    ],
)
def test_an_error_counts_for_a_loop_that_it_ended(shell: InteractiveShell, cell: str, ended: str) -> None:
    run(shell, cell, fails=True)
    (noted,) = watch_module.WATCH.trainings
    assert (noted.step, noted.finished, noted.error) == ("step1", not ended, ended)


FROZEN_AFTER = f"{FULL}\nhead_model = full_model\nfreeze(head_model)"
BY_TRAINER = """from transformers import Trainer, TrainingArguments
rows = [{"input_ids": [1, 2, 3], "labels": i % 2} for i in range(2)]
def build_trainer(model=None, folder="out", save="no", **given):
    asked = dict(max_steps=1, report_to="none", save_strategy=save, use_cpu=True, optim="sgd", disable_tqdm=True)
    return Trainer(model=model, args=TrainingArguments(folder, **asked), train_dataset=rows, **given)"""
EACH_EPOCH = (
    "full_model = load()\nfor epoch in range(2):\n    optimizer = make(full_model)\n    step(full_model, optimizer)"
)
TURNS = """full_model = load()
optimizers = [torch.optim.SGD(part.parameters(), lr=0.1) for part in full_model.children()
              if any(True for _ in part.parameters())]
for _ in range(2):
    step(full_model, optimizers[0])
    for optimizer in optimizers[1:]:
        optimizer.step()"""


@pytest.mark.parametrize(
    ("cells", "steps", "reused"),
    [
        pytest.param([f"{FROZEN_AFTER}\nfit(head_model)"], ["step1", "step2"], True, id="frozen and trained on"),
        pytest.param(
            [f"{FULL}\nhead_model = full_model\nfit(head_model)"], ["step1", "step2"], True, id="under another name"
        ),
        pytest.param(
            [BY_TRAINER, f"{FROZEN_AFTER}\nbuild_trainer(head_model).train()"],
            *(["step1", "step2"], True),
            id="by a Trainer",
        ),
        pytest.param([f"{FULL}\n{HEAD}"], ["step1", "step2"], False, id="a fresh model"),
        pytest.param([EACH_EPOCH], ["step1"], False, id="an optimiser of each epoch"),
        pytest.param([TURNS], ["step1"], False, id="optimisers that take turns"),
    ],
)
def test_another_training_in_the_same_cell_is_another_one(
    shell: InteractiveShell, cells: list[str], steps: list[str], reused: bool
) -> None:
    run(shell, *cells)
    trainings = watch_module.WATCH.trainings
    assert [(noted.step, noted.finished) for noted in trainings] == [(step, True) for step in steps]
    assert (trainings[-1].find_before(trainings) is not None) is reused


def test_a_loop_keeps_no_model_alive(shell: InteractiveShell) -> None:
    run(shell, f"{FULL}\nimport gc, weakref\nheld = weakref.ref(full_model)\ndel full_model\nn = gc.collect()")
    assert shell.user_ns["held"]() is None
    (noted,) = watch_module.WATCH.trainings
    assert (noted.finished, noted.left) == (True, {})


IN_A_THREAD = """import threading
go_on = threading.Event()
def work():
    global model
    model, optimizer = load(), None
    optimizer = make(model)
    step(model, optimizer)
    stepped.set()
    go_on.wait(60)
    step(model, optimizer)
stepped = threading.Event()
thread = threading.Thread(target=work)
thread.start()
ready = stepped.wait(60)"""


def test_a_loop_in_a_thread_ends_with_it(shell: InteractiveShell) -> None:
    run(shell, IN_A_THREAD, "x = 1")
    assert [noted.finished for noted in watch_module.WATCH.trainings] == [False]
    assert "it has not ended yet" in read("1.5")[1]
    run(shell, "go_on.set()\nthread.join()")
    assert [noted.finished for noted in watch_module.WATCH.trainings] == [True]


LORA_MODEL = "lora_model = load()\nfreeze(lora_model)"
TRAINED = "step(lora_model, optimizer)\nstep(lora_model, optimizer)"
GROUPS = """wrap(lora_model)
parts = [[p for p in part if p.requires_grad] for part in map(torch.nn.Module.parameters, lora_model.children())]
optimizer = torch.optim.SGD([{"params": part} for part in parts if part], lr=0.1)"""
LATER = """layers = lora_model.distilbert.parameters()
optimizer.add_param_group({"params": [p for p in layers if p.requires_grad]})"""
GIVEN = "trained = build_trainer(lora_model, optimizers=(optimizer, None)).train()"


@pytest.mark.parametrize(
    ("cells", "missing"),
    [
        pytest.param(["optimizer = make(lora_model)", "wrap(lora_model)", TRAINED], 384, id="made before the layers"),
        pytest.param(["wrap(lora_model)", "optimizer = make(lora_model)", TRAINED], 0, id="made after them"),
        pytest.param([GROUPS, TRAINED], 0, id="in groups"),
        pytest.param(
            ["optimizer = make(lora_model)", "wrap(lora_model)", f"{LATER}\n{TRAINED}"], 0, id="given them later"
        ),
        pytest.param(
            ["optimizer = make(lora_model)", "wrap(lora_model)", f"step(lora_model, optimizer)\n{LATER}\n{TRAINED}"],
            *(0,),
            id="given them between its steps",
        ),
        pytest.param(
            [BY_TRAINER, "optimizer = make(lora_model)", "wrap(lora_model)", GIVEN], 384, id="given to a Trainer"
        ),
        pytest.param([BY_TRAINER, "wrap(lora_model)", "build_trainer(lora_model).train()"], 0, id="a Trainer's own"),
    ],
)
def test_what_no_optimiser_holds_is_named(shell: InteractiveShell, cells: list[str], missing: int) -> None:
    run(shell, LORA_MODEL, *cells)
    (noted,) = watch_module.WATCH.trainings
    assert sum(noted.unheld.values()) == missing
    (row, *_) = report._build_unheld(noted, []) or [None]
    assert (row is not None and "384 of them are in none" in row.rationale and "`replace_layers`" in row.hint) is bool(
        missing
    )


ALL = """models = {}
for label in ("full", "head", "lora"):
    models[label] = load()
freeze(models["head"])
freeze(models["lora"])
wrap(models["lora"])"""
LOOP = "for model in models.values():\n    fit(model)"
LISTED = f"{ALL}\nmodels = list(models.values())"
SHORT = f"{ALL}\nmodels = {{letter: models[name] for letter, name in zip('abc', models)}}"
FORGOTTEN = "for seed in range(2):\n    model = load()\n    fit(model)"


@pytest.mark.parametrize(
    ("cells", "steps"),
    [
        pytest.param([ALL, LOOP], ["step1", "step2", "step3"], id="names in a dictionary"),
        pytest.param([LISTED, LOOP.replace(".values()", "")], ["step1", "step2", "step3"], id="a list"),
        pytest.param([SHORT, LOOP], ["step1", "step2", "step3"], id="names that say nothing"),
        pytest.param([FORGOTTEN], ["step3", "step3"], id="several tries, of one kind"),
    ],
)
def test_models_of_one_cell_are_told_apart(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, cells: list[str], steps: list[str]
) -> None:
    monkeypatch.setattr(notebook_file, "find_step", lambda *_: "step3")
    run(shell, *cells)
    assert [noted.step for noted in watch_module.WATCH.trainings] == steps
    if len(steps) == 3:
        name = "models[1]" if "list" in cells[0] else "models['b']" if "zip" in cells[0] else "models['head']"
        assert f"`{name}` would train the right parameters" in read("2.1")[0]


SAVED = "full_model.save_pretrained('finetuned/full')"
TRAIN_AND_SAVE = "trained = trainer.train()\ntrainer.save_model()"
TRAINED_BY = "full_model = load()\ntrained = build_trainer(full_model, {}).train()"


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        pytest.param([f"{FULL}\n{SAVED}"], "finetuned/full", id="a loop, saved in its cell"),
        pytest.param([FULL, SAVED], "finetuned/full", id="a loop, saved later"),
        pytest.param([TRAINED_BY.format("'full'"), SAVED], "finetuned/full", id="a Trainer, by the model's own method"),
        pytest.param([TRAINED_BY.format("'full', 'steps'")], "full/checkpoint-1", id="a checkpoint"),
        pytest.param(
            [f"full_model = load()\ntrainer = build_trainer(full_model, 'full')\n{TRAIN_AND_SAVE}"],
            "full",
            id="save_model",
        ),
        pytest.param([f"{FULL}\n{SAVED}\nfit(full_model)"], None, id="saved before it went on"),
        pytest.param(["model = load()", FULL, SAVED.replace("full_model", "model")], None, id="another model"),
        pytest.param([FULL], None, id="not saved"),
    ],
)
def test_saved_weights_are_found_after_a_restart(shell: InteractiveShell, cells: list[str], found: str | None) -> None:
    run(shell, BY_TRAINER, *cells)
    watch_module.WATCH.trainings.clear()  # as in a new kernel
    titles, told = read("1.5")
    assert ("no saved weights of it are known here" in told) is (found is None)
    assert found is None or ("Step 1 trains all parameters" in titles and f"{found}`" in told)


@pytest.mark.parametrize(
    ("saved", "renamed", "known"),
    [
        pytest.param(True, True, True, id="renamed"),
        pytest.param(True, False, False, id="another notebook of this folder"),
        pytest.param(False, True, False, id="renamed, and nothing saved"),
    ],
)
def test_a_notebook_is_known_under_a_new_name(shell: InteractiveShell, saved: bool, renamed: bool, known: bool) -> None:
    before, now = Path("assignment.ipynb").absolute(), Path("assignment_anna.ipynb").absolute()
    before.write_text("{}")
    shell.user_ns["__vsc_ipynb_file__"] = str(before)
    run(shell, FULL, *[SAVED] * saved)
    watch_module.WATCH.trainings.clear()
    now.write_text("{}")
    if renamed:
        before.unlink()
    shell.user_ns["__vsc_ipynb_file__"] = str(now)
    assert ("Step 1 trains all parameters" in read("1.5")[0]) is known
    run(shell, HEAD)  # writes it down under the new name
    watch_module.WATCH.trainings.clear()
    assert ("Step 1 trains all parameters" in read("1.5")[0]) is known


@pytest.mark.parametrize(
    ("began", "sources", "found"),
    [
        pytest.param(
            3, ["import torch", "trainer.train()", "from grader.student import check"], 3, id="trained before"
        ),
        pytest.param(
            3, ["x = 1", "import torch", "from grader.student import check", "fit(model)"], None, id="after it"
        ),
        pytest.param(1, ["from grader.student import check; fit(model)"], None, id="in the same cell"),
        pytest.param(None, ["fit(model)"], None, id="not known when"),
    ],
)
def test_what_was_not_watched_is_said(began: int | None, sources: list[str], found: int | None) -> None:
    assert overview.find_unwatched(began, sources) == found


def test_a_training_before_the_import_is_not_denied(shell: InteractiveShell) -> None:
    watch_module.WATCH.began = 4
    run(shell, "full_model = load()\n# trainer.train()", "x = 1")
    titles, told = read("1.5")
    assert titles == {"No training of this step is known.": "not yet"}
    assert "Trainings before In [4], which imports the check," in told


MODEL_INIT = "trainer = build_trainer(model_init=load)\ntrained = trainer.train()"


@pytest.mark.parametrize(
    ("cells", "reused"),
    [
        pytest.param([MODEL_INIT, "trained = trainer.train()"], False, id="a fresh model for each"),
        pytest.param(
            [MODEL_INIT.replace("model_init=load", "load()"), "trained = trainer.train()"], True, id="one model"
        ),
    ],
)
def test_a_model_that_the_trainer_makes_is_fresh(shell: InteractiveShell, cells: list[str], reused: bool) -> None:
    run(shell, BY_TRAINER, *cells)
    trainings = watch_module.WATCH.trainings
    assert [(noted.step, noted.finished) for noted in trainings] == [("step1", True)] * 2
    assert (trainings[-1].find_before(trainings) is not None) is reused
