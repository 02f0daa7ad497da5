"""What a student's functions change while they are asked is as before afterwards, whatever holds it."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from grader.kernel.probes.toys import build_distilbert
from grader.student import commands
from grader.student.snapshot import keep_objects
from tests.harness.student.test_live import COUNT, RIGHT, run

MODEL = "from grader.kernel.probes.toys import build_distilbert\nfull_model = build_distilbert(8, 0)\nnotes = []"
MODELS = "models = {'full': [full_model]}\nfull_model = None"
REPLACE = """def replace_layers(model, named_layers):
    for name, layer in named_layers.items():
        parent, _, child = name.rpartition('.')
        setattr(full_model.get_submodule(parent), child, layer)"""
HIDDEN = """class Box: pass
box = Box()
box.model, full_model = full_model, None"""


def disturb(line: str) -> str:
    return COUNT.replace("return", f"\n    {line}\n    return").replace("model): \n", "model):\n")


def draw_from(line: str) -> str:
    return RIGHT.replace("torch.nn.init.zeros_", f"{line}; torch.nn.init.zeros_")


@pytest.mark.parametrize(
    ("defined", "what", "seen"),
    [
        pytest.param([REPLACE], "3.2", "str(full_model)", id="other layers in a model of the notebook"),
        pytest.param(
            *([MODELS, REPLACE.replace("full_model", "models['full'][0]")], "3.2", "str(models)"), id="in a dictionary"
        ),
        pytest.param([HIDDEN, REPLACE.replace("full_model", "box.model")], "3.2", "str(box.model)", id="in an object"),
        *(
            pytest.param([disturb(line)], "1.3", seen, id=name)
            for name, line, seen in (
                ("frozen", "full_model.requires_grad_(False)", "[p.requires_grad for p in full_model.parameters()]"),
                ("in another mode", "full_model.train()", "[m.training for m in full_model.modules()]"),
                ("at another precision", "full_model.half()", "[p.dtype for p in full_model.parameters()]"),
                ("a hook", "full_model.register_forward_hook(print)", "dict(full_model._forward_hooks)"),
                ("a method", "full_model.forward = print", "full_model.forward == type(full_model).forward"),
                ("a list", "notes.append(model)", "len(notes)"),
                ("a variable", "global notes; notes = 5", "notes"),
                ("a new variable", "global counted; counted = 5", "'counted' in globals()"),
                ("a variable less", "globals().pop('notes')", "'notes' in globals()"),
                (
                    "an attribute of the function",
                    "count_trainable_parameters.calls = 1",
                    "vars(count_trainable_parameters)",
                ),
            )
        ),
        *(
            pytest.param([made, draw_from(line)], "3.3", seen, id=name)
            for name, made, line, seen in (
                (
                    "a generator of torch",
                    "g = torch.Generator()",
                    "torch.nn.init.normal_(self.A.weight, generator=g)",
                    "g.get_state()",
                ),
                (
                    "a generator of numpy",
                    "g = np.random.default_rng(0)",
                    "g.random()",
                    "g.bit_generator.state['state']",
                ),
                ("an older generator", "g = np.random.RandomState(0)", "g.rand()", "g.get_state()[2]"),
                ("a generator of Python", "import random\ng = random.Random(0)", "g.random()", "g.getstate()"),
                ("a list in a dictionary", "log = {'layers': []}", "log['layers'].append(self)", "len(log['layers'])"),
                ("a set", "log = set()", "log.add(id(self))", "len(log)"),
            )
        ),
        pytest.param(
            [RIGHT.replace("Module):", "Module):\n    made = 0").replace("super()", "LoRALayer.made += 1; super()")],
            *("3.3", "LoRALayer.made"),
            id="a counter of the class",
        ),
        pytest.param(
            ["def evaluation_helper(p):\n    notes.append(1)\n    return {'accuracy': 0.75}"],
            *("1.4", "len(notes)"),
            id="a look",
        ),
    ],
)
def test_what_functions_change_is_put_back(
    shell: InteractiveShell,
    defined: list[str],
    what: str,
    seen: str,
) -> None:
    shell.user_ns.update(np=np, torch=torch)
    run(shell, MODEL, *defined)
    before = eval(f"str({seen})", shell.user_ns)
    report = commands._check(what)
    assert eval(f"str({seen})", shell.user_ns) == before
    assert report.notes == ()


def test_weights_that_are_changed_in_place_are_told(shell: InteractiveShell) -> None:
    run(shell, MODEL, disturb("next(full_model.parameters()).detach().zero_()"))
    (note,) = commands._check("1.3").notes
    assert "wrote to the weights of `full_model`" in note


def test_what_is_the_same_is_not_written_to(shell: InteractiveShell) -> None:
    shell.user_ns["check"] = commands.check
    run(shell, COUNT, "models = {'a': 1, 'b': 2}", "for name in models:\n    check('1.3')")


def test_what_a_training_in_a_thread_notes_stays() -> None:
    model, began, goes_on, log = build_distilbert(8, 0), threading.Event(), threading.Event(), list[int]()
    namespace = {"model": model, "log": log, "began": began, "goes_on": goes_on}
    thread = threading.Thread(target=exec, args=("began.set()\ngoes_on.wait(5)", namespace))
    thread.start()
    began.wait(5)
    layer = model.pre_classifier
    with keep_objects(namespace) as changed:
        log.append(1)
        model.pre_classifier = nn.Linear(2, 2)
        with torch.no_grad():
            layer.weight.zero_()
    goes_on.set()
    thread.join()
    assert (log, model.pre_classifier is layer, changed) == ([1], True, [])


class Unreadable:
    """Raises whatever it is asked for."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("not connected")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("not connected")


@pytest.mark.parametrize("make", [Unreadable, lambda: type("Odd", (nn.Module,), {"__init__": lambda self: None})()])
def test_an_object_that_cannot_be_read_costs_no_other(make: Callable[[], Any]) -> None:
    model = build_distilbert(8, 0)
    with keep_objects({"a": make(), "model": model}):
        model.requires_grad_(False)
    assert all(parameter.requires_grad for parameter in model.parameters())
