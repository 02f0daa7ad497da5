"""Packages that Colab has and the grader lacks: what they spoil waits for a person, and nobody is blamed."""

from types import SimpleNamespace
from typing import Any

import pytest

from grader.judging import foreign_packages
from grader.judging.result import describe_conditions
from grader.judging.runner import Judgement
from grader.judging.tampering import WAITS_FOR, WaitsFor
from grader.model import FailedCell, Verdict, Visibility

LACKING = "No module named 'spacy'"
CONDITIONS = SimpleNamespace(checkpoint="stand-in", reviews="real", precision="float32", grader="0.1.0")


def make_evidence(source: str, message: str = LACKING) -> Any:
    failed = (FailedCell(index=0, error="ModuleNotFoundError", message=message),)
    run = SimpleNamespace(summary=SimpleNamespace(failed_cells=failed), conditions=CONDITIONS, faults=())
    return SimpleNamespace(run=run, sources={0: source})


def judge(verdict: Verdict, check_id: str = "step1.a", rationale: str = "") -> Judgement:
    return Judgement(check_id, "Title", Visibility.PUBLIC, verdict, rationale)


FOUND = [
    pytest.param(make_evidence("import spacy"), ["spacy"], id="imported"),
    pytest.param(make_evidence("x = 1\n  from spacy.lang.en import English"), ["spacy"], id="a part of it"),
    pytest.param(make_evidence("import os, spacy as s"), ["spacy"], id="with others"),
    pytest.param(make_evidence("import spacy", "No module named 'spacy.lang'"), ["spacy"], id="a part is missed"),
    pytest.param(
        make_evidence("from typeguard import typechecked", "No module named 'typeguard'"), ["typeguard"], id="typeguard"
    ),
    pytest.param(make_evidence("x = 1"), [], id="raised by hand"),
    pytest.param(make_evidence("import trasnformers", "No module named 'trasnformers'"), [], id="misspelt"),
    pytest.param(make_evidence("import helper", "No module named 'helper'"), [], id="a file of its author"),
    pytest.param(make_evidence("import spacy", "x"), [], id="another error"),
]


@pytest.mark.parametrize(("evidence", "expected"), FOUND)
def test_only_known_packages_that_are_imported_and_missed_count(evidence: Any, expected: list[str]) -> None:
    assert foreign_packages.find_foreign_packages(evidence) == expected
    assert len(list(foreign_packages.find_notes(evidence))) == len(expected)


def test_without_a_training_all_that_did_not_pass_waits() -> None:
    before = (judge(Verdict.FAILED, "run.completes"), judge(Verdict.BLOCKED), judge(Verdict.PASSED))
    after = foreign_packages.excuse(before, make_evidence("import spacy"))
    assert [j.verdict for j in after] == [Verdict.ERROR, Verdict.ERROR, Verdict.PASSED]
    assert [j.result(5).points for j in after] == [None, None, 5]
    assert "not your mistake" in after[0].rationale
    case: Any = SimpleNamespace(evidence=make_evidence("import spacy"))
    assert describe_conditions(case, after)[WAITS_FOR] == WaitsFor.PACKAGE


def test_where_all_trainings_finish_only_what_names_the_package_waits() -> None:
    before = (judge(Verdict.PASSED, "run.completes"), judge(Verdict.FAILED), judge(Verdict.FAILED, "b.c", LACKING))
    after = foreign_packages.excuse(before, make_evidence("import spacy"))
    assert [j.verdict for j in after] == [Verdict.PASSED, Verdict.FAILED, Verdict.ERROR]
