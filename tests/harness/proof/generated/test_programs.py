"""Generated programs: all different, all choices made, and rewritten without another meaning."""

import ast

import pytest

from tests.proof.generated.dice import Dice
from tests.proof.generated.factors import PRODUCTS
from tests.proof.generated.generator import count_choices, generate
from tests.proof.generated.programs import Program
from tests.proof.generated.rewriting import rewrite
from tests.proof.generated.structures import STRUCTURES

PROGRAMS = [generate(seed) for seed in range(150)]


def test_a_seed_makes_one_program() -> None:
    assert generate(7) == PROGRAMS[7]


def test_programs_differ_in_more_than_names() -> None:
    assert len({program.compute_digest() for program in PROGRAMS}) == len(PROGRAMS)


def test_programs_are_python() -> None:
    for program in PROGRAMS:
        for source in program.cells.values():
            compile(source, program.id, "exec")


@pytest.mark.parametrize(
    ("dimension", "choices"),
    [
        pytest.param("layer: structure", set(STRUCTURES), id="structures"),
        pytest.param("layer: A by", {*PRODUCTS, "call"}, id="ways to multiply"),
    ],
)
def test_every_choice_is_made(dimension: str, choices: set[str]) -> None:
    assert set(count_choices(PROGRAMS)[dimension]) == choices


F = "def f(x):\n    return x + 1"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param("def f(number):\n    return number + 1", True, id="another name"),
        pytest.param("def f(x: int) -> int:\n    return x + 1", True, id="annotations"),
        pytest.param("def f(x):\n    'Adds one.'\n    return x + 1  # one more", True, id="docstring and comment"),
        pytest.param("def f(x):\n    return 1 + x", False, id="another order"),
        pytest.param("def f(x):\n    y = x + 1\n    return y", False, id="another statement"),
    ],
)
def test_what_makes_programs_different(other: str, same: bool) -> None:
    digests = {Program("p", {"cell": source}).compute_digest() for source in (F, other)}
    assert (len(digests) == 1) is same


SOURCES = {
    "loop": "def f(n):\n    total = 0\n    for i in range(n):\n        total += i * 2\n    return total + 1",
    "branches": "def f(n):\n    if n > 3:\n        return n - 1\n    else:\n        return 5 if n else n + 7",
    "text": "def f(n):\n    return 'a' + str(n) + 'b' * n",
    "lists": "def f(n):\n    return [n] + [1, 2] * n",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_rewrites_keep_the_meaning(source: str) -> None:
    expected = [_run(source, n) for n in range(6)]
    texts = {rewrite(Dice(str(seed)), source) for seed in range(40)}
    assert len(texts) > 5
    assert all([_run(text, n) for n in range(6)] == expected for text in texts)


def _run(source: str, n: int) -> object:
    names: dict[str, object] = {}
    exec(compile(ast.parse(source), "<test>", "exec"), names)
    function = names["f"]
    assert callable(function)
    return function(n)
