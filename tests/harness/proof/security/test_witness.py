"""Bugs that are planted in the kernel: each stands where it should, and the reference loses nothing by some of them."""

import ast

import pytest

from grader import paths, pipeline
from grader.model import Profile
from tests.proof.security.witness import HOOKS, QUICK, WORD, list_hooks, plant, try_hook


@pytest.mark.parametrize("file", HOOKS)
def test_every_hook_is_there(file: str) -> None:
    source = (paths.ROOT / "grader" / file).read_text(encoding="utf-8")
    for function in HOOKS[file]:
        bugged = plant(source, function)
        ast.parse(bugged)
        assert bugged.count(WORD) == 1


def test_the_reference_loses_nothing() -> None:
    with pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, trial=False) as used:
        tried = [try_hook(file, function, used) for file, function in list_hooks() if function in QUICK]
    assert [(one.hook, one.broken) for one in tried if one.broken] == []
    assert len(tried) == len(QUICK)
