"""The whole corpus: every mutant fails exactly its checks, every variant passes all of them. Takes minutes."""

from collections.abc import Callable, Mapping

import pytest

from tests.proof.validity.corpus_run import load
from tests.proof.validity.verdicts import CaseResult

BASE, CORPUS = load()
SHOWN = [case for case in CORPUS if not case.training]


@pytest.fixture(scope="module")
def findings(examined: Callable[..., Mapping[str, CaseResult]]) -> Mapping[str, CaseResult]:
    return examined(BASE, SHOWN)


@pytest.mark.parametrize("name", [case.id for case in SHOWN])
def test_verdicts_and_feedback(findings: Mapping[str, CaseResult], name: str) -> None:
    assert findings[name].surprises == ()


def test_feedback_has_a_rationale_and_a_hint(findings: Mapping[str, CaseResult]) -> None:
    silent = [f"{f.case.id}: {j.id}" for f in findings.values() for j in f.words if not (j.rationale and j.hint)]
    assert silent == []
