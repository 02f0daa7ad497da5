"""Cases are run together, since they branch off one process, and each is a test of its own."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from grader import pipeline
from grader.execution.setup import UNSANDBOXED
from grader.model import Profile
from tests.proof.validity.corpus import Base, CorpusCase
from tests.proof.validity.verdicts import CaseResult, examine

Examined = Callable[[Base, Sequence[CorpusCase]], Mapping[str, CaseResult]]


@pytest.fixture(scope="module")
def examined(request: pytest.FixtureRequest) -> Examined:
    """Findings by id about those of the given cases that a selected test names, or about all if none does."""
    items = (item for item in request.session.items if hasattr(item, "callspec"))
    selected = {item.callspec.params.get("name") for item in items}

    def run(base: Base, cases: Sequence[CorpusCase]) -> Mapping[str, CaseResult]:
        chosen = [case for case in cases if case.id in selected] or cases
        with pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, UNSANDBOXED) as used:
            return {finding.case.id: finding for finding in examine(base, chosen, used)}

    return run
