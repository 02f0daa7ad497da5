"""The dashboard: what needs attention comes first, nothing is left out. What all pages have: test_pages.py."""

import math
import re
import time

import pytest

from grader.grades.grade import Grade, Standing
from grader.intake.uploads import Intake
from grader.model import Method, MethodSummary, Result, Verdict
from grader.reporting.cohort import figures
from grader.reporting.cohort.attention import AttentionEntry, find_problems
from grader.reporting.cohort.dashboard import ENTRIES_SHOWN, render_dashboard
from grader.reporting.cohort.figures import compute_check_figures, compute_point_biserial
from grader.reporting.cohort.graded_class import GradedClass
from grader.reporting.cohort.review_link import render_review_link
from grader.reporting.cohort.similarity_page import render_similar
from grader.similarity import Pair, Paper, Passage, Similarity, cluster_papers
from tests.harness import results

from . import dashboard_class as invented
from .examples import full_marks
from .pages import DASHBOARD as PAGE
from .pages import FOUND, GRADES, PAGES, SIMILAR, Reader


def find_entries(key: str, grades: tuple[Grade, ...] = GRADES, found: Intake = FOUND) -> tuple[AttentionEntry, ...]:
    return find_problems(GradedClass(grades, found, SIMILAR)).get(key, ())


def between(html: str, start: str, end: str) -> str:
    """The words from the element with one id to that with another."""
    part = html.split(f'id="{start}"')[1].split(f'id="{end}"')[0]
    return " ".join(re.sub(r"<[^>]*>", " ", part).split())


def test_side_by_side_links_lead_somewhere() -> None:
    targets = re.findall(r'"\./similar\.html#([^"]+)"', PAGE)
    assert len(targets) == len(SIMILAR.pairs) > 0
    assert set(targets) <= set(Reader(PAGES["similar code"]).values("id"))


def test_everybody_has_a_row_and_is_found_by_section() -> None:
    rows = [a for tag, a in Reader(PAGE).elements if tag == "tr" and "data-standing" in a]
    assert sorted(row["data-standing"] or "" for row in rows) == sorted(grade.standing.value for grade in GRADES)
    texts = [row["data-search"] or "" for row in rows]
    sections = [grade.student.section for grade in GRADES]
    assert len(texts) == len(GRADES) == 60
    assert {None, "Group 1", "Group 2"} <= set(sections)
    assert [text for text in texts if "none" in text] == []
    assert sum("group" in text for text in texts) == sum(section is not None for section in sections)


def test_people_of_the_same_name_are_told_apart() -> None:
    pair = [
        grade.model_copy(update={"student": grade.student.model_copy(update={"name": "Smith, John", "login": login})})
        for grade, login in zip(GRADES, ("josm", None), strict=False)
    ]
    text = Reader(render_dashboard([*pair, *GRADES[2:]], FOUND, name="x")).text
    assert "Smith, John (josm)" in text
    assert f"Smith, John ({pair[1].student.key})" in text


def test_reports_are_linked_where_there_are_any() -> None:
    graded = [grade.upload.id for grade in GRADES if grade.upload and grade.result]
    html = render_dashboard(GRADES, FOUND, name="x", folders={graded[0]: "results/a b"})
    links = set(Reader(html).values("href"))
    assert {"./results/a%20b/staff.html", f"./{graded[1]}/feedback.html"} <= links
    assert len([link for link in links if link.endswith("feedback.html")]) == len(set(graded))


LISTED = {
    "ungraded": (2, "The model with adapters classifies reviews well"),
    "refused": (2, "is a PDF"),
    "stopped": (2, "stopped at its time limit"),
    "claims": (3, "Full fine-tuning: accuracy 93.1% claimed, 81.1% measured"),
    "similar": (len(cluster_papers(SIMILAR)), "of one is in the other"),
    "missing": (2, ""),
}


@pytest.mark.parametrize("key", LISTED)
def test_what_needs_attention_is_listed(key: str) -> None:
    found, (number, says) = find_entries(key), LISTED[key]
    assert len(found) == number
    assert any(says in entry.what for entry in found)


