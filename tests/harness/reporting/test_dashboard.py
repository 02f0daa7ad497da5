"""The dashboard: what needs attention comes first, nothing is left out. What all pages have: test_pages.py."""

import math
import re
import time

import pytest

from grader.grades.grade import Grade, Standing
from grader.intake.uploads import Intake
from grader.model import Method, MethodSummary, Result, Verdict
from grader.reporting.cohort.attention import AttentionEntry, find_problems
from grader.reporting.cohort.dashboard import ENTRIES_SHOWN, render_dashboard
from grader.reporting.cohort.figures import (
    compute_check_figures,
    compute_method_figures,
    compute_point_biserial,
    compute_spread,
)
from grader.reporting.cohort.graded_class import GradedClass
from grader.reporting.cohort.similarity_page import render_similar
from grader.similarity import Pair, Paper, Passage, Similarity
from tests.harness import results

from . import dashboard_class as invented
from .examples import full_marks
from .pages import DASHBOARD as PAGE
from .pages import FOUND, GRADES, PAGES, SIMILAR, Reader


def find_entries(key: str, grades: tuple[Grade, ...] = GRADES, found: Intake = FOUND) -> tuple[AttentionEntry, ...]:
    """What is listed of one kind of problem."""
    return find_problems(GradedClass(grades, found, SIMILAR)).get(key, ())


def between(html: str, start: str, end: str) -> str:
    """The words from the element with one id to that with another."""
    part = html.split(f'id="{start}"')[1].split(f'id="{end}"')[0]
    return " ".join(re.sub(r"<[^>]*>", " ", part).split())


def test_side_by_side_links_lead_somewhere() -> None:
    targets = re.findall(r'"\./similar\.html#([^"]+)"', PAGE)
    assert len(targets) == len(SIMILAR.pairs) > 0
    assert set(targets) <= set(Reader(PAGES["similar code"]).values("id"))


def test_everybody_has_a_row() -> None:
    rows = [a for tag, a in Reader(PAGE).elements if tag == "tr" and "data-standing" in a]
    assert len(rows) == len(GRADES) == 60
    assert sorted(row["data-standing"] or "" for row in rows) == sorted(grade.standing.value for grade in GRADES)


def test_the_filter_looks_through_the_section_of_those_who_have_one() -> None:
    texts = [a["data-search"] or "" for tag, a in Reader(PAGE).elements if tag == "tr" and "data-search" in a]
    sections = [grade.student.section for grade in GRADES]
    assert {None, "Group 1", "Group 2"} <= set(sections)
    assert [text for text in texts if "none" in text] == []
    assert sum("group" in text for text in texts) == sum(section is not None for section in sections)


def test_reports_are_linked_where_there_are_any() -> None:
    folders = {GRADES[0].upload.id: "results/a b"} if GRADES[0].upload else {}
    html = render_dashboard(GRADES, FOUND, name="x", folders=folders)
    links = Reader(html).values("href")
    assert "./results/a%20b/staff.html" in links
    assert f"./{GRADES[1].upload.id}/feedback.html" in links if GRADES[1].upload else False
    with_result = {grade.upload.id for grade in GRADES if grade.upload and grade.result}
    assert len([link for link in set(links) if link.endswith("feedback.html")]) == len(with_result)


@pytest.mark.parametrize(
    ("key", "number", "says"),
    [
        pytest.param("ungraded", 2, "The model with adapters classifies reviews well", id="ungraded"),
        pytest.param("refused", 2, "is a PDF", id="refused"),
        pytest.param("stopped", 2, "stopped at its time limit", id="stopped"),
        pytest.param("claims", 3, "Full fine-tuning: accuracy 93.1% claimed, 81.1% measured", id="claims"),
        pytest.param("similar", 1 + len(SIMILAR.pairs), "of the first is in the second", id="similar"),
        pytest.param("missing", 2, "", id="missing"),
    ],
)
def test_what_needs_attention_is_listed(key: str, number: int, says: str) -> None:
    found = find_entries(key)
    assert len(found) == number
    assert any(says in entry.what for entry in found)


def test_problems_stand_above_the_figures_most_urgent_first() -> None:
    places = [PAGE.index(f'id="{key}"') for key in ("attention", "ungraded", "batch", "refused", "missing", "scores")]
    assert places == sorted(places)
    assert "Look here." in between(PAGE, "batch", "refused")


def test_a_class_without_problems_says_so() -> None:
    fine = [grade for grade in GRADES if grade.standing is Standing.GRADED and not grade.note][:1]
    quiet = fine[0].model_copy(update={"result": full_marks()})
    html = render_dashboard([quiet], Intake(source="x.zip", uploads=()), name="x")
    assert "Nothing: everybody is graded" in html


