"""The whole corpus: every mutant fails exactly its checks, every variant passes all of them."""

from collections.abc import Mapping

import pytest

from grader import grading
from grader.model import Profile
from grader.sandbox import Backend
from grader.validation.validating import load
from grader.validation.verdicts import Finding, examine

BASE, CORPUS = load()
SHOWN = [specimen for specimen in CORPUS if not specimen.training]


pytestmark = pytest.mark.training  # the whole corpus: minutes


@pytest.fixture(scope="module")
def findings() -> Mapping[str, Finding]:
    """Everything is run once: specimens branch off one process."""
    with grading.setup(Profile.STRUCTURE, grading.DEFAULT_SEED, Backend.NONE) as used:
        return {finding.specimen.id: finding for finding in examine(BASE, SHOWN, used)}


@pytest.mark.parametrize("name", [specimen.id for specimen in SHOWN])
def test_verdicts_and_feedback(findings: Mapping[str, Finding], name: str) -> None:
    assert findings[name].surprises == ()


def test_feedback_has_a_rationale_and_a_hint(findings: Mapping[str, Finding]) -> None:
    silent = [f"{f.specimen.id}: {j.id}" for f in findings.values() for j in f.words if not (j.rationale and j.hint)]
    assert silent == []
