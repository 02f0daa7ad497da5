"""The check inside a notebook, in a shell as notebooks have it: what it says, and what it leaves as it is."""

import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from grader import assignment
from grader.paths import PUBLIC_TESTS
from grader.protocol.records import Entry
from grader.student import cells, commands, journal, live, report
from grader.student.guards import LAST_ERROR
from grader.student.noted import Noted
from grader.student.placing import FREEZES, SETS
from grader.student.watch import WATCH

HEAD = ("pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias")
ENCODER = "distilbert.transformer.layer.5.ffn.lin2.bias"
COUNT = "def count_trainable_parameters(model): return sum(p.numel() for p in model.parameters() if p.requires_grad)"
EXTRACT = (
    "def extract_qv_layers(model): return {n: m for n, m in model.named_modules() if n.endswith(('.q_lin', '.v_lin'))}"
)
ENDLESS = "def count_trainable_parameters(model):\n    while True: pass"
ASLEEP = "import time\ndef count_trainable_parameters(model): time.sleep(60)"
FREEZE = "def freeze(m):\n    for p in m.parameters():\n        p.requires_grad = False"
SILENT = """import torch
class LoRALayer(torch.nn.Module):
    def __init__(self, W, rank=12, alpha=24):
        super().__init__()
        self.W, self.A = W, torch.nn.Linear(W.in_features, rank, bias=False)
        self.B = torch.nn.Linear(rank, W.out_features, bias=False)
        torch.nn.init.zeros_(self.B.weight)
    def forward(self, x):
        y = self.W(x)"""
RIGHT = SILENT.replace("y = self.W(x)", "return self.W(x) + self.scale * self.B(self.A(x))").replace(
    "torch.nn.init", "self.scale, _ = alpha / rank, W.requires_grad_(False)\n        torch.nn.init"
)
STUB = "def extract_qv_layers(model): raise NotImplementedError('Step 3.1: write extract_qv_layers')"


def run(shell: InteractiveShell, *cells: str) -> None:
    for cell in cells:
        assert shell.run_cell(cell, store_history=True).success


def note(step: str, names: Sequence[str], trainable: int) -> Noted:
    return Noted(step, Entry("DistilBert", trainable, assignment.FULL_PARAMETERS, tuple(names)), 0.0, finished=True)


def read_marks(what: object = None) -> dict[str, str]:
    """The mark of each exercise: failed if one of its rows did, else that of its last row."""
    marks = {part.title[:3]: [row.mark.value for row in part.rows] for part in commands._check(what).parts}
    return {number: "failed" if "failed" in found else found[-1] for number, found in marks.items()}


@pytest.mark.parametrize(
    ("defined", "what", "expected"),
    [
        pytest.param([], "1.3", {"1.3": "not yet"}, id="nothing defined"),
        pytest.param([COUNT], "1.3", {"1.3": "passed"}, id="right"),
        pytest.param([COUNT], 1.3, {"1.3": "passed"}, id="the number as a number"),
        pytest.param([COUNT.replace("requires_grad", "numel()")], "1.3", {"1.3": "failed"}, id="wrong"),
        pytest.param([STUB], "3.1", {"3.1": "not yet"}, id="the template's stub"),
        pytest.param(["extract_qv_layers = None"], "3.1", {"3.1": "failed"}, id="another object under the name"),
        pytest.param([EXTRACT, "extract_qv_layers = 5"], "3.1", {"3.1": "passed"}, id="shadowed after its definition"),
        pytest.param(["class LoRALayer: pass"], "3.3", {"3.3": "failed"}, id="no module"),
        pytest.param([SILENT], "3.3", {"3.3": "failed"}, id="nothing returned"),
        pytest.param(
            [EXTRACT], "step3", {"3.1": "passed", "3.2": "not yet", "3.3": "not yet", "3.4": "not yet"}, id="step"
        ),
    ],
)
def test_what_is_defined_is_judged(
    shell: InteractiveShell, defined: list[str], what: object, expected: dict[str, str]
) -> None:
    run(shell, *defined)
    assert read_marks(what) == expected


