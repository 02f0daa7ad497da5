"""Finding definitions, whatever happened to their names."""

import functools
import textwrap
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from grader.kernel import probes
from grader.kernel.namespace import Bindings

NAMES = {
    "count": ("count_trainable_parameters", "num_trainable_parameters"),
    "extract": ("extract_qv_layers", "extract"),
    "replace": ("replace_layers", "replace"),
    "lora": ("LoRALayer", "LoRA"),
}


def run(*cells: str) -> tuple[Bindings, dict[str, Any]]:
    """Bindings and namespace after cells of a notebook."""
    bindings, namespace = Bindings(NAMES), {"__name__": "__main__"}
    for cell in cells:
        source = textwrap.dedent(cell)
        exec(source, namespace)
        bindings.note(namespace, source)
    return bindings, namespace


COUNT = (
    "def count_trainable_parameters(model):\n    return sum(p.numel() for p in model.parameters() if p.requires_grad)\n"
)

FOUND = [
    pytest.param("count", [COUNT], id="function"),
    pytest.param("count", ["count_trainable_parameters = lambda m: 7"], id="lambda"),
    pytest.param(
        "count", ["from functools import partial", "count_trainable_parameters = partial(max, 7)"], id="partial"
    ),
    pytest.param(
        "count", ["import functools", "@functools.cache\ndef count_trainable_parameters(m): return 7"], id="cached"
    ),
    pytest.param(
        "count",
        ["class C:\n    def __call__(self, m): return 7", "count_trainable_parameters = C()"],
        id="callable-object",
    ),
    pytest.param(
        "count", ["class C:\n    @staticmethod\n    def count_trainable_parameters(m): return 7"], id="static-method"
    ),
    pytest.param(
        "count", ["class C:\n    @classmethod\n    def count_trainable_parameters(cls, m): return 7"], id="class-method"
    ),
    pytest.param(
        "count", ["class C:\n    def f(self, m): return 7\ncount_trainable_parameters = C().f"], id="bound-method"
    ),
    pytest.param("count", ["def num_trainable_parameters(m): return 7"], id="older-name"),
    pytest.param("count", ["def countTrainableParameters(m): return 7"], id="camel-case"),
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
    pytest.param("count", ["class C:\n    def count_trainable_parameters(self): return 7"], id="needs-an-instance"),
    pytest.param("extract", ["extract = 1\nif False:\n    def extract(m): return {}"], id="never-defined"),
]


@pytest.mark.parametrize(("what", "cells"), NOT_FOUND)
def test_not_found(what: str, cells: list[str]) -> None:
    assert run(*cells)[0].lookup(what) is None


def test_the_last_definition_counts() -> None:
    bindings, _ = run("def extract(m): return 1", "def extract(m): return 2\nextract = extract(0)")
    assert bindings.lookup("extract")[1](None) == 2


def test_the_name_that_was_asked_for_goes_before_an_older_one() -> None:
    bindings, _ = run("def count_trainable_parameters(m): return 1", "def num_trainable_parameters(m): return 2")
    assert bindings.lookup("count")[0] == "count_trainable_parameters"


SHADOWED = [
    pytest.param(["sum = 3"], id="builtin"),
    pytest.param(["sum = max = len = 3"], id="builtins"),
    pytest.param([], id="nothing"),
]


@pytest.mark.parametrize("late", SHADOWED)
def test_a_shadowed_name_does_not_break_a_function(late: list[str]) -> None:
    bindings, namespace = run(COUNT, *late)
    answers, _ = probes.observe("count", {"models": [{"sizes": [3, 2]}]}, bindings, namespace)
    assert [item.value for item in answers.items] == [8]


MODULES = [
    pytest.param("torch = 5", id="variable"),
    pytest.param("del torch", id="deleted"),
    pytest.param("def torch(): ...", id="function"),
]


@pytest.mark.parametrize("late", MODULES)
def test_a_shadowed_module_does_not_break_a_function(late: str) -> None:
    source = "import torch\ndef count_trainable_parameters(m): return sum(torch.numel(p) for p in m.parameters())"
    bindings, namespace = run(source, late)
    before = namespace.get("torch")
    answers, _ = probes.observe("count", {"models": [{"sizes": [3, 2]}]}, bindings, namespace)
    assert [item.value for item in answers.items] == [8]
    assert namespace.get("torch") is before


def test_a_shadowed_helper_is_restored_last() -> None:
    helper = (
        "def size(p): return p.numel()\ndef count_trainable_parameters(m): return sum(size(p) for p in m.parameters())"
    )
    bindings, namespace = run(helper, "size = 768")
    answers, _ = probes.observe("count", {"models": [{"sizes": [3, 2]}]}, bindings, namespace)
    assert [item.value for item in answers.items] == [8]
    assert namespace["size"] == 768


def test_a_real_mistake_stays_one() -> None:
    bindings, namespace = run("def count_trainable_parameters(m): return undefined", "sum = 3")
    answers, _ = probes.observe("count", {"models": [{"sizes": [3, 2]}]}, bindings, namespace)
    assert answers.items[0].error.type == "NameError"


ODD_ANSWERS = [
    pytest.param(
        "count",
        "class Odd:\n    def __getattribute__(self, name): raise KeyError(name)\n"
        "def count_trainable_parameters(m): return Odd()",
        {"sizes": [3, 2]},
        id="a number that answers nothing",
    ),
    pytest.param(
        "extract",
        "class Odd(dict):\n    def items(self): raise KeyError('items')\ndef extract_qv_layers(m): return Odd()",
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
    _, namespace = run(
        "calls = []", "def note(f):\n    calls.append(f)\n    return f", "@note\ndef extract(m): return {}"
    )
    assert len(namespace["calls"]) == 1


def test_definitions_in_a_file_that_the_notebook_wrote(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_lora.py").write_text("class LoRALayer: ...", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = run("from my_lora import LoRALayer")[0].lookup("lora")
    assert found is not None
    assert found[0] == "LoRALayer"


def test_definitions_in_a_folder_that_the_notebook_made(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_code").mkdir()
    (tmp_path / "own_code" / "lora.py").write_text("class LoRALayer: ...", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = run("from own_code.lora import LoRALayer")[0].lookup("lora")
    assert found is not None
    assert found[0] == "LoRALayer"


def test_a_helper_called_lora_is_no_layer() -> None:
    assert run("def lora(model):\n    return model")[0].lookup("lora") is None


def test_modules_are_no_definitions() -> None:
    namespace = {"LoRA": ModuleType("LoRA"), "extract": nn.Identity(), "replace": functools, "count": torch}
    bindings = Bindings(NAMES)
    bindings.note(namespace)
    assert all(bindings.lookup(what) is None for what in NAMES)
