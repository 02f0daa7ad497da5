"""The HTML pages: complete, self-contained, and inert whatever a notebook put into them."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from grader.model import CellRecord, Result, RunStatus, RunSummary, Score, ScoreStatus, StaffDetails
from grader.reporting.feedback import render_feedback
from grader.reporting.staff import CELLS_MAX, render_staff

from . import hostile
from .examples import details, full_marks, hostile_copies, middle, untouched_template

Page = Callable[[Result, StaffDetails], str]

PAGES = [
    pytest.param(lambda result, _: render_feedback(result), id="feedback"),
    pytest.param(render_staff, id="staff"),
]
RESULTS = [
    pytest.param(full_marks(), id="full_marks"),
    pytest.param(untouched_template(), id="untouched_template"),
    pytest.param(middle(), id="middle"),
]
_VOID = {"meta", "link", "br", "hr", "img", "input"}
_ACTIVE = {
    "script",
    "iframe",
    "object",
    "embed",
    "form",
    "input",
    "button",
    "base",
    "img",
    "image",
    "foreignobject",
}


class Reader(HTMLParser):
    """Collects elements and visible text, and fails on a tag that is closed in the wrong place."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]


def _hostile(text: str) -> tuple[Result, StaffDetails]:
    result = Result.model_validate(hostile_copies(middle().model_dump(by_alias=True), text))
    return result, StaffDetails.model_validate(hostile_copies(details().model_dump(), text))


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("result", RESULTS)
def test_page_is_well_formed_and_self_contained(page: Page, result: Result) -> None:
    html = page(result, details())
    reader = Reader(html)
    ids = reader.values("id")
    assert html.startswith("<!doctype html>\n<html lang=")
    assert len(ids) == len(set(ids))
    assert not {tag for tag, _ in reader.elements} & _ACTIVE
    assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert all(href.startswith("#") or href == "data:," for href in reader.values("href"))
    assert {href[1:] for href in reader.values("href") if href.startswith("#")} <= set(ids)
    assert not reader.values("src") + reader.values("xlink:href")
    assert not reader.values("style")  # the policy would block them
    assert "width=device-width" in html
    assert len(html) < 100_000  # a page that is mailed; the largest example has about 45,000


@pytest.mark.parametrize("page", PAGES)
def test_policy_allows_the_style_sheet_and_nothing_else(page: Page) -> None:
    html = page(middle(), details())
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = (a["content"] for _, a in Reader(html).elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in hostile.TEXTS.items()])
def test_hostile_text_in_every_field_stays_text(page: Page, text: str) -> None:
    honest = Reader(page(*_hostile("plain")))
    html = page(*_hostile(text))
    html.encode("utf-8")
    reader = Reader(html)
    assert [tag for tag, _ in reader.elements] == [tag for tag, _ in honest.elements]
    assert [set(attributes) for _, attributes in reader.elements] == [set(a) for _, a in honest.elements]
    assert hostile.MARK in reader.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", html)


def test_feedback_shows_no_more_of_a_hidden_check_than_its_rationale() -> None:
    html = render_feedback(middle())
    assert "Weights outside the head changed while the head was trained." in html
    assert "Freeze every parameter except those of pre_classifier" not in html
    assert "Freeze every parameter except those of pre_classifier" in render_staff(middle(), details())


def test_feedback_leaves_out_what_is_for_staff() -> None:
    text = Reader(render_feedback(middle())).text
    for private in ("91.2%", "74.0%", "Claimed", "Asked for", "quick, stand-in", "Traceback", "2.13.0"):
        assert private not in text
        assert private in Reader(render_staff(middle(), details())).text


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        pytest.param("blocked", "A check that comes first did not pass", id="blocked"),
        pytest.param("error", "or a person has to look first. It costs you nothing.", id="error"),
        pytest.param("not judged", "counts neither for nor against you", id="not_judged"),
    ],
)
def test_feedback_explains_unusual_verdicts_only_where_they_occur(verdict: str, sentence: str) -> None:
    assert sentence in Reader(render_feedback(middle())).text
    assert sentence not in Reader(render_feedback(full_marks())).text


def test_feedback_leads_to_the_problems_and_folds_what_passed() -> None:
    html = render_feedback(middle())
    reader = Reader(html)
    failed = [check.id for check in middle().checks if check.verdict in ("failed", "error")]
    assert [href[7:] for href in reader.values("href") if href.startswith("#check-")] == failed
    assert "open" not in [name for tag, attributes in reader.elements if tag == "details" for name in attributes]
    assert "What to look at" not in render_feedback(full_marks())


@pytest.mark.parametrize("page", PAGES)
def test_a_run_without_a_sandbox_is_stamped(page: Page) -> None:
    text = Reader(page(full_marks().model_copy(update={"sandbox": "none"}), details())).text
    assert "run without a sandbox" in text
    assert "run without a sandbox" not in Reader(page(full_marks(), details())).text


@pytest.mark.parametrize("page", PAGES)
def test_an_ungraded_submission_shows_no_points(page: Page) -> None:
    score = Score(points=None, possible=100, status=ScoreStatus.UNGRADED)
    run = RunSummary(status=RunStatus.INFRA_ERROR, wall_s=1.0, peak_memory_mib=100.0)
    empty = full_marks().model_copy(update={"score": score, "run": run, "checks": (), "methods": {}, "claims": ()})
    text = Reader(page(empty, StaffDetails())).text
    assert "ungraded" in text
    assert "The grader failed while the notebook ran" in text
    assert "of 100 points" not in text


def test_methods_of_which_nothing_was_measured_are_left_out() -> None:
    assert "as measured" not in Reader(render_feedback(untouched_template())).text
    assert "No training was measured." in Reader(render_staff(untouched_template(), StaffDetails())).text
    assert "as measured" in Reader(render_feedback(middle())).text


def test_staff_report_flags_claims_that_do_not_hold() -> None:
    reader = Reader(render_staff(middle(), details()))
    assert "2 claimed figures differ" in reader.text
    assert [a.get("class") for tag, a in reader.elements if tag == "tr"].count("mismatch") == 2


def test_staff_report_shows_cells_with_their_tracebacks_as_text() -> None:
    text = Reader(render_staff(middle(), details())).text
    for part in ("# step 1", "2 min 31 s", "skipped by the grader", "RuntimeError  Traceback", "---> 14", "not run"):
        assert part in text


def test_a_notebook_of_many_large_cells_makes_a_bounded_page() -> None:
    cell = CellRecord(index=0, source="x" * 1_000_000, duration_s=1.0, status="ok", output="y" * 1_000_000)
    html = render_staff(full_marks(), StaffDetails(cells=(cell,) * (CELLS_MAX + 7)))
    assert "7 more cells are not shown here" in html
    assert len(html) < 15_000_000  # 300 cells, two texts of at most 20,000 characters each, and their frame
