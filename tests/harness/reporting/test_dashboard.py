"""The dashboard: everything that needs attention first, complete without a script, inert whatever students hand in."""

import base64
import hashlib
import math
import re
import time
from datetime import timedelta
from functools import cache

import pytest

from grader.grades.grade import Grade, Standing
from grader.grades.overrides import Override, OverrideKind, Overrides
from grader.grades.policy import GradingPolicy
from grader.grades.settlement import settle
from grader.intake.uploads import Intake
from grader.model import Method, MethodSummary, Result, RunStatus, ScoreStatus, Verdict
from grader.reporting.cohort.attention import SHOWN, GradedClass, find_problems
from grader.reporting.cohort.dashboard import render_dashboard
from grader.reporting.cohort.figures import (
    compute_check_figures,
    compute_method_figures,
    compute_point_biserial,
    compute_spread,
)
from grader.reporting.cohort.similarity_page import render_similar
from grader.reporting.feedback import render_feedback
from grader.reporting.staff import render_staff
from grader.similarity import Pair, Paper, Passage, Similarity
from tests.harness import results

from . import dashboard_class as invented
from . import hostile
from .examples import details, full_marks, hostile_copies
from .test_pages import Reader

SIZE = 60
FOUND, GRADES = invented.settled(SIZE)
SIMILAR = invented.similar(FOUND)
PAGE = render_dashboard(
    GRADES, FOUND, name="autumn", similarity=SIMILAR, rules=("Rule one.",), warnings=("Look here.",)
)


def problem_of(key: str, grades: tuple[Grade, ...] = GRADES, found: Intake = FOUND) -> list[tuple[str, str]]:
    """Who and what of one kind of problem."""
    listed = find_problems(GradedClass(grades, found, SIMILAR))
    return [(entry.who, entry.what) for problem in listed if problem.kind.key == key for entry in problem.entries]


def between(html: str, start: str, end: str) -> str:
    """The words from the element with one id to that with another."""
    part = html.split(f'id="{start}"')[1].split(f'id="{end}"')[0]
    return " ".join(re.sub(r"<[^>]*>", " ", part).split())


def hostile_class(text: str) -> tuple[Intake, tuple[Grade, ...]]:
    """A class in which every free text ends with `text`."""
    found, grades = invented.settled(24)
    return (
        Intake.model_validate(hostile_copies(found.model_dump(by_alias=True), text)),
        tuple(
            Grade.model_validate(
                hostile_copies(grade.model_dump(by_alias=True), text)
                | {"standing": grade.standing, "adjustments": adjustments_with(grade, text)}
            )
            for grade in grades
        ),
    )


def adjustments_with(grade: Grade, text: str) -> list[dict[str, object]]:
    return [change.model_dump() | {"reason": text, "author": text} for change in grade.adjustments]


@cache
def hostile_pages(text: str) -> tuple[str, str]:
    found, grades = hostile_class(text)
    papers = [Paper(upload.id, upload.student.key, "1", f"x = 1\n{text}") for upload in found.uploads[:2]]
    similar = Similarity(
        equal=(tuple(papers),), pairs=(Pair(*papers, 0.9, 0.8, (Passage((0, 1), (0, 1)),)),), compared=2
    )
    page = render_dashboard(grades, found, name=text, similarity=similar, rules=(text,), warnings=(text,))
    return page, render_similar(similar, found)


PAGES = [pytest.param(PAGE, id="dashboard"), pytest.param(render_similar(SIMILAR, FOUND), id="similar")]


@pytest.mark.parametrize("html", PAGES)
def test_page_is_well_formed_and_self_contained(html: str) -> None:
    reader = Reader(html)
    ids, links = reader.values("id"), reader.values("href")
    assert len(ids) == len(set(ids))
    assert {tag for tag, _ in reader.elements} & {"iframe", "object", "embed", "form", "base", "img"} == set()
    assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert all(link.startswith(("#", "./")) or link == "data:," for link in links)
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert not reader.values("src") + reader.values("xlink:href")
    assert not reader.values("style")


def test_side_by_side_links_lead_somewhere() -> None:
    targets = re.findall(r'"\./similar\.html#([^"]+)"', PAGE)
    assert len(targets) == len(SIMILAR.pairs) > 0
    assert set(targets) <= set(Reader(render_similar(SIMILAR, FOUND)).values("id"))


def test_policy_allows_one_script_and_one_style_sheet() -> None:
    (style,), (script,) = (
        re.findall(r"<style>(.*?)</style>", PAGE, re.S),
        re.findall(r"<script>(.*?)</script>", PAGE, re.S),
    )
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    (policy,) = (a["content"] for _, a in Reader(PAGE).elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|fetch|import", script)
    assert "script-src" not in render_similar(SIMILAR, FOUND)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in hostile.TEXTS.items()])
