"""The HTML pages: complete, self-contained, and inert whatever a notebook put into them."""

import base64
import hashlib
import re
from collections.abc import Callable

import pytest

from grader.grades.grade import Standing
from grader.grades.policy import GradingPolicy
from grader.grades.settlement import settle
from grader.intake.uploads import Intake
from grader.judging.tampering import WAITS_FOR, WaitsFor
from grader.model import CellRecord, Result, RunStatus, RunSummary, Score, ScoreStatus, StaffDetails
from grader.reporting.feedback import render_feedback
from grader.reporting.staff import CELLS_MAX, render_staff

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
    assert all(link.startswith(beside) or link == "data:," for link in links)
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


def test_the_number_of_tables() -> None:
    assert {name: len(Reader(PAGES[name]).tables) for name in KINDS} == dict(zip(KINDS, (1, 2, 3, 0), strict=True))


@every_page
def test_policy_allows_the_style_sheet_and_the_script_of_the_dashboard(name: str) -> None:
    html = PAGES[name]
    (style,), scripts = (
        re.findall(r"<style>(.*?)</style>", html, re.S),
        re.findall(r"<script>(.*?)</script>", html, re.S),
    )
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, *scripts)]
    (policy,) = (a["content"] for _, a in Reader(html).elements if a.get("http-equiv") == "Content-Security-Policy")
    script = f" script-src 'sha256-{digests[1]}';" if name == "dashboard" else ""
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests[0]}';{script} img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
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


def test_feedback_shows_no_more_of_a_hidden_check_than_its_rationale() -> None:
    assert "Weights outside the head changed while the head was trained." in PAGES["feedback"]
    assert "Freeze every parameter except those of pre_classifier" not in PAGES["feedback"]
    assert "Freeze every parameter except those of pre_classifier" in PAGES["staff report"]


@pytest.mark.parametrize(
    "private",
    ["91.2%", "74.0%", "Claimed", "Threshold", "quick, stand-in", "Traceback", "2.13.0", "step3.lora_forward"],
)
def test_feedback_leaves_out_what_is_for_staff(private: str) -> None:
    assert private not in Reader(PAGES["feedback"]).text
    assert private in Reader(PAGES["staff report"]).text


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param("once the checks that it builds on pass", id="blocked"),
        pytest.param("or a person has to look first. It costs no points.", id="error"),
        pytest.param("It neither gives nor costs points.", id="not judged"),
    ],
)
def test_feedback_explains_unusual_verdicts_only_where_they_occur(sentence: str) -> None:
    assert sentence in Reader(PAGES["feedback"]).text
    assert sentence not in Reader(PAGES["feedback of full marks"]).text


def test_feedback_leads_to_the_problems_and_folds_what_passed() -> None:
    reader = Reader(PAGES["feedback"])
    failed = [check.id for check in middle().checks if check.verdict in ("failed", "error")]
    assert [href[7:] for href in reader.values("href") if href.startswith("#check-")] == failed
    assert "open" not in [name for tag, attributes in reader.elements if tag == "details" for name in attributes]
    assert "What to look at" not in PAGES["feedback of full marks"]


@pytest.mark.parametrize("page", ONE_SUBMISSION)
def test_a_run_without_a_sandbox_is_stamped(page: Page) -> None:
    text = Reader(page(full_marks().model_copy(update={"sandbox": "none"}), details())).text
    assert "run without a sandbox" in text
    assert "run without a sandbox" not in Reader(page(full_marks(), details())).text


@pytest.mark.parametrize("page", ONE_SUBMISSION)
def test_an_ungraded_submission_shows_no_points(page: Page) -> None:
    run = RunSummary(status=RunStatus.INFRA_ERROR, wall_s=1.0, peak_memory_mib=100.0)
    update = {"score": UNGRADED, "run": run, "checks": (), "methods": {}, "claims": ()}
    text = read_words(page(full_marks().model_copy(update=update), StaffDetails()))
    assert "ungraded: this machine could not judge all of it." in text
    assert "This machine could not run the notebook to its end." in text
    assert "of 100 points" not in text


