"""Where a mutant differs from the reference, and which places of its mistake count as right."""

import pytest

from grader.judging.runner import Judgement
from grader.model import Place, Verdict, Visibility
from tests.proof.validity.corpus import Base, CaseKind, CorpusCase
from tests.proof.validity.places import compare, find_change, summarise
from tests.proof.validity.verdicts import CaseResult

BASE = Base({"a": "x = 1", "b": "def f(x):\n    y = g(\n        x,\n    )\n    h(y)\n    return y"})
CALL = "def f(x):\n    y = g(\n        x,\n    )\n"
CASES = [
    pytest.param(("x = 2", BASE.cells["b"]), {(0, 1)}, {(0, 1)}, id="one line"),
    pytest.param(
        ("x = 1", BASE.cells["b"].replace("x,\n", "x + 1,\n")),
        {(1, 3)},
        {(1, 2), (1, 3), (1, 4)},
        id="part of a statement",
    ),
    pytest.param(
        ("x = 1", CALL + "    return y"), {(1, 4), (1, 5)}, {(1, 2), (1, 3), (1, 4), (1, 5)}, id="a line is gone"
    ),
    pytest.param((*BASE.cells.values(), "a = 1\nb = 2"), {(2, 1), (2, 2)}, {(2, 1), (2, 2)}, id="one more cell"),
    pytest.param(("x = (", BASE.cells["b"]), {(0, 1)}, {(0, 1)}, id="no python"),
]


def mutant(*cells: str) -> CorpusCase:
    return CorpusCase("m", CaseKind.MUTANT, "", False, cells, 0, frozenset({"a.b"}))


@pytest.mark.parametrize(("cells", "exact", "accepted"), CASES)
def test_the_change_of_a_mutant(
    cells: tuple[str, ...], exact: set[tuple[int, int]], accepted: set[tuple[int, int]]
) -> None:
    found = find_change(BASE, mutant(*cells))
    assert (found.exact, found.accepted) == (exact, accepted)


def judged(place: Place | None) -> CaseResult:
    judgement = Judgement("a.b", "Title", Visibility.PUBLIC, Verdict.FAILED, place=place)
    return CaseResult(mutant("x = 2", BASE.cells["b"]), (judgement,))


def test_figures() -> None:
    places = [Place(cell=0, line=1, source="x = 2"), Place(cell=1, line=1, source="def f(x):"), None]
    found = [one for place in places for one in compare(BASE, judged(place))]
    assert [(one.right, one.exact) for one in found] == [(True, True), (False, False), (False, False)]
    assert summarise(found)["Failed checks that name a place"] == "2 of 3"
    assert summarise(found)["Places that are right"] == "1 of 2"