def test_many_entries_are_folded() -> None:
    found, grades = invented.settled(560)
    html = render_dashboard(grades, found, name="x")
    missing = len(find_entries("missing", grades, found))
    assert missing > ENTRIES_SHOWN + 2
    assert f"<summary>{missing - ENTRIES_SHOWN} more</summary>" in html


def test_an_empty_class_makes_a_page() -> None:
    html = render_dashboard([], Intake(source="empty.zip", uploads=()), name="x")
    text = Reader(html).text
    for sentence in ("nobody is graded yet", "No check was judged.", "No training was measured.", "Nobody handed in"):
        assert sentence in text


def test_runs_without_a_sandbox_are_said_loudly() -> None:
    bare = [g.model_copy(update={"result": full_marks().model_copy(update={"sandbox": "none"})}) for g in GRADES[:3]]
    assert "3 of 3 notebooks were run without a sandbox" in render_dashboard(bare, FOUND, name="x")
    assert "without a sandbox" not in PAGE


def test_how_it_was_graded_tells_where_results_differ() -> None:
    other = full_marks().model_copy(update={"seed": 7, "environment": {"grader": "1.2"}})
    grades = [*GRADES[:4], GRADES[0].model_copy(update={"result": other})]
    text = between(render_dashboard(grades, FOUND, name="x", rules=("Rule one.",)), "grading", "never")
    assert "20260117 (4), 7 (1)" in text
    assert "Rule one." in text


def test_a_thousand_submissions_stay_within_the_limits() -> None:
    found, grades = invented.settled(1000)
    began = time.process_time()
    html = render_dashboard(grades, found, name="autumn", similarity=SIMILAR)
    assert time.process_time() - began < 10  # measured: 0.5 s
    assert len(html.encode()) < 10_000_000  # measured: 1.3 MB


def test_similar_code_is_bounded() -> None:
    paper = Paper("a", "a", "1", "x" * 100_000 + "\n" * 10_000)
    pair = Pair(paper, paper, 1.0, 1.0, (Passage((0, 9_999), (0, 9_999)),) * 50)
    html = render_similar(Similarity(pairs=(pair,) * 200), FOUND)
    assert len(html) < 10_000_000
    assert "44 shorter passages are not shown" in html


def checks_of(*verdicts: Verdict) -> Result:
    """A result with one check of 10 points per verdict."""
    checks = tuple(results.check(f"step1.c{n}", verdict, 10, title=f"C{n}") for n, verdict in enumerate(verdicts))
    return full_marks().model_copy(update={"checks": checks})


P, F, B, E, N = Verdict


def test_pass_rates_leave_out_what_was_not_judged() -> None:
    (first, second) = compute_check_figures([checks_of(P, N), checks_of(F, N), checks_of(B, E), checks_of(P, N)])
    assert (first.passed, first.counts[F], first.counts[B]) == (0.5, 1, 1)
    assert second.passed is None


def test_discrimination_compares_with_the_other_checks_only() -> None:
    good = [checks_of(P, P, P)] * 6 + [checks_of(F, F, F)] * 6
    assert [figures.discrimination for figures in compute_check_figures(good)] == pytest.approx([1.0] * 3)
    backwards = [checks_of(F, P, P)] * 6 + [checks_of(P, F, F)] * 6
    first = compute_check_figures(backwards)[0]
    assert first.discrimination == pytest.approx(-1.0)
    assert first.odd


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        pytest.param([(True, 1.0), (False, 0.0)] * 4, None, id="too few"),
        pytest.param([(True, 1.0), (True, 0.0)] * 6, None, id="all passed"),
        pytest.param([(True, 0.5), (False, 0.5)] * 6, None, id="others do not vary"),
        pytest.param([(True, 1.0), (False, 0.0)] * 6, 1.0, id="perfect"),
        pytest.param([(True, 1.0), (False, 1.0), (True, 0.0), (False, 0.0)] * 6, 0.0, id="none"),
        pytest.param([(True, 3.0), (True, 1.0), (False, 2.0), (False, 0.0)] * 3, 0.4472, id="by hand: 1 / sqrt 5"),
    ],
)
def test_point_biserial(pairs: list[tuple[bool, float]], expected: float | None) -> None:
    found = compute_point_biserial(pairs)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-4))


def test_spread_and_methods_over_a_class() -> None:
    graded = [grade.model_copy(update={"points": float(n)}) for n, grade in enumerate(GRADES[:5])]
    found = compute_spread([*graded, GRADES[0].model_copy(update={"points": None})])
    assert found is not None
    assert (found.number, found.low, found.lower_quarter, found.median, found.high) == (5, 0, 1, 2, 4)
    assert compute_spread([]) is None
    rows = [{Method.HEAD: MethodSummary(accuracy=a, train_s=10)} for a in (0.6, 0.7, math.nan)]
    assert compute_method_figures(rows)[Method.HEAD].accuracy == pytest.approx(0.65)
    assert Method.LORA not in compute_method_figures(rows)
