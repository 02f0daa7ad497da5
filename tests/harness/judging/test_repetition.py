"""One mistake costs once."""

from dataclasses import replace

import pytest

from grader.judging.repetition import excuse_repetitions
from grader.judging.runner import Judgement
from grader.model import Verdict, Visibility

FAILED, BLOCKED, PASSED = Verdict.FAILED, Verdict.BLOCKED, Verdict.PASSED


def judgement(id: str, verdict: Verdict, cause: str = "", requires: tuple[str, ...] = ()) -> Judgement:
    return Judgement(id, id.upper(), Visibility.PUBLIC, verdict, "It is wrong.", cause=cause, requires=requires)


HEAD = judgement("step2.count", FAILED, "frozen: classifier")
UNTOUCHED = judgement("step2.untouched", BLOCKED, requires=("step2.count",))
LORA = judgement("step3.count", FAILED, "frozen: classifier")
CERTIFICATE = judgement("step3.certificate", BLOCKED, requires=("step3.count",))


@pytest.mark.parametrize(
    ("given", "points"),
    [
        pytest.param([HEAD, UNTOUCHED, LORA, CERTIFICATE], [0, 0, 1, 1], id="the second step costs nothing"),
        pytest.param([LORA, CERTIFICATE, HEAD], [1, 1, 0], id="in any order of files"),
        pytest.param([HEAD, replace(LORA, cause="2 labels")], [0, 0], id="another cause"),
        pytest.param([HEAD, replace(LORA, cause="")], [0, 0], id="no known cause"),
        pytest.param([replace(HEAD, verdict=PASSED), LORA], [1, 0], id="the first step is right"),
        pytest.param([HEAD, replace(HEAD, id="step2.other")], [0, 0], id="the same step"),
        pytest.param([replace(HEAD, id="run.completes"), LORA], [1, 0], id="the run fails by what a step names"),
        pytest.param([replace(HEAD, id="run.completes"), replace(LORA, verdict=PASSED)], [0, 1], id="the run alone"),
        pytest.param(
            [HEAD, LORA, replace(CERTIFICATE, requires=("step3.count", "step3.other"))], [0, 1, 0], id="waits for more"
        ),
        pytest.param(
            [HEAD, replace(LORA, verdict=PASSED), replace(CERTIFICATE, verdict=FAILED)],
            [0, 1, 0],
            id="nothing repeated",
        ),
    ],
)
def test_points(given: list[Judgement], points: list[int]) -> None:
    assert [judgement.result(1).points for judgement in excuse_repetitions(given)] == points


def test_words() -> None:
    found = excuse_repetitions([HEAD, LORA])[1]
    assert (found.verdict, found.repeats) == (BLOCKED, "step2.count")
    assert found.rationale == ("It is wrong. It is the mistake that “STEP2.COUNT” names, and costs points there only.")
