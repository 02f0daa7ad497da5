"""Renders the pages. Everything in them that a student or a person wrote is text: see `reporting/page.py`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from jinja2 import ChoiceLoader, Environment, PackageLoader

from grader.grades.decisions import Appeal, Comment, Decision, Reviewed
from grader.grades.grade import PassOutcome, Progress
from grader.grades.overrides import Override, OverrideKind
from grader.grades.policy import PassRule
from grader.intake.uploads import Student
from grader.model import CheckResult, Result, StaffDetails, Verdict
from grader.reporting import words
from grader.reporting.cohort.attention import format_mismatches
from grader.reporting.cohort.dashboard import TONES
from grader.reporting.outline import group_by_step
from grader.reporting.page import LOADER, build_engine
from grader.review.blinding import NOTHING, Blinding, blind
from grader.review.classroom import Attempt, ClassView, Dossier
from grader.review.deciding import Act, Draft
from grader.review.filters import OUTCOMES, Filter, State
from grader.review.notebook import Cell
from grader.review.outbox import OutboxState

ROWS_MAX: Final = 100  # of one page of the list
OUTCOME_TONES: Final = {  # the verdicts whose colours they get
    PassOutcome.COMPLETE: Verdict.PASSED,
    PassOutcome.INCOMPLETE: Verdict.FAILED,
    PassOutcome.OPEN: Verdict.NOT_JUDGED,
}


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
    since: Progress | None = None  # the attempt before the one that counts
    draft: Draft | None = None  # what could not be saved
    has_new_file: bool = False  # another one than the page shows that is open

    @property
    def result(self) -> Result | None:
        """The result of the file that is shown."""
        return self.attempt.outcome.result if self.attempt else None

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        """Its checks, as people changed them."""
        return self.dossier.list_checks(self.result)

    def list_needed(self, rule: PassRule) -> tuple[CheckResult, ...]:
        """List the checks that a pass takes, as they are on the file that counts."""
        checks = {check.id: check for check in self.dossier.checks}
        return tuple(checks[name] for name in rule.checks if name in checks)

    @property
    def has_form(self) -> bool:
        """True if the page has the form that could not be saved, and can show there what was typed."""
        if self.draft is None:
            return False
        forms: Mapping[Act, Collection[str]] = {
            **dict.fromkeys((Act.TOTAL, Act.EXCUSE), ("",)),
            Act.COMMENT: {"", *(check.id for check in self.checks)},
            Act.ANSWER: {check for check, appeal in self.dossier.appeals.items() if not appeal.answer},
            Act.TAKE_AWAY: {decision.id for decision in self.dossier.held},
            Act.MANUAL: (self.draft.about,),
        }
        return self.draft.about in forms.get(self.draft.act, {check.id for check in self.checks})

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


def render_list(visit: Visit, view: ClassView, page: int, outbox: OutboxState, fragment: bool = False) -> str:
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
        states=[state for state in State if view.policy.passing or state not in OUTCOMES],
        verdicts=list(Verdict),
        outbox=outbox,
    )


def render_student(
    visit: Visit, view: ClassView, page: StudentPage, outbox: OutboxState, fragment: bool = False
) -> str:
    """Render the page of one student; as a `fragment` for a page that is open, without a notebook that is there."""
    template = "saved.html" if fragment else "student.html"
    held = [describe_held(decision, view) for decision in page.dossier.held]
    steps = group_by_step(page.checks)
    return _render(template, visit, view, page=page, steps=steps, held=held, outbox=outbox, about=page.dossier)


@dataclass(frozen=True)
class Held:
    """A decision that is in force, without the name of the student."""

    id: str
    what: str
    words: str
    signed: str


def describe_held(decision: Decision, view: ClassView) -> Held:
    """Describe a decision for a page that may not name the student."""
    matter = decision.matter
    title, words_ = "Extension", getattr(matter, "reason", "")
    match matter:
        case Override():
            items = {item.id: item.title for item in view.policy.manual}
            about = view.titles.get(matter.target) or items.get(matter.target, matter.target) or "Total"
            given = words.format_points(matter.points) if matter.points is not None else matter.verdict
            title = "Excused" if matter.kind is OverrideKind.EXCUSED else f"{about}: {given}"
        case Comment():
            title, words_ = f"Comment: {view.titles.get(matter.check, matter.check) or 'the whole'}", matter.text
        case Reviewed():
            title = "Reviewed"
        case Appeal():
            state = "answered" if matter.answer else "open"
            title, words_ = f"Appeal, {state}: {view.titles.get(matter.contests, matter.contests)}", matter.claim
            words_ += f"\n{matter.answer}" if matter.answer else ""
    where = f", {decision.file}" if decision.file else ""
    return Held(decision.id, title, words_, f"{matter.author}, {decision.at:%Y-%m-%d %H:%M} UTC{where}")


def render_outbox(visit: Visit, view: ClassView, outbox: OutboxState) -> str:
    """Render what is not written yet."""
    return _render("outbox.html", visit, view, outbox=outbox)


def render_message(visit: Visit, view: ClassView | None, title: str, text: str) -> str:
    """Render a page that says why there is no other."""
    return _render("message.html", visit, view, title=title, text=text)


def choose_hiding(visit: Visit, view: ClassView | None, about: Dossier | None) -> Callable[..., str]:
    """Return what every text passes that may name a student: one whom a page is `about`, or else any of the class."""

    @cache  # most lists of a large class need it nowhere
    def build() -> Blinding:
        return blind(_list_concerned(view, about), view.intake) if view else NOTHING

    def hide(text: str, is_note: bool = False) -> str:
        if not visit.blind:
            return text
        return build().hide_in_note(text) if is_note else build().hide(text)

    return hide


def _list_concerned(view: ClassView, about: Dossier | None) -> list[Student]:
    if about is None:
        return [dossier.grade.student for dossier in view.dossiers.values()]
    student = about.grade.student
    groups = [group.members for group in view.intake.groups if student.key in {member.key for member in group.members}]
    return [student, *about.alike, *(member for members in groups for member in members)]


def _render(template: str, visit: Visit, view: ClassView | None, about: Dossier | None = None, **values: object) -> str:
    shared: Mapping[str, object] = {"words": words, "tones": TONES, "outcomes": OUTCOME_TONES, "swap": False}
    hide = choose_hiding(visit, view, about)
    return _build_engine().get_template(template).render(visit=visit, view=view, hide=hide, **shared, **values)


@cache
def _build_engine() -> Environment:
    return build_engine(ChoiceLoader([PackageLoader("grader.review"), LOADER]))
