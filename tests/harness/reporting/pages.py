"""Every kind of page: honest ones by name, and each with a hostile text in every field."""

import re
from datetime import timedelta
from functools import cache
from html.parser import HTMLParser

from grader.grades.grade import Grade, Standing
from grader.grades.overrides import Override, OverrideKind, Overrides
from grader.grades.settlement import settle
from grader.intake.uploads import Intake
from grader.model import Result, StaffDetails
from grader.reporting.cohort.dashboard import render_dashboard
from grader.reporting.cohort.similarity_page import render_similar
from grader.reporting.feedback import render_feedback, render_refusal
from grader.reporting.staff import render_staff
from grader.similarity import Pair, Paper, Passage, Similarity

from . import dashboard_class as invented
from .examples import details, full_marks, hostile_copies, middle, untouched_template

VOID = {"meta", "link", "br", "hr", "img", "input"}
INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Reader(HTMLParser):
    """Collects elements, tables and visible text, and fails on a tag that is closed in the wrong place."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[dict[str, str]]]] = []  # rows of cells: attributes, and the text inside as `text`
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append({"text": ""} | {name: value or "" for name, value in attrs})
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1]["text"] += data

    def values(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]


def read_words(html: str) -> str:
    return " ".join(Reader(html).text.split())


def adjust_grade() -> Grade:
    """A grade with full marks, but handed in late by a day, and with one check changed."""
    upload = invented.upload(1).model_copy(update={"submitted_at": invented.DUE + timedelta(hours=20)})
    signed = {"student": upload.student.key, "author": "M. Example", "reason": "Half of it."}
    change = Override(kind=OverrideKind.CHECK, target="step1.trained", points=3, **signed)
    found = Intake(source="x", uploads=(upload,))
    (grade,) = settle(found, {upload.id: full_marks()}, invented.POLICY, Overrides(entries=(change,), possible=100))
    return grade


FOUND, GRADES = invented.settled(60)
SIMILAR = invented.similar(FOUND)
TOLD = {"rules": ("Rule one.",), "warnings": ("2 students of the gradebook have the same name.",)}
DASHBOARD = render_dashboard(GRADES, FOUND, name="autumn", similarity=SIMILAR, **TOLD)
PAGES = {
    "feedback of full marks": render_feedback(full_marks()),
    "feedback of an untouched template": render_feedback(untouched_template()),
    "feedback": render_feedback(middle()),
    "staff report of full marks": render_staff(full_marks(), details(), adjust_grade()),
    "staff report of an untouched template": render_staff(untouched_template(), details()),
    "staff report": render_staff(middle(), details()),
    "staff report without a sandbox": render_staff(middle().model_copy(update={"sandbox": "none"}), details()),
    "refusal": render_refusal(next(grade for grade in GRADES if grade.standing is Standing.REFUSED)),
    "dashboard": DASHBOARD,
    "similar code": render_similar(SIMILAR, FOUND),
}
KINDS = ("feedback", "staff report", "dashboard", "similar code")


@cache
def build_hostile_pages(text: str) -> dict[str, str]:
    """One page of each kind in which every free text ends with `text`."""
    result = Result.model_validate(hostile_copies(middle().model_dump(by_alias=True), text))
    shown = StaffDetails.model_validate(hostile_copies(details().model_dump(), text))
    grade = _copy_grade(adjust_grade(), text)
    found, grades = invented.settled(24)
    found = Intake.model_validate(hostile_copies(found.model_dump(by_alias=True), text))
    papers = [Paper(upload.id, upload.student.key, "1", f"x = 1\n{text}") for upload in found.uploads[:2]]
    pair = Pair(*papers, 0.9, 0.8, (Passage((0, 1), (0, 1)),))
    alike = Similarity(equal=(tuple(papers),), pairs=(pair,), compared=2)
    copies = [_copy_grade(grade, text) for grade in grades]
    page = render_dashboard(copies, found, name=text, similarity=alike, rules=[text], warnings=[text])
    pages = (render_feedback(result, grade), render_staff(result, shown, grade), page, render_similar(alike, found))
    return dict(zip(KINDS, pages, strict=True))


def _copy_grade(grade: Grade, text: str) -> Grade:
    changes = [change.model_dump() | {"reason": text, "author": text} for change in grade.adjustments]
    copied = hostile_copies(grade.model_dump(by_alias=True), text)
    same = {"standing": grade.standing, "outcome": grade.outcome}
    return Grade.model_validate(copied | same | {"adjustments": changes})
