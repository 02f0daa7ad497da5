"""Figures and pages made from findings."""

import html

import pytest

from grader.judging.runner import Judgement
from grader.model import Verdict, Visibility
from tests.proof.validity import markdown, page
from tests.proof.validity.corpus import CaseKind, CorpusCase
from tests.proof.validity.figures import Matrix, get_letter
from tests.proof.validity.training import Rate
from tests.proof.validity.verdicts import CaseResult

CHECKS = ("run.completes", "step1.count_function", "step1.accuracy")


def finding(name: str, kind: CaseKind, failed: tuple[str, ...] = (), expected: tuple[str, ...] = ()) -> CaseResult:
    judgements = tuple(
        Judgement(
            id=check,
            title=check,
            visibility=Visibility.PUBLIC,
            verdict=Verdict.FAILED if check in failed else Verdict.PASSED,
            rationale="<b>wrong</b> | \x1b[2J" if check in failed else "",
        )
        for check in CHECKS
    )
    specimen = CorpusCase(name, kind, "what | it is", False, (), 0, failed=frozenset(expected))
    return CaseResult(specimen, judgements)


RIGHT = finding("right", CaseKind.VARIANT)
KILLED = finding("killed", CaseKind.MUTANT, ("step1.count_function",), ("step1.count_function",))


def test_everything_as_expected_and_one_check_uncovered() -> None:
    matrix = Matrix(CHECKS, (KILLED, RIGHT))
    assert matrix.killed == (KILLED,)
    assert matrix.false_fails == 0
    assert matrix.uncovered == ("run.completes",)
    assert not matrix.holds


@pytest.mark.parametrize(
    ("found", "says"),
    [
        pytest.param(
            finding("alive", CaseKind.MUTANT, (), ("run.completes",)),
            "run.completes is not failed",
            id="mutant that survives",
        ),
        pytest.param(
            finding("more", CaseKind.MUTANT, ("run.completes", "step1.accuracy"), ("run.completes",)),
            "step1.accuracy is failed",
            id="mutant that fails too much",
        ),
        pytest.param(
            finding("no", CaseKind.VARIANT, ("run.completes",)), "run.completes is failed", id="variant that fails"
        ),
    ],
)
def test_surprises(found: CaseResult, says: str) -> None:
    assert says in found.surprises
    assert Matrix(CHECKS, (found,)).surprising == (found,)


def test_missing_words_are_a_surprise() -> None:
    specimen = CorpusCase(
        "quiet", CaseKind.MUTANT, "", False, (), 0, failed=frozenset({"run.completes"}), says=("alpha",)
    )
    found = CaseResult(specimen, finding("quiet", CaseKind.MUTANT, ("run.completes",)).judgements)
    assert found.surprises == ("the feedback does not say 'alpha'",)


def test_letters() -> None:
    assert [get_letter(KILLED, check) for check in CHECKS] == ["·", "F", "·"]


def test_document_escapes_what_would_break_a_table() -> None:
    text = markdown.render_document(Matrix(CHECKS, (KILLED, RIGHT)))
    assert "| `right` | what \\| it is |" in text


def test_page_is_inert() -> None:
    text = page.render_page(
        Matrix(CHECKS, (KILLED, RIGHT)), [("<b>figure</b>", "1")], [KILLED.specimen, RIGHT.specimen]
    )
    assert "<b>wrong</b>" not in text
    assert "<b>figure</b>" not in text
    assert "has to fail step1.count_function" in text
    assert "\x1b" not in text
    assert "default-src 'none'" in html.unescape(text)
    assert "<script" not in text


@pytest.mark.parametrize(
    ("happened", "runs", "bound"),
    [
        pytest.param(0, 20, 1 - 0.05 ** (1 / 20), id="never"),
        pytest.param(20, 20, 1.0, id="always"),
        pytest.param(0, 1, 0.95, id="one run"),
    ],
)
def test_bound_of_a_rate(happened: int, runs: int, bound: float) -> None:
    assert Rate("x", happened, runs).bound == pytest.approx(bound, abs=1e-6)  # bisection of 60 steps: 1e-18
