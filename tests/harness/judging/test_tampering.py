"""Results that count only after a person has read the notebook say so in a field; stored ones in a sentence."""

from types import SimpleNamespace
from typing import Any

import pytest

from grader.judging.result import HELD, describe_conditions
from grader.judging.runner import GRADER_FAULT, Judgement
from grader.judging.tampering import FORMER_RATIONALE, WAITS_FOR, WaitsFor, waits_for_a_person
from grader.model import Verdict, Visibility
from tests.harness import results

CONDITIONS = SimpleNamespace(checkpoint="stand-in", reviews="real", precision="float32", grader="0.1.0")
CASE: Any = SimpleNamespace(evidence=SimpleNamespace(run=SimpleNamespace(conditions=CONDITIONS)))


@pytest.mark.parametrize("held", [[], [False, False], [False, True]], ids=["none", "judged", "held"])
def test_a_result_says_whom_it_waits_for(held: list[bool]) -> None:
    waits = any(held)
    judged = tuple(Judgement("a.b", "B", Visibility.PUBLIC, Verdict.ERROR, held=one) for one in held)
    environment = describe_conditions(CASE, judged)
    assert environment.get(WAITS_FOR) == (WaitsFor.PERSON if waits else None)
    assert waits_for_a_person(results.result(environment=environment)) is waits


@pytest.mark.parametrize(
    ("rationale", "environment", "waits"),
    [
        pytest.param(FORMER_RATIONALE, {}, True, id="stored before it was a field"),
        pytest.param(GRADER_FAULT, {}, False, id="a stored fault of the grader"),
        pytest.param(HELD["rationale"], {WAITS_FOR: "person"}, True, id="by the field"),
        pytest.param(FORMER_RATIONALE, {WAITS_FOR: "nobody"}, False, id="the field comes first"),
    ],
)
def test_stored_results_are_understood(rationale: str, environment: dict[str, str], waits: bool) -> None:
    check = results.check("step1.a", Verdict.ERROR, rationale=rationale)
    assert waits_for_a_person(results.result([check], environment=environment)) is waits