@pytest.mark.parametrize("there", ["cuda", "mps"])
def test_a_layer_that_names_its_device_is_judged_like_others(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    run(shell, RIGHT.replace("bias=False", f"bias=False, device='{there}'"))
    assert read_marks("3.3") == {"3.3": "passed"}


INNER = RIGHT.replace("    def forward", "        def forward").replace("        return", "            return")


@pytest.mark.parametrize(
    ("source", "mark", "title", "said"),
    [
        pytest.param(
            *(RIGHT.replace("def forward", "def foward"), "failed", "`LoRALayer` has no method `forward`"),
            "it has `__init__` and `foward`.",
            id="misspelt",
        ),
        pytest.param(
            INNER, "failed", "`LoRALayer` has no method `forward`", "it has `__init__`.", id="inside __init__"
        ),
        pytest.param(
            *(RIGHT.partition("    def forward")[0], "failed", "`LoRALayer` has no method `forward`"),
            "it has `__init__`.",
            id="missing",
        ),
        pytest.param(
            f"{RIGHT.partition('        return')[0]}        raise NotImplementedError('Step 3.3')",
            *("not yet", "`LoRALayer` still raises `NotImplementedError`: it is not written yet.", ""),
            id="not written",
        ),
    ],
)
def test_a_layer_whose_forward_is_lost_is_not_one_that_is_not_written(
    shell: InteractiveShell, source: str, mark: str, title: str, said: str
) -> None:
    run(shell, source)
    (row,) = commands._check("3.3").parts[0].rows
    assert (row.mark.value, row.title, said in row.rationale) == (mark, title, True)
    assert row.place == ("In [1], line 2: class LoRALayer(torch.nn.Module):" if mark == "failed" else "")


def test_a_layer_that_returns_nothing_is_not_said_to_raise(shell: InteractiveShell) -> None:
    run(shell, SILENT)
    row = next(row for row in commands._check("3.3").parts[0].rows if row.mark.value == "failed")
    assert "to return a tensor; it returns None." in row.rationale
    assert row.hint.startswith("End `forward` with `return`")


@pytest.mark.parametrize(
    ("trainings", "expected"),
    [
        pytest.param([], {"1.5": "not yet", "2.2": "not yet", "3.4": "not yet"}, id="nothing trained"),
        pytest.param(
            [note("step1", [*HEAD, ENCODER], assignment.FULL_PARAMETERS)] * 2,
            {"1.5": "passed", "2.2": "not yet", "3.4": "not yet"},
            id="step 1 twice is no step 2",
        ),
        pytest.param(
            [note("step2", HEAD, assignment.HEAD_PARAMETERS), note("step2", [*HEAD, ENCODER], 66_000_000)],
            {"1.5": "not yet", "2.1": "not yet", "2.2": "failed", "3.4": "not yet"},
            id="the last training counts, and it is wrong",
        ),
        pytest.param(
            [note("step2", [*HEAD, ENCODER], 66_000_000), note("step2", HEAD, assignment.HEAD_PARAMETERS)],
            {"1.5": "not yet", "2.1": "passed", "2.2": "passed", "3.4": "not yet"},
            id="the last training counts, and it is right",
        ),
        pytest.param(
            [note("step3", [*HEAD, ENCODER], assignment.FULL_PARAMETERS)],
            {"1.5": "not yet", "2.2": "not yet", "3.4": "failed"},
            id="step 3 without its layers",
        ),
    ],
)
def test_the_last_training_of_each_step_is_judged(
    shell: InteractiveShell, trainings: list[Noted], expected: dict[str, str]
) -> None:
    WATCH.trainings.extend(trainings)
    marks = read_marks()
    assert {number: marks[number] for number in expected} == expected


@pytest.mark.parametrize(
    ("error", "via", "mark", "said", "total"),
    [
        pytest.param("", "Trainer", "passed", "", "passed", id="to its end"),
        pytest.param("OutOfMemoryError", "Trainer", "failed", "`OutOfMemoryError`", "failed", id="an error"),
        pytest.param("NameError", "loop", "failed", "the cell that trains to run", "failed", id="an error in a loop"),
        pytest.param("KeyboardInterrupt", "Trainer", "not yet", "was interrupted", "not yet", id="an interruption"),
    ],
)
def test_a_training_that_was_ended_early_is_no_training(
    shell: InteractiveShell, error: str, via: str, mark: str, said: str, total: str
) -> None:
    noted = note("step1", [*HEAD, ENCODER], assignment.FULL_PARAMETERS)
    noted.error, noted.finished, noted.via = error, not error, via
    WATCH.trainings.append(noted)
    told = commands._check("1.5")
    row = told.parts[0].rows[-1]
    assert (row.mark.value, said in row.rationale, told.total.mark.value) == (mark, True, total)


LEFT = {"classifier.bias": "0123456789abcdef"}


@pytest.mark.parametrize(
    ("steps", "mark", "said"),
    [
        pytest.param(("step1", "step2"), "failed", "step 1 has trained this one already", id="of another step"),
        pytest.param(("step2", "step2"), "note", "trained already (In [3])", id="of the same step"),
    ],
)
def test_a_model_that_was_trained_before_is_named(
    shell: InteractiveShell, steps: tuple[str, str], mark: str, said: str
) -> None:
    first, second = (note(step, HEAD, assignment.HEAD_PARAMETERS) for step in steps)
    first.cell, first.left = 3, LEFT
    second.began_s, second.entry = 1.0, replace(second.entry, head=LEFT)
    WATCH.trainings.extend((first, second))
    row = commands._check("2.2").parts[0].rows[-1]
    assert (row.title, row.mark.value, said in row.rationale) == ("Step 2 begins with a fresh model", mark, True)


@pytest.mark.parametrize(
    ("found", "left"),
    [
        pytest.param(LEFT, LEFT, id="the head of the seed, from a training that failed before its first step"),
        pytest.param(LEFT, {}, id="a training that could not be looked at when it ended"),
    ],
)
@pytest.mark.parametrize("steps", [("step1", "step2"), ("step2", "step2")], ids=["of another step", "of the same step"])
def test_a_training_that_changed_no_head_has_trained_no_model(
    shell: InteractiveShell, steps: tuple[str, str], found: dict[str, str], left: dict[str, str]
) -> None:
    first, second = (note(step, HEAD, assignment.HEAD_PARAMETERS) for step in steps)
    first.entry, first.left, first.error = replace(first.entry, head=found), left, "ValueError"
    second.began_s, second.entry = 1.0, replace(second.entry, head=LEFT)
    WATCH.trainings.extend((first, second))
    titles = [row.title for row in commands._check("2.2").parts[0].rows]
    assert "Step 2 begins with a fresh model" not in titles


def test_a_model_of_another_step_is_named_before_it_is_trained(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (note(step, HEAD, assignment.HEAD_PARAMETERS) for step in ("step1", "step2"))
    first.left, second.began_s, second.entry = LEFT, 1.0, replace(second.entry, head=LEFT)
    WATCH.trainings.append(first)
    run(shell, "full_model = head_model = 1", "x = 1\nhead_model = full_model", "head_model")
    shell.user_ns["head_model"] = torch.nn.Linear(2, 2)
    monkeypatch.setattr(live, "prepare", lambda *_: ("head_model", second))
    row = commands._check("2.1").parts[0].rows[-1]
    assert (row.mark.value, row.place) == ("failed", "In [2], line 2: head_model = full_model")
    assert row.hint == "Load the model again with `from_pretrained`."  # and not: train again


def test_a_model_of_another_step_is_named_after_it_was_trained_in_this_one_too(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, now = (note(step, HEAD, assignment.HEAD_PARAMETERS) for step in ("step1", "step2", "step2"))
    first.left, second.began_s, second.entry = LEFT, 1.0, replace(second.entry, head=LEFT)
    second.left = {"classifier.bias": "another"}
    now.began_s, now.entry = 2.0, replace(now.entry, head=second.left)
    WATCH.trainings.extend((first, second))
    shell.user_ns["head_model"] = torch.nn.Linear(2, 2)
    monkeypatch.setattr(live, "prepare", lambda *_: ("head_model", now))
    assert "step 1 has trained this one already" in commands._check("2.1").parts[0].rows[-1].rationale


def test_a_right_model_beside_a_wrong_training_is_the_one_to_train(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    WATCH.trainings.append(note("step2", [*HEAD, ENCODER], 66_000_000))
    shell.user_ns["head_model"] = torch.nn.Linear(2, 2)
    monkeypatch.setattr(live, "prepare", lambda *_: ("head_model", note("step2", HEAD, assignment.HEAD_PARAMETERS)))
    row = commands._check("step2").parts[1].rows[0]
    assert (row.mark.value, row.place) == ("failed", "")
    assert row.rationale.endswith("`head_model` would train the right ones now.")
    assert row.hint.startswith("Train `head_model`")


@pytest.mark.parametrize(
    ("ended_s", "error", "said"),
    [
        pytest.param(26_005.0, "", "2 min ago, In [12].", id="to its end, after hours"),
        pytest.param(26_005.0, "ValueError", "2 min ago, In [12]; it was stopped (ValueError).", id="stopped"),
        pytest.param(None, "", "begun 6 h ago, In [12]; it has not ended yet.", id="not ended yet"),
    ],
)
def test_it_says_which_training_was_looked_at(ended_s: float | None, error: str, said: str) -> None:
    noted = note("step2", HEAD, assignment.HEAD_PARAMETERS)
    noted.cell, noted.began_s, noted.ended_s, noted.error = 12, 4_405.0, ended_s, error
    noted.finished = ended_s is not None and not error
    assert report.describe_training(noted, 26_130.0) == f"Your last training of this step: {said}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param(ENDLESS, "does not finish", id="an endless loop"),
        pytest.param(ASLEEP, "does not finish", id="asleep"),
        pytest.param("def count_trainable_parameters(model): raise SystemExit", "SystemExit", id="it leaves"),
    ],
)
def test_a_function_that_does_not_end_has_a_limit(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    monkeypatch.setattr(live, "LIMIT_S", 0.3)
    run(shell, source)
    rows = commands._check("1.3").parts[0].rows
    assert any(row.mark.value == "failed" and said in row.rationale for row in rows)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        pytest.param("1.3", "Stopped.", id="ctrl-C"),
        pytest.param("step9", "There is no exercise 'step9'", id="no such step"),
    ],
)
def test_an_end_is_a_sentence(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], what: str, said: str
) -> None:
    run(shell, "def count_trainable_parameters(model): raise KeyboardInterrupt")
    commands.check(what)
    assert said in capsys.readouterr().out


