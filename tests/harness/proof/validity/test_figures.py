"""Figures from verdicts, and the summary of them."""

from dataclasses import replace
from typing import Any

import pytest

from grader.judging.runner import Judgement
from grader.model import Verdict, Visibility
from grader.paths import ROOT
from tests.proof.validity import markdown, rounds
from tests.proof.validity.corpus import CaseKind, CorpusCase
from tests.proof.validity.figures import Matrix, Row, build_row
from tests.proof.validity.training import Rate
from tests.proof.validity.verdicts import CaseResult

CHECKS = ("run.completes", "step1.count_function", "step1.accuracy")


COMPLETES, COUNTS, ACCURACY = CHECKS
MUTANT, VARIANT = CaseKind
SAID = "<b>wrong</b> | \x1b[2J"


def finding(name: str, kind: CaseKind, failed: tuple[str, ...] = (), expected: tuple[str, ...] = ()) -> CaseResult:
    outcomes = {check: (Verdict.FAILED, SAID) if check in failed else (Verdict.PASSED, "") for check in CHECKS}
    judgements = tuple(Judgement(check, check, Visibility.PUBLIC, *outcome) for check, outcome in outcomes.items())
    return CaseResult(CorpusCase(name, kind, "what | it is", False, (), 0, failed=frozenset(expected)), judgements)


def row(*arguments: Any) -> Row:
    return build_row(finding(*arguments), CHECKS)


RIGHT = row("right", VARIANT)
KILLED = row("killed", MUTANT, (COUNTS,), (COUNTS,))


def test_everything_as_expected_and_one_check_uncovered() -> None:
    matrix = Matrix(CHECKS, (KILLED, RIGHT))
    assert matrix.killed == (KILLED,)
    assert matrix.false_fails == 0
    assert matrix.uncovered == (COMPLETES,)
    assert not matrix.holds


@pytest.mark.parametrize(
    ("kind", "failed", "expected", "says"),
    [
        pytest.param(MUTANT, (), (COMPLETES,), f"{COMPLETES} is not failed", id="mutant that survives"),
        pytest.param(MUTANT, CHECKS[::2], (COMPLETES,), f"{ACCURACY} is failed ({SAID})", id="mutant that fails more"),
        pytest.param(VARIANT, (COMPLETES,), (), f"{COMPLETES} is failed ({SAID})", id="variant that fails"),
    ],
)
def test_surprises(kind: CaseKind, failed: tuple[str, ...], expected: tuple[str, ...], says: str) -> None:
    found = finding("x", kind, failed, expected)
    assert says in found.surprises
    (surprising,) = Matrix(CHECKS, (build_row(found, CHECKS),)).surprising
    assert surprising.case is found.case


def test_a_surprise_without_a_rationale_names_the_first_error() -> None:
    found = replace(finding("alive", MUTANT, (), (COMPLETES,)), first_error="KeyError: 'review'")
    assert found.surprises == ("run.completes is not failed (the first failing cell: KeyError: 'review')",)


def test_missing_words_are_a_surprise() -> None:
    found = finding("quiet", MUTANT, (COMPLETES,), (COMPLETES,))
    found = replace(found, case=replace(found.case, says=("alpha",)))
    assert found.surprises == ("the feedback does not say 'alpha'",)


def test_letters_and_counts_of_a_check() -> None:
    survivor, strict = row("alive", MUTANT, (), (COUNTS,)), row("strict", VARIANT, (COUNTS,))
    matrix = Matrix(CHECKS, (KILLED, survivor, RIGHT), (strict,))
    assert KILLED.letters == "·F·"
    assert matrix.count_failed(COUNTS) == matrix.count_passed(COUNTS) == (1, 2)


def test_summary_is_short_and_follows_from_what_is_stored() -> None:
    matrix = Matrix(CHECKS, (KILLED, RIGHT), (row("whole", VARIANT, (COMPLETES,)),))
    first = rounds.make_round(matrix, 0, "abc def").model_copy(update={"lora": {"a": (200, 0), "b": (50, 1)}})
    again = rounds.rebuild_matrix(first, CHECKS, [KILLED.case, RIGHT.case], [matrix.notebooks[0].case])
    assert again == matrix
    text = markdown.render_page(again, [first], (), [Rate("x | y", 0, 20)], "made-up reviews")
    assert "| LoRA checks on 2 right layers, 250 other seeds: verdicts that flipped | 1 |" in text
    assert "| `step1.count_function` | 1 of 1 | 1 | 2 of 2 |" in text
    assert "whole: run.completes is failed (<b>wrong</b> \\| \x1b[2J)" in text
    assert "| x \\| y | 0 of 20 |" in text
    assert "Not measured on this code yet: `make validate`" in markdown.render_page(None, (), (), (), "reviews")


def test_every_case_is_listed_with_what_its_student_reads() -> None:
    result = finding("killed", MUTANT, (COMPLETES,))
    text = markdown.render_cases(Matrix(CHECKS, (build_row(result, CHECKS),)), [result])
    assert "**`killed`** `F··` what | it is" in text
    assert "- `run.completes`: <b>wrong</b> \\| \x1b[2J" in text


def test_the_page_in_docs_is_short() -> None:
    assert len((ROOT / "docs" / "validity.md").read_text(encoding="utf-8").splitlines()) <= 80


@pytest.mark.parametrize(
    ("happened", "runs", "bound"),
    [
        pytest.param(0, 20, 1 - 0.05 ** (1 / 20), id="never"),
        pytest.param(20, 20, 1.0, id="always"),
        pytest.param(0, 1, 0.95, id="one run"),
    ],
)
def test_bound_of_a_rate(happened: int, runs: int, bound: float) -> None:
    assert Rate("x", happened, runs).bound == pytest.approx(bound, abs=1e-6)  # scipy promises far more digits
