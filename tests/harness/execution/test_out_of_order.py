"""Cells that came too early, and what was trained in vain because of them, run once more."""

import pytest

from grader.protocol.out_of_order import find_out_of_order

WRAP = "adapters = {n: Layer(w) for n, w in found.items()}\nput_in(lora_model, adapters)"
CELLS = [
    "model = load()\ntrain(model)",
    "head_model = load()\nfreeze(head_model)\ntrain(head_model)",
    "lora_model = load()",
    WRAP,
    "trainer = Trainer(model=lora_model)",
    "trainer.train()",
    "print(results)",
    "class Layer: ...",
]
FUNCTIONS = ["use()", "def use(): help()", "def help(): ..."]
CHAIN = ["y = x", "z = y", "x = 1"]


def miss(name: str) -> str:
    return f"NameError: name {name!r} is not defined"


TRAINED = [(0, "full"), (1, "head"), (5, "head")]


def fail(*positions: int, error: str = miss("Layer")) -> list[str]:
    return [error if position in positions else "" for position in range(len(CELLS))]


FOUND = [
    pytest.param(CELLS, fail(), TRAINED, [], id="no error"),
    pytest.param(CELLS, fail(3, error="ValueError: x"), TRAINED, [], id="another error"),
    pytest.param(CELLS, fail(3), [(0, "full"), (1, "head")], [3], id="nothing was trained in vain"),
    pytest.param(CELLS, fail(3), TRAINED, [2, 3, 4, 5], id="what was trained in vain is made and trained again"),
    pytest.param(CELLS, fail(3), [(0, "full"), (5, "head")], [3], id="a method's first training stands"),
    pytest.param([*CELLS[:-1], "other = 1"], fail(3), TRAINED, [], id="no cell defines the name"),
    pytest.param(FUNCTIONS, [miss("use"), "", ""], [], [0], id="a function"),
    pytest.param(CHAIN, [miss("x"), miss("y"), ""], [], [0, 1], id="one after another"),
    pytest.param(["y = (", "!pip\nx = 1"], ["SyntaxError: x", miss("y")], [], [], id="no Python"),
]


@pytest.mark.parametrize(("sources", "errors", "trained", "expected"), FOUND)
def test_cells_to_run_once_more(
    sources: list[str], errors: list[str], trained: list[tuple[int, str]], expected: list[int]
) -> None:
    assert find_out_of_order(sources, errors, trained) == expected