def test_nothing_is_changed(shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "not there"))  # it writes nothing anywhere
    run(shell, COUNT, EXTRACT, "device = 'cuda'\nprint_me = 1\nsum = 3")
    before = {name: value for name, value in shell.user_ns.items() if not name.startswith("_")}
    threads = torch.get_num_threads()

    def draw() -> tuple[Any, ...]:
        return torch.rand(1).item(), random.random(), np.random.rand()

    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(0)
    expected = draw()
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(0)
    commands.check()
    assert draw() == expected
    assert {name: value for name, value in shell.user_ns.items() if not name.startswith("_")} == before
    assert torch.get_num_threads() == threads
    assert [*tmp_path.iterdir()] == []


EARLIER = RIGHT.replace("alpha / rank", "alpha * rank")
DOCUMENTED = RIGHT.replace("Module):", 'Module):\n    """Frozen."""  # and an adapter\n')
WRAP = """from grader.kernel.probes.toys import build_distilbert
lora_model = build_distilbert(8, 0).requires_grad_(False)
for layer in lora_model.distilbert.transformer.layer:
    layer.attention.q_lin, layer.attention.v_lin = LoRALayer(layer.attention.q_lin), LoRALayer(layer.attention.v_lin)"""


@pytest.mark.parametrize(
    ("before", "between", "after", "notes"),
    [
        pytest.param(EARLIER, [], [RIGHT], 1, id="put right after the training"),
        pytest.param(EARLIER, [RIGHT], [], 1, id="put right before it, and not wrapped again"),
        pytest.param(EARLIER, [RIGHT, WRAP], [], 0, id="wrapped again"),
        pytest.param(RIGHT, [], [], 0, id="the same"),
        pytest.param(RIGHT, [RIGHT], [RIGHT], 0, id="run again as it is"),
        pytest.param(RIGHT, [], [DOCUMENTED], 0, id="other words about it"),
        pytest.param(RIGHT, [], ["LoRALayer = 5"], 0, id="something else under the name"),
        pytest.param(RIGHT, [], ["exec('class LoRALayer: pass')"], 0, id="a class that no cell defines"),
    ],
)
def test_layers_of_an_earlier_definition_are_named(
    shell: InteractiveShell, before: str, between: list[str], after: list[str], notes: int
) -> None:
    run(shell, before, WRAP, *between)
    noted = WATCH._note(shell.user_ns["lora_model"])
    noted.finished = True
    run(shell, *after)
    found = [row for row in commands._check("3.4").parts[0].rows if "It was trained with an earlier" in row.rationale]
    assert [(row.mark.value, "`LoRALayer`" in row.rationale) for row in found] == [("note", True)] * notes


