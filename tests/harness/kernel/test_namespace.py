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
FOUND: dict[str, tuple[str, list[str]]] = {
    "function": ("count", [COUNT]),
    "lambda": ("count", ["count_parameters = lambda m: 7"]),
    "partial": ("count", ["from functools import partial", "count_parameters = partial(max, 7)"]),
    "cached": ("count", ["import functools", "@functools.cache\ndef count_parameters(m): return 7"]),
    "callable object": ("count", ["class C:\n    def __call__(self, m): ...", "count_parameters = C()"]),
    "static method": ("count", ["class C:\n    @staticmethod\n    def count_parameters(m): ..."]),
    "class method": ("count", ["class C:\n    @classmethod\n    def count_parameters(cls, m): ..."]),
    "bound method": ("count", ["class C:\n    def f(self, m): ...\ncount_parameters = C().f"]),
    "older name": ("count", ["def num_parameters(m): return 7"]),
    "camel case": ("count", ["def countParameters(m): return 7"]),
    "overwritten later": ("extract", ["def extract(m): return {}", "extract = extract(3)"]),
    "overwritten in its cell": ("extract", ["def extract(m): return {}\nextract = extract(3)"]),
    "deleted": ("extract", ["def extract(m): return {}", "del extract"]),
}
NOT_FOUND = {
    "imported function": ("replace", ["from dataclasses import replace"]),
    "no callable": ("extract", ["extract = {}"]),
    "a layer is no class": ("lora", ["from torch import nn", "LoRA = nn.Linear(2, 2)"]),
    "a helper is no layer": ("lora", ["def lora(model): return model"]),
    "needs an instance": ("count", ["class C:\n    def count_parameters(self): return 7"]),
    "never defined": ("extract", ["extract = 1\nif False:\n    def extract(m): return {}"]),
}


@pytest.mark.parametrize("name", [*FOUND, *NOT_FOUND])
def test_what_is_found(name: str) -> None:
    what, cells = {**FOUND, **NOT_FOUND}[name]
    found = run(*cells)[0].lookup(what)
    assert callable(found[1]) if name in FOUND else found is None


def test_the_last_definition_counts() -> None:
    bindings, _ = run("def extract(m): return 1", "def extract(m): return 2\nextract = extract(0)")
    assert bindings.lookup("extract")[1](None) == 2
    bindings, _ = run("def Extract(m): ...", "def ex_tract(m): ...", "def Extract(m): return 3")
    assert bindings.lookup("extract")[0] == "Extract"  # of names that differ a little


def test_the_name_that_was_asked_for_goes_before_an_older_one() -> None:
    bindings, _ = run("def count_parameters(m): return 1", "def num_parameters(m): return 2")
    assert bindings.lookup("count")[0] == "count_parameters"


MODULE = "import torch\ndef count_parameters(model): return sum(torch.numel(p) for p in model.parameters())"
HELPER = "def size(p): return p.numel()\ndef count_parameters(model): return sum(size(p) for p in model.parameters())"
SHADOWED = {
    "nothing": (COUNT, "", ""),
    "builtin": (COUNT, "sum = 3", "sum"),
    "builtins": (COUNT, "sum = max = len = 3", "sum"),
    "module": (MODULE, "torch = 5", "torch"),
    "module that is deleted": (MODULE, "del torch", "torch"),
    "module, by a function": (MODULE, "def torch(): ...", "torch"),
    "helper": (HELPER, "size = 768", "size"),
}


@pytest.mark.parametrize(("source", "late", "name"), SHADOWED.values(), ids=SHADOWED)
def test_what_is_shadowed_does_not_break_a_function(source: str, late: str, name: str) -> None:
    before = run(source, late)[1].get(name)
    answer, namespace = count(source, late)
    assert answer.value == 8
    after = namespace.get(name)
    assert (type(after), callable(after) or after) == (type(before), callable(before) or before)


def test_a_real_mistake_stays_one() -> None:
    assert count("def count_parameters(m): return undefined", "sum = 3")[0].error.type == "NameError"


SILENT = "class Odd(dict):\n    def __getattribute__(self, name): raise KeyError\ndef count_parameters(m): return Odd()"
NO_ITEMS = "class Odd(dict):\n    def items(self): raise KeyError\ndef extract_qv_layers(m): return Odd()"


@pytest.mark.parametrize(
    ("family", "source", "model"),
    [("count", SILENT, {"sizes": [3, 2]}), ("extract", NO_ITEMS, {"dim": 8, "seed": 0})],
    ids=["a number that answers nothing", "a dictionary without items"],
)
def test_an_odd_answer_is_an_observation(family: str, source: str, model: dict[str, Any]) -> None:
    bindings, namespace = run(source)
    answers, _ = probes.observe(family, {"models": [model]}, bindings, namespace)
    assert answers.items[0].error.type == "KeyError"


def test_noting_runs_nothing_twice() -> None:
    note = "def note(f):\n    calls.append(f)\n    return f"
    assert len(run("calls = []", note, "@note\ndef extract(m): return {}")[1]["calls"]) == 1


IN_A_FILE = {
    "a name from a file": ("lora_a", "from lora_a import LoRALayer"),
    "a name from a folder": ("code_b.lora", "from code_b.lora import LoRALayer"),
    "a file": ("lora_c", "import lora_c as lt"),
    "a file that is no longer bound": ("lora_d", "import lora_d\ndel lora_d"),
    "a file that another one imports": (
        "lora_i",
        "with open('other_i.py', 'w') as f: f.write('import lora_i')\nimport other_i",
    ),
    "a folder": ("code_e.lora", "import code_e.lora"),
    "a file in a folder": ("code_f.lora", "from code_f import lora"),
}


@pytest.mark.parametrize(("name", "source"), IN_A_FILE.values(), ids=IN_A_FILE)
def test_definitions_in_a_file_that_the_notebook_wrote(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = run(*source.splitlines())[0].lookup("lora")
    assert found is not None
    assert (found[0], found[1].__module__) == ("LoRALayer", name)


def write_module(folder: Path, name: str) -> None:
    file = folder / f"{name.replace('.', '/')}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("class LoRALayer: ...", encoding="utf-8")


def test_the_notebooks_own_name_goes_before_one_in_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_module(tmp_path, "lora_g")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run("import lora_g", "class LoRA_Layer: ...")[0].lookup("lora")[0] == "LoRA_Layer"


@pytest.mark.parametrize(
    ("folder", "name"), [("env/lib/site-packages", "lora_h"), (".grading/bundle", "lora_j")], ids=["packages", "grader"]
)
def test_not_everything_in_the_notebooks_folder_is_its_own(
    folder: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(tmp_path / folder, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / folder))
    assert run(f"import {name}", f"from {name} import LoRALayer")[0].lookup("lora") is None


def test_modules_are_no_definitions() -> None:
    namespace = {"LoRA": ModuleType("LoRA"), "extract": nn.Identity(), "replace": functools, "count": torch}
    bindings = Bindings(NAMES)
    bindings.note(namespace)
    assert all(bindings.lookup(what) is None for what in NAMES)