@pytest.mark.parametrize("page", ONE_SUBMISSION)
def test_a_submission_that_waits_for_a_person_says_so(page: Page) -> None:
    update = {"score": UNGRADED, "environment": {WAITS_FOR: WaitsFor.PERSON.value}}
    assert "ungraded: a person has to read" in read_words(page(full_marks().model_copy(update=update), details()))


def test_methods_of_which_nothing_was_measured_are_left_out() -> None:
    assert "as measured" not in Reader(PAGES["feedback of an untouched template"]).text
    assert "No training was measured." in Reader(render_staff(untouched_template(), StaffDetails())).text
    assert "as measured" in Reader(PAGES["feedback"]).text


def test_staff_report_flags_claims_that_do_not_hold() -> None:
    reader = Reader(PAGES["staff report"])
    assert "2 claimed figures differ" in reader.text
    assert [a.get("class") for tag, a in reader.elements if tag == "tr"].count("mismatch") == 2


@pytest.mark.parametrize(
    "part", ["# step 1", "2 min 31 s", "skipped by the grader", "RuntimeError  Traceback", "---> 14", "not run"]
)
def test_staff_report_shows_cells_with_their_tracebacks_as_text(part: str) -> None:
    assert part in Reader(PAGES["staff report"]).text


def test_a_notebook_of_many_large_cells_makes_a_bounded_page() -> None:
    cell = CellRecord(index=0, source="x" * 1_000_000, duration_s=1.0, status="ok", output="y" * 1_000_000)
    html = render_staff(full_marks(), StaffDetails(cells=(cell,) * (CELLS_MAX + 7)))
    assert "7 more cells are not shown here" in html
    assert len(html) < 15_000_000  # 300 cells, two texts of at most 20,000 characters each, and their frame


def test_feedback_shows_how_the_points_came_about() -> None:
    text = read_words(render_feedback(full_marks(), adjust_grade()))
    assert "88 of 100 points" in text
    assert "Points of the checks 100" in text
    assert "Changed by a person −2 Step 1 trains the pretrained model: 3 of 5 points. Half of it." in text
    assert "Late −10 Handed in 20 h after the deadline" in text
    assert "Your points 88 / 100" in text
    assert "M. Example" not in text


def test_staff_report_names_who_changed_the_points() -> None:
    text = read_words(PAGES["staff report of full marks"])
    assert "Changed by a person M. Example −2" in text
    assert "88 of 100 points" in text


def test_nothing_is_said_where_nothing_was_changed() -> None:
    upload = invented.upload(1)
    (grade,) = settle(Intake(source="x", uploads=(upload,)), {upload.id: full_marks()}, GradingPolicy())
    assert "came about" not in render_feedback(full_marks(), grade)
    assert render_feedback(full_marks(), grade) == render_feedback(full_marks())


@pytest.mark.parametrize("standing", [Standing.EXCUSED, Standing.UNGRADED], ids=str)
def test_feedback_without_points_says_why_there_are_none(standing: Standing) -> None:
    grade = adjust_grade().model_copy(update={"standing": standing, "points": None})
    text = Reader(render_feedback(full_marks(), grade)).text
    assert standing.value in text
    assert "of 100 points" not in text
    assert "– / 100" in text


def test_a_total_given_by_a_person_replaces_the_word_ungraded() -> None:
    run = full_marks().run.model_copy(update={"status": RunStatus.INFRA_ERROR})
    broken = full_marks().model_copy(update={"run": run, "score": UNGRADED})
    assert "submission is ungraded" in render_feedback(broken)
    assert "submission is ungraded" not in render_feedback(broken, adjust_grade())


def test_a_refusal_says_why_and_that_no_points_are_lost() -> None:
    text = read_words(PAGES["refusal"])
    assert "What you handed in cannot be graded. 'assignment.pdf' is a PDF; hand in the notebook itself" in text
    assert "No points were recorded, and none were taken away." in text
