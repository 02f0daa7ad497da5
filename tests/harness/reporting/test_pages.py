"""The HTML pages: complete, self-contained, and inert whatever a notebook put into them."""

import base64
import hashlib
import re
from collections.abc import Callable

import pytest
from jinja2 import DictLoader

from grader.grades.grade import Grade, Standing
from grader.grades.overrides import Override, OverrideKind, Overrides
from grader.grades.policy import GradingPolicy
from grader.grades.settlement import settle
from grader.intake.uploads import Intake
from grader.judging.tampering import WAITS_FOR, WaitsFor
from grader.model import CellRecord, Result, RunStatus, RunSummary, Score, ScoreStatus, StaffDetails, Verdict
from grader.reporting.feedback import render_feedback, select_causes
from grader.reporting.page import build_engine
from grader.reporting.staff import CELLS_MAX, CUT, MARKUP_MAX, render_staff
from tests.harness import results

from . import dashboard_class as invented
from . import hostile
from .examples import details, full_marks, middle, untouched_template
from .pages import INVISIBLE, KINDS, PAGES, Reader, adjust_grade, build_hostile_pages, read_words

Page = Callable[[Result, StaffDetails], str]
ONE_SUBMISSION = [
    pytest.param(lambda result, _: render_feedback(result), id="feedback"),
    pytest.param(render_staff, id="staff"),
]
ACTIVE = {"iframe", "object", "embed", "form", "base", "img", "image", "foreignobject"}
SCRIPTED = {"script", "input", "button"}  # only the dashboard sorts and filters
UNGRADED = Score(points=None, possible=100, status=ScoreStatus.UNGRADED)
every_page = pytest.mark.parametrize("name", PAGES)


@every_page
def test_page_is_well_formed_and_self_contained(name: str) -> None:
    html = PAGES[name]
    reader = Reader(html)
    ids, links = reader.values("id"), reader.values("href")
    assert html.startswith("<!doctype html>\n<html lang=")
    assert len(ids) == len(set(ids))
    assert not {tag for tag, _ in reader.elements} & (ACTIVE if name == "dashboard" else ACTIVE | SCRIPTED)
    assert not [one for _, attributes in reader.elements for one in attributes if one.startswith("on")]
    beside = ("#", "./") if name in ("dashboard", "similar code") else ("#",)
    assert all(link.startswith(beside) or link in ("data:,", "./executed.ipynb") for link in links)
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert not reader.values("src") + reader.values("xlink:href")
    assert not reader.values("style")  # the policy would block them
    assert "width=device-width" in html
    assert len(html) < (200_000 if name == "dashboard" else 100_000)  # pages are mailed; examples have about 45,000


@every_page
def test_every_cell_of_a_table_stands_under_its_heading(name: str) -> None:
    for headings, *rows in Reader(PAGES[name]).tables:
        assert rows
        for row in rows:
            assert len(row) == len(headings)
            labelled = [(cell, head) for cell, head in zip(row, headings, strict=True) if "data-label" in cell]
            assert [cell["data-label"] for cell, _ in labelled] == [head["text"] for _, head in labelled]
            assert all(cell["text"].strip() for cell, _ in labelled)


@every_page
def test_policy_allows_the_style_sheet_and_the_script_of_the_dashboard(name: str) -> None:
    html = PAGES[name]
    (style,), scripts = (re.findall(f"<{tag}>(.*?)</{tag}>", html, re.S) for tag in ("style", "script"))
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, *scripts)]
    (policy,) = (a["content"] for _, a in Reader(html).elements if a.get("http-equiv") == "Content-Security-Policy")
    script = f" script-src 'sha256-{digests[1]}';" if name == "dashboard" else ""
    sources = f"default-src 'none'; style-src 'sha256-{digests[0]}';{script} img-src data:;"
    assert policy == f"{sources} base-uri 'none'; form-action 'none'"
    assert not re.search(r"url\(|@import", style)
    writes = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|fetch|import"
    assert not re.search(writes, "".join(scripts))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", hostile.TEXTS.values(), ids=hostile.TEXTS)
def test_hostile_text_in_every_field_stays_text(kind: str, text: str) -> None:
    html = build_hostile_pages(text)[kind]
    html.encode("utf-8")
    honest, reader = Reader(build_hostile_pages("plain")[kind]), Reader(html)
    assert [tag for tag, _ in reader.elements] == [tag for tag, _ in honest.elements]
    assert [set(attributes) for _, attributes in reader.elements] == [set(a) for _, a in honest.elements]
    assert all(link.startswith(("#", "./")) or link == "data:," for link in reader.values("href"))
    assert hostile.MARK in reader.text
    assert not INVISIBLE.search(html)


