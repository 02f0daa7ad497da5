"""Cases are run together, since they branch off one process, and each is a test of its own."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pytest
import torch

from grader import pipeline
from grader.execution.setup import UNSANDBOXED
from grader.model import Profile
from tests.proof.validity.corpus import Base, CorpusCase
from tests.proof.validity.verdicts import CaseResult, examine

Examined = Callable[[Base, Sequence[CorpusCase]], Mapping[str, CaseResult]]


@pytest.fixture(scope="module")
def examined(request: pytest.FixtureRequest) -> Examined:
    """Findings by id about those of the given cases that a selected test names, or about all if none does."""
    parameters = (item.callspec.params for item in request.session.items if hasattr(item, "callspec"))
    selected = {values["name"] for values in parameters if "name" in values}

    def run(base: Base, cases: Sequence[CorpusCase]) -> Mapping[str, CaseResult]:
        chosen = [case for case in cases if case.id in selected] or cases
        with pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, UNSANDBOXED) as used:
            return {finding.case.id: finding for finding in examine(base, chosen, used)}

    return run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For layers of 16 to 48 units, which are not worth a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