def test_a_ring_of_copies_is_one_entry_with_its_closest_pairs() -> None:
    papers = [Paper(str(n), str(n), f"{n}", "x") for n in range(9)]
    pairs = tuple(Pair(papers[n], papers[n + 1], 0.9 - n / 100, 0.5, ()) for n in range(7))
    ring = cluster_papers(Similarity(equal=((papers[0], papers[8]),), pairs=pairs))
    same = cluster_papers(Similarity(equal=((papers[0], papers[1]),)))
    assert [(len(one.papers), one.pairs) for one in (*ring, *same)] == [(9, tuple(range(7))), (2, ())]
    found = GradedClass((), FOUND, Similarity(pairs=pairs))
    (entry,) = find_problems(found)["similar"]
    assert (entry.what, len(entry.links)) == ("7 pairs: between 84.0% and 90.0% of one are in another.", 6)


def test_what_is_about_one_student_does_not_stand_with_the_batch() -> None:
    about = FOUND.model_copy(update={"concerns": {"Ada has two.": "Lovelace, Ada"}})
    found = find_problems(GradedClass((), about, warnings=("Ada has two.", "All is old.")))
    assert [(e.who, e.what) for e in found["batch"]] == [("", "All is old.")]
    assert [(e.who, e.what) for e in found["single"]] == [("Lovelace, Ada", "Ada has two.")]


def test_refused_files_are_at_hand() -> None:
    refused = next(grade for grade in GRADES if grade.standing is Standing.REFUSED)
    html = render_dashboard(GRADES, FOUND, name="x", files={refused.student.key: [("a b.pdf", "refused/k/1-a b.pdf")]})
    assert html.count('href="./refused/k/1-a%20b.pdf"') == 2  # where it is named, and in the table


def test_problems_stand_above_the_figures_most_urgent_first() -> None:
    places = [PAGE.index(f'id="{key}"') for key in ("attention", "ungraded", "batch", "refused", "missing", "scores")]
    assert places == sorted(places)
    assert "2 students of the gradebook have the same name." in between(PAGE, "batch", "refused")


def test_a_class_without_problems_says_so() -> None:
    fine = next(grade for grade in GRADES if grade.standing is Standing.GRADED and not grade.note)
    quiet = fine.model_copy(update={"result": full_marks()})
    html = render_dashboard([quiet], Intake(source="x.zip", uploads=()), name="x")
    assert "Nothing: everybody is graded" in html


def test_an_empty_class_makes_a_page() -> None:
    text = Reader(render_dashboard([], Intake(source="empty.zip", uploads=()), name="x")).text
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
    assert ("20260117 (4), 7 (1)" in text, "Rule one." in text) == (True, True)


def test_a_thousand_submissions_stay_within_the_limits_and_many_entries_are_folded() -> None:
    found, grades = invented.settled(1000)
    began = time.process_time()
    html = render_dashboard(grades, found, name="autumn", similarity=SIMILAR)
    assert time.process_time() - began < 10  # measured: 0.5 s
    assert len(html.encode()) < 10_000_000  # measured: 1.3 MB
    missing = len(find_entries("missing", grades, found))
    assert missing > ENTRIES_SHOWN + 2
    assert f"<summary>{missing - ENTRIES_SHOWN} more</summary>" in html


def test_similar_code_stands_in_groups() -> None:
    papers = [Paper(str(n), str(n), f"{n}", "x") for n in range(12)]
    pairs = tuple(Pair(papers[n], papers[n + 1], 0.9 - n / 100, 0.5, ()) for n in (*range(8), 10))
    html = render_similar(Similarity(equal=((papers[0], papers[9]),), pairs=pairs), FOUND)
    page = Reader(html)
    assert "2 groups of similar notebooks" in page.text
    groups = html.split('<section aria-labelledby="group-')[1:]
    assert [group.count("<article") for group in groups] == [8, 1]
    assert "2 less similar pairs" in groups[0]
    assert "The same file, byte for byte: 0; 9." in groups[0]
    assert {f"pair-{number}" for number in range(1, 10)} <= set(page.values("id"))


