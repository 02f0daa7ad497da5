"""Causes are named of cells that ran without data and training, as `python -m tests.proof.validity.causes` has it."""

import pytest

from tests.proof.validity import causes
from tests.proof.validity.corpus_run import load

BASE, CORPUS = load()


@pytest.mark.parametrize("name", ["freezing_inverted", "count_ignores_requires_grad", "lora_head_frozen"])
def test_the_cause_of_a_mutant_is_named(name: str) -> None:
    (case,) = (case for case in CORPUS if case.id == name)
    told = list(causes.examine(BASE, case))
    assert told
    assert [one.right for one in told] == [True] * len(told)