@pytest.mark.parametrize("source", ["1 / 0", "x = 1"], ids=["after an error", "after none"])
def test_the_last_error_is_still_there_for_debug(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    for name in LAST_ERROR:
        monkeypatch.delattr(sys, name, raising=False)
    shell.run_cell(source)
    before = {name: getattr(sys, name, None) for name in LAST_ERROR}
    commands._check("3.3")
    run(shell, SILENT)
    commands._check("3.3")
    assert {name: getattr(sys, name, None) for name in LAST_ERROR} == before


def test_the_kit_may_lie_in_a_folder_with_brackets(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suite = tmp_path / "kit [1]" / "tests"
    shutil.copytree(PUBLIC_TESTS, suite / PUBLIC_TESTS.name)
    shutil.copy(PUBLIC_TESTS.parent / "conftest.py", suite)
    monkeypatch.setattr(live, "PUBLIC_TESTS", suite / PUBLIC_TESTS.name)
    run(shell, COUNT)
    assert (read_marks("1.3"), Path.cwd()) == ({"1.3": "passed"}, tmp_path)


def test_what_is_wrong_before_and_in_a_training_is_said_once(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = note("step2", [*HEAD, ENCODER], 66_000_000)
    WATCH.trainings.append(wrong)
    shell.user_ns["head_model"] = torch.nn.Linear(2, 2)
    monkeypatch.setattr(live, "prepare", lambda *_: ("head_model", wrong))
    before, trained = (part.rows[0] for part in commands._check("step2").parts)
    assert "found 66,000,000" in before.rationale
    assert trained.rationale == "You trained the model as `head_model` is now: see above."
    assert "found 66,000,000" in commands._check("2.2").parts[0].rows[0].rationale


def test_a_cell_knows_its_number(shell: InteractiveShell) -> None:
    run(shell, "x = 1", "from grader.student import cells\nnumber, source = cells.count(), cells.read_source()")
    assert (shell.user_ns["number"], shell.user_ns["source"]) == (2, shell.user_ns["In"][2])


@pytest.mark.parametrize(
    ("ran", "found"),
    [
        pytest.param(
            ["other = model", "# freeze(model)", "x = 1\nfreeze(model)"], "In [4], line 2: freeze(model)", id="call"
        ),
        pytest.param(["freeze(model)", "model = 2", "model"], "", id="what was frozen before was another model"),
        pytest.param(
            [f"{FREEZE}\nfreeze(model)"], "In [2], line 3: p.requires_grad = False", id="function and its call"
        ),
        pytest.param(
            ["model.part.requires_grad = False\nfreeze(model)"],
            "In [2], line 1: model.part.requires_grad = False",
            id="the attribute of a module",
        ),
        pytest.param(["freeze(other)"], "", id="another model"),
    ],
)
def test_the_line_that_freezes_a_model_is_found(shell: InteractiveShell, ran: list[str], found: str) -> None:
    shell.user_ns.update(model=torch.nn.Linear(2, 2), other=torch.nn.Linear(2, 2))
    shell.user_ns["model"].part = torch.nn.Linear(2, 2)
    run(shell, FREEZE, *ran)
    assert cells.find_line("model", SETS, FREEZES) == found


THAWS = FREEZE.replace("False", "True")
TRAINER = "class Trainer:\n    def __init__(self, model): pass\n    def train(self): pass"
USES = (
    "head_model = torch.nn.Linear(2, 2)\nfreeze(head_model)",
    "trainer = Trainer(model=head_model)\ntrainer.train()",
)


@pytest.mark.parametrize(
    ("ran", "cell", "said"),
    [
        pytest.param((THAWS, *USES), 5, "", id="as it was"),
        pytest.param(
            (THAWS, *USES, FREEZE), 5, "In [6] defines `freeze` anew; run In [4] and the training again.", id="anew"
        ),
        pytest.param(
            *((THAWS, "\n".join(USES), FREEZE), 4, "In [5] defines `freeze` anew; run the training again."),
            id="used in the cell that trains",
        ),
    ],
)
def test_what_is_put_right_after_a_training_is_not_blamed_for_it(
    shell: InteractiveShell, ran: tuple[str, ...], cell: int, said: str
) -> None:
    run(shell, "import torch", TRAINER, *ran)
    wrong = note("step2", [*HEAD, ENCODER], assignment.FULL_PARAMETERS)
    wrong.cell = cell
    WATCH.trainings.append(wrong)
    (row,) = commands._check("2.2").parts[0].rows
    assert (row.mark.value, row.place) == ("failed", "In [3], line 3: p.requires_grad = True")
    assert "too late" not in row.rationale
    assert row.rationale.partition(" In [")[1:] == (said and " In [", said.removeprefix("In ["))


@pytest.mark.parametrize(
    ("kept", "mark", "said"),
    [
        pytest.param(True, "passed", "before the kernel was restarted; weights:", id="saved weights"),
        pytest.param(False, "not yet", "no saved weights of it are known", id="nothing saved"),
    ],
)
def test_after_a_restart(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, kept: bool, mark: str, said: str
) -> None:
    noted = note("step2", HEAD, assignment.HEAD_PARAMETERS)
    noted.here, noted.saved = False, "finetuned/head"
    monkeypatch.setattr(journal, "recall", lambda key: [noted])
    monkeypatch.setattr(journal, "find_weights", lambda noted: noted.saved if kept else "")
    (part,) = commands._check("2.2").parts
    assert (part.rows[0].mark.value, said in part.note + part.rows[0].rationale) == (mark, True)
    assert "run its cell again" in commands._check("3.1").parts[0].rows[0].rationale