def test_the_dashboard_leads_to_each_student_on_the_review_page() -> None:
    links = {link for link in Reader(PAGE).values("href") if link and "review.html#" in link}
    assert links == {f"./review.html#{grade.student.code}" for grade in GRADES}
    assert 'id="open"' in render_review_link("class", "http://127.0.0.1:8470/?token=x")
    assert 'id="open"' not in render_review_link("class")


def test_similar_code_is_bounded() -> None:
    paper = Paper("a", "a", "1", "x" * 100_000 + "\n" * 10_000)
    pair = Pair(paper, paper, 1.0, 1.0, (Passage((0, 9_999), (0, 9_999)),) * 50)
    html = render_similar(Similarity(pairs=(pair,) * 200), FOUND)
    assert len(html) < 10_000_000
    assert "44 shorter passages are not shown" in html


def checks_of(*verdicts: Verdict) -> Result:
    checks = tuple(results.check(f"step1.c{n}", verdict, 10, title=f"C{n}") for n, verdict in enumerate(verdicts))
    return full_marks().model_copy(update={"checks": checks})


P, F, B, E, N = Verdict


def test_pass_rates_leave_out_what_was_not_judged() -> None:
    (first, second) = compute_check_figures([checks_of(P, N), checks_of(F, N), checks_of(B, E), checks_of(P, N)])
    assert (first.passed, first.counts[F], first.counts[B]) == (0.5, 1, 1)
    assert second.passed is None


def test_discrimination_compares_with_the_other_checks_only() -> None:
    good = [checks_of(P, P, P)] * 6 + [checks_of(F, F, F)] * 6
    assert [found.discrimination for found in compute_check_figures(good)] == pytest.approx([1.0] * 3)
    backwards = [checks_of(F, P, P)] * 6 + [checks_of(P, F, F)] * 6
    first = compute_check_figures(backwards)[0]
    assert first.discrimination == pytest.approx(-1.0)
    assert first.odd


CORRELATIONS: dict[str, tuple[list[tuple[bool, float]], float | None]] = {
    "too few": ([(True, 1.0), (False, 0.0)] * 4, None),
    "all passed": ([(True, 1.0), (True, 0.0)] * 6, None),
    "others do not vary": ([(True, 0.5), (False, 0.5)] * 6, None),
    "perfect": ([(True, 1.0), (False, 0.0)] * 6, 1.0),
    "none": ([(True, 1.0), (False, 1.0), (True, 0.0), (False, 0.0)] * 6, 0.0),
    "by hand: 1 / sqrt 5": ([(True, 3.0), (True, 1.0), (False, 2.0), (False, 0.0)] * 3, 0.4472),
}


@pytest.mark.parametrize(("pairs", "expected"), CORRELATIONS.values(), ids=CORRELATIONS)
def test_point_biserial(pairs: list[tuple[bool, float]], expected: float | None) -> None:
    assert compute_point_biserial(pairs) == (None if expected is None else pytest.approx(expected, abs=1e-4))


def test_spread_and_methods_over_a_class() -> None:
    graded = [grade.model_copy(update={"points": float(n)}) for n, grade in enumerate(GRADES[:5])]
    found = figures.compute_spread([*graded, GRADES[0].model_copy(update={"points": None})])
    assert found is not None
    assert (found.number, found.low, found.lower_quarter, found.median, found.high) == (5, 0, 1, 2, 4)
    assert figures.compute_spread([]) is None
    rows = [{Method.HEAD: MethodSummary(accuracy=a, train_s=10)} for a in (0.6, 0.7, math.nan)]
    assert figures.compute_method_figures(rows)[Method.HEAD].accuracy == pytest.approx(0.65)
    assert Method.LORA not in figures.compute_method_figures(rows)
