"""Renders the pages. Everything in them that a student or a person wrote is text: see `reporting/page.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from jinja2 import ChoiceLoader, Environment, PackageLoader

from grader.grades.grade import Standing
from grader.model import CheckResult, Result, StaffDetails, Verdict
from grader.reporting import words
from grader.reporting.cohort.attention import format_mismatches
from grader.reporting.cohort.dashboard import TONES
from grader.reporting.outline import group_by_step
from grader.reporting.page import LOADER, build_engine
from grader.review.classroom import Attempt, ClassView, Dossier
from grader.review.filters import Filter, State
from grader.review.notebook import Cell

ROWS_MAX: Final = 100  # of one page of the list


@dataclass(frozen=True)
class Visit:
    """Who looks, and how: the filter stays while they go from student to student."""

    filter: Filter
    blind: bool = False
    author: str = ""

    def name(self, dossier: Dossier) -> str:
        """Return what the student is called on this visit."""
        student = dossier.grade.student
        return f"Student {dossier.code}" if self.blind else student.name.strip() or student.key or "(no name)"

    def order(self, view: ClassView) -> list[Dossier]:
        """Return all students in the order of this visit: that of names would tell who is who."""
        found = list(view.dossiers.values())
        return sorted(found, key=lambda dossier: dossier.code) if self.blind else found

    def address(self, dossier: Dossier | None = None) -> str:
        """Return the address of a student, or of the list, with the filter."""
        path = f"/student/{dossier.code}" if dossier else "/"
        return f"{path}{'?' * bool(self.filter.query)}{self.filter.query}"


@dataclass(frozen=True)
class Position:
    """Where a student stands among those that the filter shows. `number` counts from 1; 0 if it does not show them."""

    number: int
    total: int
    before: Dossier | None
    after: Dossier | None


@dataclass(frozen=True)
class StudentPage:
    """What the page of one student shows."""

    dossier: Dossier
    attempt: Attempt | None
    cells: Sequence[Cell]
    trouble: str  # why there are no cells
    details: StaffDetails
    position: Position

    @property
    def result(self) -> Result | None:
        """The result of the file that is shown."""
        return self.attempt.outcome.result if self.attempt else None

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        """Its checks, as people changed them."""
        return self.dossier.list_checks(self.result)

    @property
    def flags(self) -> tuple[str, ...]:
        """What a person should look at, a sentence each."""
        faults = tuple(f"{self.name_check(i)}: {text}" for i, text in self.details.faults.items())
        claims = format_mismatches(self.dossier.grade.model_copy(update={"result": self.result}))
        return (*self.details.notes, *faults, *((f"Claimed figures differ. {claims}.",) if claims else ()))

    def name_check(self, check_id: str) -> str:
        """Return the title of a check."""
        return next((check.title for check in self.checks if check.id == check_id), check_id)


def find_position(visit: Visit, view: ClassView, dossier: Dossier) -> Position:
    """Find the neighbours that the filter shows, also of a student whom it does not show any more."""
    everybody = visit.order(view)
    place = {one.code: number for number, one in enumerate(everybody)}
    shown = visit.filter.select(everybody, visit.blind)
    here = place[dossier.code]
    before = [one for one in shown if place[one.code] < here]
    after = [one for one in shown if place[one.code] > here]
    is_shown = len(before) + len(after) < len(shown)
    return Position(
        len(before) + 1 if is_shown else 0, len(shown), before[-1] if before else None, next(iter(after), None)
    )


def render_list(visit: Visit, view: ClassView, page: int, fragment: bool = False) -> str:
    """Render the list of students; as a `fragment` the rows alone, for a page that is open."""
    shown = visit.filter.select(visit.order(view), visit.blind)
    pages = max(1, -(-len(shown) // ROWS_MAX))
    page = min(max(1, page), pages)
    return _render(
        "rows.html" if fragment else "students.html",
        visit,
        view,
        rows=shown[(page - 1) * ROWS_MAX : page * ROWS_MAX],
        count=len(shown),
        page=page,
        pages=pages,
        states=list(State),
        verdicts=list(Verdict),
    )


def render_student(visit: Visit, view: ClassView, student: StudentPage) -> str:
    """Render the page of one student."""
    return _render("student.html", visit, view, page=student, steps=group_by_step(student.checks))


def render_message(visit: Visit, title: str, text: str) -> str:
    """Render a page that says why there is no other."""
    return _render("message.html", visit, None, title=title, text=text)


def _render(template: str, visit: Visit, view: ClassView | None, **values: object) -> str:
    shared: Mapping[str, object] = {"words": words, "tones": TONES, "Verdict": Verdict, "Standing": Standing}
    return _build_engine().get_template(template).render(visit=visit, view=view, **shared, **values)


@cache
def _build_engine() -> Environment:
    return build_engine(ChoiceLoader([PackageLoader("grader.review"), LOADER]))