LATE = PAGES | {"feedback of a changed grade": render_feedback(full_marks(), adjust_grade())}
UNUSUAL = (  # verdicts: blocked, error, not judged
    *("once the checks that it builds on pass", "or a person has to look first. It costs no points."),
    "It neither gives nor costs points.",
)
FOR_STAFF = ("91.2%", "74.0%", "Claimed", "Threshold", "quick, stand-in", "Traceback", "2.13.0", "step3.lora_forward")
HINT = "Freeze every parameter except those of pre_classifier"  # of a hidden check
CELLS = ("# step 1", "2 min 31 s", "skipped by the grader", "RuntimeError Traceback", "---> 14", "not run")
WEIGHTS = "Weights outside the head changed while the head was trained."
ADJUSTED = (
    *("88 of 100 points", "Points of the checks 100", "Late −10 Handed in 20 h after the deadline"),
    "Changed by a person −2 Step 1 trains the pretrained model: 3 of 5 points. Half of it.",
    "Your points 88 / 100",
)
REFUSED = "What you handed in cannot be graded. 'assignment.pdf' is a PDF; hand in the notebook itself"
SAYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # page -> what stands there, and what does not
    "feedback": ((WEIGHTS, *UNUSUAL, "as measured"), FOR_STAFF),
    "feedback of full marks": ((), (*UNUSUAL, "What to look at")),
    "feedback of an untouched template": ((), ("as measured",)),
    "feedback of a changed grade": (ADJUSTED, ("M. Example",)),
    "staff report": ((*FOR_STAFF, *CELLS, HINT, "2 claimed figures differ"), ()),
    "staff report of full marks": (("Changed by a person M. Example −2", "88 of 100 points"), ()),
    "refusal": ((REFUSED, "No points were recorded, and none were taken away."), ()),
}


@pytest.mark.parametrize("name", SAYS)
def test_what_a_page_says(name: str) -> None:
    text, (shown, hidden) = read_words(LATE[name]), SAYS[name]
    assert [sentence for sentence in shown if sentence not in text] == []
    assert [sentence for sentence in hidden if sentence in text] == []


def test_where_nothing_was_measured_a_staff_report_says_so() -> None:
    assert "No training was measured." in read_words(render_staff(untouched_template(), StaffDetails()))


def test_feedback_leads_to_the_problems_and_folds_what_passed() -> None:
    reader = Reader(PAGES["feedback"])
    assert HINT not in PAGES["feedback"]  # not even in an attribute
    failed = [check.id for check in middle().checks if check.verdict in ("failed", "error")]
    links = [href[7:] for href in reader.values("href") if href.startswith("#check-")]
    assert links[3:] == failed  # after those to begin with
    assert "open" not in [name for tag, attributes in reader.elements if tag == "details" for name in attributes]


def test_claims_that_do_not_hold_are_flagged_and_the_number_of_tables() -> None:
    rows = [attributes for tag, attributes in Reader(PAGES["staff report"]).elements if tag == "tr"]
    assert [row.get("class") for row in rows].count("mismatch") == 2
    assert [len(Reader(PAGES[name]).tables) for name in KINDS] == [1, 2, 3, 0]


@pytest.mark.parametrize("page", ONE_SUBMISSION)
def test_a_run_without_a_sandbox_is_stamped(page: Page) -> None:
    bare = full_marks().model_copy(update={"sandbox": "none"})
    shown, other = (read_words(page(result, details())) for result in (bare, full_marks()))
    assert ("run without a sandbox" in shown, "run without a sandbox" in other) == (True, False)


@pytest.mark.parametrize("page", ONE_SUBMISSION)
def test_an_ungraded_submission_shows_no_points(page: Page) -> None:
    run = RunSummary(status=RunStatus.INFRA_ERROR, wall_s=1.0, peak_memory_mib=100.0)
    update = {"score": UNGRADED, "run": run, "checks": (), "methods": {}, "claims": ()}
    text = read_words(page(full_marks().model_copy(update=update), StaffDetails()))
    assert "ungraded: this machine could not judge all of it." in text
    assert "This machine could not run the notebook to its end." in text
    assert "of 100 points" not in text
    waiting = full_marks().model_copy(update={"score": UNGRADED, "environment": {WAITS_FOR: WaitsFor.PERSON.value}})
    assert "ungraded: a person has to read" in read_words(page(waiting, details()))