def test_hostile_text_in_every_field_stays_text(text: str) -> None:
    for honest, html in zip(hostile_pages("plain"), hostile_pages(text), strict=True):
        html.encode("utf-8")
        expected, reader = Reader(honest), Reader(html)
        assert [tag for tag, _ in reader.elements] == [tag for tag, _ in expected.elements]
        assert [set(attributes) for _, attributes in reader.elements] == [set(a) for _, a in expected.elements]
        assert all(link.startswith(("#", "./")) or link == "data:," for link in reader.values("href"))
        assert hostile.MARK in reader.text
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", html)


def test_everybody_has_a_row() -> None:
    rows = [a for tag, a in Reader(PAGE).elements if tag == "tr" and "data-standing" in a]
    assert len(rows) == len(GRADES) == SIZE
    assert sorted(row["data-standing"] or "" for row in rows) == sorted(grade.standing.value for grade in GRADES)


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
        pytest.param("ungraded", 2, "The grader failed at '", id="ungraded"),
        pytest.param("refused", 2, "is a PDF", id="refused"),
        pytest.param("stopped", 2, "stopped at its time limit", id="stopped"),
        pytest.param("claims", 3, "Full fine-tuning: accuracy 93.1% claimed, 81.1% measured", id="claims"),
        pytest.param("similar", 1 + len(SIMILAR.pairs), "of the first is in the second", id="similar"),
        pytest.param("missing", 2, "", id="missing"),
    ],
)
def test_what_needs_attention_is_listed(key: str, number: int, says: str) -> None:
    found = problem_of(key)
    assert len(found) == number
    assert any(says in what for _, what in found)


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
    missing = len(problem_of("missing", grades, found))
    assert missing > SHOWN + 2
    assert f"<summary>{missing - SHOWN} more</summary>" in html


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


def adjusted_grade() -> Grade:
    """Late by a day, and one check changed."""
    upload = invented.upload(1).model_copy(update={"submitted_at": invented.DUE + timedelta(hours=20)})
    change = Override(
        kind=OverrideKind.CHECK,
        student=upload.student.key,
        target="step1.trained",
        points=3,
        author="M. Example",
        reason="Half of it.",
    )
    found = Intake(source="x", uploads=(upload,))
    (grade,) = settle(found, {upload.id: full_marks()}, invented.POLICY, Overrides(entries=(change,), possible=100))
    return grade


def test_feedback_shows_how_the_points_came_about() -> None:
    text = " ".join(Reader(render_feedback(full_marks(), adjusted_grade())).text.split())
    assert "88 of 100 points" in text
    assert "What the checks gave 100" in text
    assert "Changed by a person −2 Step 1 trains the pretrained model: 3 of 5 points. Half of it." in text
    assert "Late −10 Handed in 20 h after the deadline" in text
    assert "Your points 88 / 100" in text
    assert "M. Example" not in text


def test_staff_report_names_who_changed_what() -> None:
    text = " ".join(Reader(render_staff(full_marks(), details(), adjusted_grade())).text.split())
    assert "Changed by a person M. Example −2" in text
    assert "88 of 100 points" in text


def test_nothing_is_said_where_nothing_was_changed() -> None:
    (grade,) = settle(
        Intake(source="x", uploads=(invented.upload(1),)), {invented.upload(1).id: full_marks()}, GradingPolicy()
    )
    assert "came about" not in render_feedback(full_marks(), grade)
    assert render_feedback(full_marks(), grade) == render_feedback(full_marks())


@pytest.mark.parametrize("standing", [Standing.EXCUSED, Standing.UNGRADED], ids=str)
def test_feedback_without_points_says_why_there_are_none(standing: Standing) -> None:
    grade = adjusted_grade().model_copy(update={"standing": standing, "points": None})
    text = Reader(render_feedback(full_marks(), grade)).text
    assert standing.value in text
    assert "of 100 points" not in text
    assert "– / 100" in text


def test_a_total_given_by_a_person_replaces_the_word_ungraded() -> None:
    run = full_marks().run.model_copy(update={"status": RunStatus.INFRA_ERROR})
    score = full_marks().score.model_copy(update={"points": None, "status": ScoreStatus.UNGRADED})
    broken = full_marks().model_copy(update={"run": run, "score": score})
    assert "submission is ungraded" in render_feedback(broken)
    assert "submission is ungraded" not in render_feedback(broken, adjusted_grade())


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in hostile.TEXTS.items()])
def test_hostile_reasons_stay_text(text: str) -> None:
    grade = adjusted_grade()
    changed = grade.model_copy(
        update={"adjustments": tuple(a.model_copy(update={"reason": text, "author": text}) for a in grade.adjustments)}
    )
    honest, found = (
        Reader(render_staff(full_marks(), details(), grade)),
        Reader(render_staff(full_marks(), details(), changed)),
    )
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in honest.elements]
    assert hostile.MARK in found.text
