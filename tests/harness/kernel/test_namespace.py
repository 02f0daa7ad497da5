"""Finding definitions, whatever happened to their names."""

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from grader.kernel import probes
from grader.kernel.namespace import Bindings

NAMES = {
    "count": ("count_parameters", "num_parameters"),
    "extract": ("extract_qv_layers", "extract"),
    "replace": ("replace_layers", "replace"),
    "lora": ("LoRALayer", "LoRA"),
}


def run(*cells: str) -> tuple[Bindings, dict[str, Any]]:
    """Bindings and namespace after cells of a notebook."""
    bindings, namespace = Bindings(NAMES), {"__name__": "__main__"}
    for source in cells:
        exec(source, namespace)
        bindings.note(namespace, source)
    return bindings, namespace


def count(*cells: str) -> tuple[Any, dict[str, Any]]:
    """The answer about a model of eight parameters, and the namespace after it."""
    bindings, namespace = run(*cells)
    answers, _ = probes.observe("count", {"models": [{"sizes": [3, 2]}]}, bindings, namespace)
    assert len(answers.items) == 1
    return answers.items[0], namespace


COUNT = "def count_parameters(model): return sum(p.numel() for p in model.parameters() if p.requires_grad)"
FOUND = [
    pytest.param("count", [COUNT], id="function"),
    pytest.param("count", ["count_parameters = lambda m: 7"], id="lambda"),
    pytest.param("count", ["from functools import partial", "count_parameters = partial(max, 7)"], id="partial"),
    pytest.param("count", ["import functools", "@functools.cache\ndef count_parameters(m): return 7"], id="cached"),
    pytest.param("count", ["class C:\n    def __call__(self, m): ...", "count_parameters = C()"], id="callable-object"),
    pytest.param("count", ["class C:\n    @staticmethod\n    def count_parameters(m): ..."], id="static-method"),
    pytest.param("count", ["class C:\n    @classmethod\n    def count_parameters(cls, m): ..."], id="class-method"),
    pytest.param("count", ["class C:\n    def f(self, m): ...\ncount_parameters = C().f"], id="bound-method"),
    pytest.param("count", ["def num_parameters(m): return 7"], id="older-name"),
    pytest.param("count", ["def countParameters(m): return 7"], id="camel-case"),
    pytest.param("extract", ["def extract(m): return {}", "extract = extract(3)"], id="overwritten-later"),
    pytest.param("extract", ["def extract(m): return {}\nextract = extract(3)"], id="overwritten-in-its-cell"),
    pytest.param("extract", ["def extract(m): return {}", "del extract"], id="deleted"),
]


@pytest.mark.parametrize(("what", "cells"), FOUND)
def test_found(what: str, cells: list[str]) -> None:
    found = run(*cells)[0].lookup(what)
    assert found is not None
    assert callable(found[1])


NOT_FOUND = [
    pytest.param("replace", ["from dataclasses import replace"], id="imported-function"),
    pytest.param("extract", ["extract = {}"], id="no-callable"),
    pytest.param("lora", ["from torch import nn", "LoRA = nn.Linear(2, 2)"], id="a-layer-is-no-class"),
    pytest.param("lora", ["def lora(model): return model"], id="a-helper-is-no-layer"),
    pytest.param("count", ["class C:\n    def count_parameters(self): return 7"], id="needs-an-instance"),
    pytest.param("extract", ["extract = 1\nif False:\n    def extract(m): return {}"], id="never-defined"),
]


@pytest.mark.parametrize(("what", "cells"), NOT_FOUND)
def test_not_found(what: str, cells: list[str]) -> None:
    assert run(*cells)[0].lookup(what) is None


def test_the_last_definition_counts() -> None:
    bindings, _ = run("def extract(m): return 1", "def extract(m): return 2\nextract = extract(0)")
    assert bindings.lookup("extract")[1](None) == 2


def test_of_names_that_differ_a_little_the_last_counts() -> None:
    bindings, _ = run("def Extract(m): ...", "def ex_tract(m): ...", "def Extract(m): return 3")
    assert bindings.lookup("extract")[0] == "Extract"


def test_the_name_that_was_asked_for_goes_before_an_older_one() -> None:
    bindings, _ = run("def count_parameters(m): return 1", "def num_parameters(m): return 2")
    assert bindings.lookup("count")[0] == "count_parameters"


@pytest.mark.parametrize("late", [["sum = 3"], ["sum = max = len = 3"], []], ids=["builtin", "builtins", "nothing"])
def test_a_shadowed_name_does_not_break_a_function(late: list[str]) -> None:
    assert count(COUNT, *late)[0].value == 8


@pytest.mark.parametrize("late", ["torch = 5", "del torch", "def torch(): ..."])
def test_a_shadowed_module_does_not_break_a_function(late: str) -> None:
    cells = ("import torch\ndef count_parameters(m): return sum(torch.numel(p) for p in m.parameters())", late)
    before = run(*cells)[1].get("torch")
    answer, namespace = count(*cells)
    assert answer.value == 8
    assert type(namespace.get("torch")) is type(before)


def test_a_shadowed_helper_is_restored_last() -> None:
    helper = "def size(p): return p.numel()\ndef count_parameters(m): return sum(size(p) for p in m.parameters())"
    answer, namespace = count(helper, "size = 768")
    assert answer.value == 8
    assert namespace["size"] == 768


def test_a_real_mistake_stays_one() -> None:
    assert count("def count_parameters(m): return undefined", "sum = 3")[0].error.type == "NameError"


ODD = "class Odd(dict):\n    def {}: raise KeyError\n"
ODD_ANSWERS = [
    pytest.param(
        *("count", ODD.format("__getattribute__(self, name)") + "def count_parameters(m): return Odd()"),
        {"sizes": [3, 2]},
        id="a number that answers nothing",
    ),
    pytest.param(
        *("extract", ODD.format("items(self)") + "def extract_qv_layers(m): return Odd()"),
        {"dim": 8, "seed": 0},
        id="a dictionary without items",
    ),
]


@pytest.mark.parametrize(("family", "source", "model"), ODD_ANSWERS)
def test_an_odd_answer_is_an_observation(family: str, source: str, model: dict[str, Any]) -> None:
    bindings, namespace = run(source)
    answers, _ = probes.observe(family, {"models": [model]}, bindings, namespace)
    assert answers.items[0].error.type == "KeyError"


def test_noting_runs_nothing_twice() -> None:
    note = "def note(f):\n    calls.append(f)\n    return f"
    assert len(run("calls = []", note, "@note\ndef extract(m): return {}")[1]["calls"]) == 1


@pytest.mark.parametrize("name", ["my_lora", "own_code.lora"], ids=["file", "folder"])
def test_definitions_in_a_file_that_the_notebook_wrote(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"{name.replace('.', '/')}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text("class LoRALayer: ...", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = run(f"from {name} import LoRALayer")[0].lookup("lora")
    assert found is not None
    assert found[0] == "LoRALayer"


def test_modules_are_no_definitions() -> None:
    namespace = {"LoRA": ModuleType("LoRA"), "extract": nn.Identity(), "replace": functools, "count": torch}
    bindings = Bindings(NAMES)
    bindings.note(namespace)
    assert all(bindings.lookup(what) is None for what in NAMES)