@pytest.mark.parametrize(
    "character", ["x", "&", "\U0001f600", "\u202e"], ids=["letters", "markup", "wide", "direction"]
)
def test_a_notebook_of_many_large_cells_makes_a_bounded_page(character: str) -> None:
    long = character * 1_000_000
    cell = CellRecord(index=0, source="first", duration_s=1.0, status="ok", output=long, traceback=long)
    html = render_staff(full_marks(), StaffDetails(cells=(cell,) * (CELLS_MAX + 7)), texts=[(1, long)] * 5)
    assert "7 more cells are not shown here" in html
    assert html.count("first") >= CELLS_MAX
    assert CUT in html
    assert len(html) < MARKUP_MAX + 1_000_000  # their texts, and 300 frames


def test_nothing_is_said_where_nothing_was_changed() -> None:
    upload = invented.upload(1)
    (grade,) = settle(Intake(source="x", uploads=(upload,)), {upload.id: full_marks()}, GradingPolicy())
    assert "came about" not in render_feedback(full_marks(), grade)
    anonymous = render_feedback(full_marks()).replace(
        f"<h1>{full_marks().submission.name}", f"<h1>{grade.student.name}"
    )
    assert render_feedback(full_marks(), grade) == anonymous


@pytest.mark.parametrize("page", [render_feedback, lambda result, grade: render_staff(result, details(), grade)])
def test_a_check_that_a_person_decided_no_longer_looks_failed(page: Callable[[Result, Grade], str]) -> None:
    upload, given = invented.upload(1), middle()
    failed = next(check for check in given.checks if check.verdict is Verdict.FAILED and check.rationale)
    change = Override(
        kind=OverrideKind.CHECK,
        student=upload.student.key,
        target=failed.id,
        verdict=Verdict.PASSED,
        author="M. Example",
        reason="Seen by hand.",
    )
    decided = Overrides(entries=(change,), possible=100.0)
    (grade,) = settle(Intake(source="x", uploads=(upload,)), {upload.id: given}, GradingPolicy(), decided)
    assert grade.result == given  # the grader's own stays
    html = page(given, grade)
    row = html.split(f'id="check-{failed.id}"')[1].split("</li>")[0]
    assert "Decided by a person" in row
    assert "Seen by hand." in row
    assert f'href="#check-{failed.id}"' not in html  # it is not among what to look at
    assert failed.rationale not in html


def test_feedback_begins_with_three_causes_at_most_the_needed_first() -> None:
    costly = [results.check(f"step1.{n}", Verdict.FAILED, n, rationale=f"Cause {min(n, 4)}.") for n in range(1, 7)]
    assert [check.possible for check in select_causes(costly)] == [6, 3, 2]  # 4 to 6 have one cause
    assert [check.possible for check in select_causes(costly, ["Check step1.1"])] == [1, 6, 3]
    assert 'id="causes"' in render_feedback(middle())


def test_written_answers_stand_in_the_staff_report_as_text() -> None:
    html = render_staff(full_marks(), details(), texts=[(4, "LoRA is <b>cheaper</b>.")])
    assert "Written answers" in html
    assert "LoRA is &lt;b&gt;cheaper&lt;/b&gt;." in html


@pytest.mark.parametrize("standing", [Standing.EXCUSED, Standing.UNGRADED], ids=str)
def test_feedback_without_points_says_why_there_are_none(standing: Standing) -> None:
    grade = adjust_grade().model_copy(update={"standing": standing, "points": None})
    text = Reader(render_feedback(full_marks(), grade)).text
    assert (standing.value in text, "– / 100" in text, "of 100 points" in text) == (True, True, False)


def test_a_total_given_by_a_person_replaces_the_word_ungraded() -> None:
    run = full_marks().run.model_copy(update={"status": RunStatus.INFRA_ERROR})
    broken = full_marks().model_copy(update={"run": run, "score": UNGRADED})
    assert "submission is ungraded" in render_feedback(broken)
    assert "submission is ungraded" not in render_feedback(broken, adjust_grade())


@pytest.mark.parametrize("page", ONE_SUBMISSION)
def test_a_failed_check_says_where_the_cause_is(page: Page) -> None:
    html = page(middle(), details())
    assert "<b>Cell 17, line 2</b> <code>head_model = full_model</code>" in html
    assert "# &#34;&lt;W&gt;&#34;</code>" in html
    assert html.count('class="place"') == 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("Call `trainer.train()` once.", "Call <code>trainer.train()</code> once.", id="code"),
        pytest.param("`<b>` & `x`", "<code>&lt;b&gt;</code> &amp; <code>x</code>", id="markup stays text"),
        pytest.param("a ` alone", "a ` alone", id="one alone"),
        pytest.param("``", "``", id="nothing between"),
        pytest.param("`two\nlines`", "`two\nlines`", id="two lines"),
    ],
)
def test_what_stands_between_backticks_is_code(text: str, shown: str) -> None:
    assert build_engine(DictLoader({"x": "{{ text|code }}"})).get_template("x").render(text=text) == shown
