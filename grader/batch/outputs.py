"""Makes what goes back from results: grades, gradebook, feedback, tables, dashboard. Executes and judges nothing."""

import json
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from grader import similarity
from grader.batch import history
from grader.batch.attempts import add_progress
from grader.batch.decisions import load_rulings, note_handed_out, read_decisions
from grader.batch.request import BatchRequest
from grader.batch.store import Store, write
from grader.batch.teacher_export import forget_others, keep_gradebook, read_gradebook
from grader.errors import SubmissionError
from grader.gradebook import canvas_csv, gradescope, tables
from grader.gradebook.canvas_feedback import build_zip, choose_pages
from grader.gradebook.canvas_upload import Delivery
from grader.grades.decisions import Rulings
from grader.grades.earlier_files import tell_of_earlier
from grader.grades.grade import Grade, Standing
from grader.grades.policy import GradingPolicy, describe
from grader.grades.settlement import describe_gaps, describe_idle, settle
from grader.intake.archive import locate_upload
from grader.intake.gradebook_export import Platform, read_export
from grader.intake.notebook import read_submission
from grader.intake.uploads import Intake, Refusal, Upload
from grader.model import FrozenModel, Result
from grader.paths import TEMPLATE
from grader.reporting import words
from grader.reporting.cohort.dashboard import render_dashboard
from grader.reporting.cohort.review_link import REVIEW_LINK, render_review_link
from grader.reporting.cohort.similarity_page import render_similar
from grader.reporting.feedback import render_feedback, render_refusal
from grader.reporting.staff import render_staff
from grader.reporting.words import format_points

FEEDBACK: Final = "feedback.html"
ALIKE: Final = "alike.json"  # groups of uploads with similar code, by their ids
TEXTS_MAX: Final = 100  # cells of text that a page shows
TEXT_CHARS_MAX: Final = 10_000
NAME_CHARS_MAX: Final = 60
INERT: Final = (".pdf", ".ipynb", ".txt", ".docx", ".zip", ".png", ".jpg")
ATTACHED: Final = "The attached page says what was checked and what to try."
OWN_FEEDBACK: Final = "feedback-{key}.html"  # of a member of a group whose grade is not that of the first


class BatchOutputs(FrozenModel):
    """The files written, and what staff should know before they pass them on."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]
    grades: tuple[Grade, ...]
    outdated: int = 0  # uploads that older code executed

    @property
    def ungraded(self) -> int:
        """The number of students who handed in and have no points."""
        return sum(grade.standing is Standing.UNGRADED for grade in self.grades)


def check_gradebook(request: BatchRequest, intake: Intake) -> None:
    """Fill the export that a person gave with nothing, before hours of grading, and keep a copy of it.

    Raises GraderError if it cannot be filled, OSError if it cannot be kept.
    """
    _fill_gradebook(request, settle(intake, {}, GradingPolicy()), GradingPolicy())
    keep_gradebook(request)


def hand_out(request: BatchRequest, intake: Intake) -> BatchOutputs:
    """Settle the grades and write everything. Raises GraderError and OSError."""
    known = len(read_decisions(request.folder))  # before they are applied: none is called written that is not
    found = find_outcomes(request, intake)
    rulings, grades = settle_class(request, intake, found)
    intake, policy = rulings.intake, rulings.policy
    grades = add_progress(request, intake, grades)
    gradebook, warnings, concerns = _fill_gradebook(request, grades, policy)
    entries = [entry for upload in intake.uploads if (entry := found[upload.id].entry)]
    intake = intake.model_copy(update={"concerns": {**intake.concerns, **concerns}})
    gaps = (*rulings.notes, *describe_gaps(policy, intake), *describe_idle(grades, rulings.overrides))
    _update_reports(request, _put_owners_first(grades, intake))
    feedback, repeated = choose_pages(_list_feedback(request, intake, grades))
    notes = (*intake.notes, *gaps, *warnings, *repeated, *history.describe_outdated(entries))
    files = {
        **render_pages(request, intake, grades, describe(policy), notes),
        **gradebook,
        "checks.csv": tables.encode_csv(grades),
        "checks.json": tables.encode_json(grades),
        "checks.parquet": tables.encode_parquet(grades),
        **({"feedback.zip": build_zip(feedback)} if feedback else {}),
        **_format_gradescope(grades),
    }
    written = tuple(write(request.folder / name, content) for name, content in files.items())
    removed = _remove_stale(request.folder, files)
    note_handed_out(request.folder, known)
    forget_others(request)  # only now: a run that stopped before still needs the one before
    if not (request.folder / REVIEW_LINK).exists():  # while the review page runs, it says where
        write(request.folder / REVIEW_LINK, render_review_link(str(request.folder)).encode())
    return BatchOutputs(
        files=tuple(path for path in written if path.parent == request.folder),
        notes=(*notes, *(f"{name} of an earlier run is removed." for name in removed if "/" not in name)),
        grades=grades,
        outdated=len(history.list_executed_before(entries)),
    )


def _remove_stale(folder: Path, files: Container[str]) -> list[str]:
    """Remove what an earlier run handed out and this one does not, and return the names."""
    earlier = [folder / "gradebook.csv", folder / "feedback.zip", *sorted((folder / "gradescope").glob("*.json"))]
    names = [path.relative_to(folder).as_posix() for path in earlier if path.is_file()]
    stale = [name for name in names if name not in files]
    for name in stale:
        (folder / name).unlink()
    return stale


class Outcome(NamedTuple):
    """What became of one upload: the last entry of its history, and the result that counts."""

    entry: history.HistoryEntry | None
    result: Result | None


def settle_class(
    request: BatchRequest, intake: Intake, found: Mapping[str, Outcome]
) -> tuple[Rulings, tuple[Grade, ...]]:
    """Apply what people decided to what became of each upload, by its id. Raises GraderError."""
    rulings = load_rulings(request.folder, _add_refusals(intake, found))
    results = {i: outcome.result for i, outcome in found.items() if outcome.result}
    grades = settle(rulings.intake, results, rulings.policy, rulings.overrides)
    rulings, grades = tell_of_earlier(rulings, grades)
    return rulings, tuple(_add_words(grade, rulings) for grade in grades)


def settle_stored(request: BatchRequest, intake: Intake) -> tuple[Grade, ...]:
    """Settle the grades by what is stored; write nothing. Raises GraderError."""
    return settle_class(request, intake, find_outcomes(request, intake))[1]


def _add_words(grade: Grade, rulings: Rulings) -> Grade:
    """Add what people wrote to the student."""
    said, answers = (found.get(grade.student.key, {}) for found in (rulings.comments, rulings.answers))
    on_checks = {check: text for check, text in said.items() if check}
    words_ = {"comment": said.get("", ""), "check_comments": on_checks, "answers": answers}
    return grade.model_copy(update=words_) if said or answers else grade


def _add_refusals(intake: Intake, found: Mapping[str, Outcome]) -> Intake:
    """Move the uploads that turned out to be no notebooks to the refusals."""
    refused = {i: outcome.entry.message for i, outcome in found.items() if outcome.entry and outcome.entry.is_refused}
    refusals = tuple(
        Refusal(entry=u.entry, reason=refused[u.id], student=u.student, attachment_id=u.attachment_id, sha256=u.sha256)
        for u in intake.uploads
        if u.id in refused
    )
    opened = [[u for u in intake.uploads if (u.id in refused) is wanted] for wanted in (False, True)]
    moved = {"uploads": tuple(opened[0]), "unreadable": tuple(opened[1])}
    return intake.model_copy(update={**moved, "refusals": (*intake.refusals, *refusals)})


def find_outcomes(request: BatchRequest, intake: Intake) -> dict[str, Outcome]:
    """Read what became of each upload, by its id."""
    return {upload.id: find_outcome(request, upload) for upload in intake.uploads}


def find_outcome(request: BatchRequest, upload: Upload) -> Outcome:
    """Read what became of an upload.

    What the last run could not grade has no result, whatever there was before; nor has what was graded as another
    notebook, or with other settings: a batch that was stopped leaves such results.
    """
    entry = find_last_entry(request, upload)
    if entry is None or entry.message:
        return Outcome(entry, None)
    with suppress(OSError, ValidationError):  # absent, or of another version
        result = Result.model_validate_json((request.submissions / upload.id / "result.json").read_bytes())
        if (result.submission.sha256, result.profile, result.seed) == (upload.sha256, request.profile, request.seed):
            return Outcome(entry, result)
    return Outcome(entry, None)


def read_results(request: BatchRequest, intake: Intake) -> dict[str, Result]:
    """Read the result that counts for each upload, by its id."""
    return {name: found.result for name, found in find_outcomes(request, intake).items() if found.result}


def find_last_entry(request: BatchRequest, upload: Upload) -> history.HistoryEntry | None:
    """Find the last entry about an upload, unless it is about another notebook."""
    entry = history.read_last(request.submissions / upload.id)
    return entry if entry and entry.sha256 in ("", upload.sha256) else None


def _fill_gradebook(
    request: BatchRequest, grades: tuple[Grade, ...], policy: GradingPolicy
) -> tuple[dict[str, bytes], tuple[str, ...], dict[str, str]]:
    """Fill the gradebook to import, if there is an export; also return warnings, and whom they are about."""
    export = read_gradebook(request)
    if export is None:
        return {}, (), {}
    copied = (export.note,) if export.note else ()
    if (read := read_export(export.content)).platform is not Platform.CANVAS and not read.columns:
        way = "fill Moodle's grading worksheet" if read.platform is Platform.MOODLE else "upload gradescope/"
        note = f"This export of {read.platform} says who is in the class and takes no grades back: {way} instead."
        return {}, (*copied, note), {}
    as_words = policy.passing is not None and policy.passing.gradebook == "complete"
    made = canvas_csv.fill_column(export.content, grades, request.assignment, as_words)
    return {"gradebook.csv": made.content}, (*copied, *made.warnings), made.concerns


def _list_feedback(request: BatchRequest, intake: Intake, grades: Iterable[Grade]) -> Iterator[tuple[str, bytes]]:
    """Yield what answers each entry that Canvas named: a page for each student."""
    refusals = defaultdict(list)
    for refusal in intake.refusals:
        if refusal.student and refusal.attachment_id is not None:
            refusals[refusal.student.key].append(refusal.entry)
    answered = set[str]()
    for grade in _put_owners_first(grades, intake):
        if grade.standing is Standing.REFUSED:
            page = render_refusal(grade).encode("utf-8", "replace")
            yield from ((entry, page) for entry in refusals[grade.student.key])
        path, upload = find_feedback_page(request, grade), grade.upload
        if path and upload and upload.attachment_id is not None and upload.entry not in answered:
            answered.add(upload.entry)  # Canvas shows it to all of a group
            yield upload.entry, path.read_bytes()


def _put_owners_first(grades: Iterable[Grade], intake: Intake) -> list[Grade]:
    """Sort the grades so that of a group that one comes first whose upload it is, as the source says."""
    owners = {upload.id: upload.student.key for upload in intake.uploads}
    return sorted(grades, key=lambda g: g.upload is not None and owners.get(g.upload.id) != g.student.key)


def find_feedback_page(request: BatchRequest, grade: Grade) -> Path | None:
    """Find the page that a student is to read: that of the upload, or one's own where one's group has another.

    There is none without a result: then the folder may hold the page of an earlier run, with other points.
    """
    if grade.upload is None or grade.result is None or grade.standing not in (Standing.GRADED, Standing.EXCUSED):
        return None
    folder = request.submissions / grade.upload.id
    pages = (folder / OWN_FEEDBACK.format(key=grade.student.key), folder / FEEDBACK)
    return next((page for page in pages if page.is_file()), None)


def _format_gradescope(grades: Iterable[Grade]) -> dict[str, bytes]:
    """Format a results.json for each student who handed in, as Gradescope reads it."""
    found = {grade.student.key: gradescope.format_grade(grade) for grade in grades}
    texts = {key: json.dumps(data, ensure_ascii=False, indent=1) for key, data in found.items() if data}
    return {f"gradescope/{key}.json": text.encode("utf-8", "replace") for key, text in texts.items()}


def render_pages(
    request: BatchRequest, intake: Intake, grades: tuple[Grade, ...], rules: Iterable[str], notes: Iterable[str]
) -> dict[str, bytes]:
    """Render the dashboard, and similar code side by side."""
    folders = {upload.id: f"submissions/{upload.id}" for upload in intake.uploads}
    alike = similarity.compare(_read_papers(request, intake), similarity.read_template_code(TEMPLATE))
    shown = render_dashboard(
        grades,
        intake,
        name=request.folder.name,
        similarity=alike,
        rules=rules,
        warnings=notes,
        folders=folders,
        files=_copy_refused(request, intake),
    )
    groups = [[paper.id for paper in cluster.papers] for cluster in similarity.cluster_papers(alike)]
    write(request.folder / "store" / ALIKE, json.dumps(groups).encode())
    return {"index.html": shown.encode(), "similar.html": render_similar(alike, intake, folders).encode()}


def _copy_refused(request: BatchRequest, intake: Intake) -> dict[str, list[tuple[str, str]]]:
    """Put the refused files where staff can open them; return links to them, by the key of the student.

    What a browser would run gets `.txt` behind its name.
    """
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for refusal in intake.refusals:
        kept = request.folder / "store" / "uploads" / f"{refusal.sha256}.ipynb"
        if refusal.student is None or not refusal.sha256 or not kept.is_file():
            continue
        name = re.sub(r"[^\w.() -]", "_", refusal.entry.rpartition("/")[2])[-NAME_CHARS_MAX:]
        plain = "" if name.lower().endswith(INERT) else ".txt"
        address = f"refused/{refusal.student.key}/{refusal.sha256[:8]}-{name}{plain}"
        if not (target := request.folder / address).is_file():
            write(target, kept.read_bytes())
        number = len(found[refusal.student.key]) + 1
        found[refusal.student.key].append(("file" if number == 1 else f"file {number}", address))
    return found


def _read_papers(request: BatchRequest, intake: Intake) -> Iterator[similarity.Paper]:
    uploads = Store(request.folder / "store").uploads
    teams = {member.key: group.name for group in intake.groups for member in group.members}
    for upload in intake.uploads:
        try:
            notebook = read_submission(locate_upload(uploads, upload)).notebook
        except SubmissionError:
            continue
        author = teams.get(upload.student.key, upload.student.key)
        yield similarity.make_paper(upload.id, author, upload.sha256, notebook)


def _update_reports(request: BatchRequest, grades: Iterable[Grade]) -> None:
    """Show in the reports of the uploads that count how policy and people changed their points."""
    store, shown = Store(request.folder / "store"), dict[str, str]()
    for grade in grades:
        if grade.upload is None or grade.result is None:
            continue
        folder = request.submissions / grade.upload.id
        entry = history.read_last(folder)
        judged = store.read_judgement(entry.result) if entry else None
        if judged is None:
            continue
        page, own = render_feedback(grade.result, grade), folder / OWN_FEEDBACK.format(key=grade.student.key)
        if shown.setdefault(grade.upload.id, page) != page:
            _renew(own, page)
            continue
        own.unlink(missing_ok=True)
        _renew(folder / FEEDBACK, page)
        texts = _read_texts(store.uploads, grade.upload)
        _renew(folder / "staff.html", render_staff(grade.result, judged.details, grade, texts))


def _read_texts(uploads: Path, upload: Upload) -> list[tuple[int, str]]:
    """Read what a student wrote in cells of text, each with the number of the cell; text of the handout is left out."""
    try:
        notebook = read_submission(locate_upload(uploads, upload)).notebook
    except SubmissionError:
        return []
    given = _list_given_texts()
    cells = [(n, c.source) for n, c in enumerate(notebook.cells, 1) if c.cell_type == "markdown"]
    return [(n, text[:TEXT_CHARS_MAX]) for n, text in cells if text.strip() and _squeeze(text) not in given][:TEXTS_MAX]


@cache
def _list_given_texts() -> frozenset[str]:
    cells = read_submission(TEMPLATE).notebook.cells
    return frozenset(_squeeze(cell.source) for cell in cells if cell.cell_type == "markdown")


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _renew(path: Path, text: str) -> None:
    content = text.encode("utf-8", "replace")
    if not path.is_file() or path.read_bytes() != content:
        write(path, content)


def build_deliveries(request: BatchRequest, intake: Intake, grades: Sequence[Grade]) -> tuple[Delivery, ...]:
    """Build what Canvas sends: a score, a page and a comment for each student, in order."""
    known = _list_attachments(intake, grades)
    pages = ((grade, find_feedback_page(request, grade)) for grade in grades)
    return tuple(
        Delivery(
            grade=grade,
            comment=format_comment(grade, page is not None),
            feedback=page,
            attachments=known[_name_team(grade)],
        )
        for grade, page in pages
    )


def _list_attachments(intake: Intake, grades: Iterable[Grade]) -> Mapping[tuple[str, str], frozenset[int]]:
    """List the ids of what each student, or all of their group, handed in, also of what was refused."""
    teams = {grade.student.key: _name_team(grade) for grade in grades}
    found = defaultdict[tuple[str, str], frozenset[int]](frozenset)
    files: tuple[Upload | Refusal, ...] = (*intake.uploads, *intake.unreadable, *intake.refusals)
    for file in files:
        team = teams.get(file.student.key) if file.student else None
        if team and file.attachment_id is not None:
            found[team] |= {file.attachment_id}
    return found


def _name_team(grade: Grade) -> tuple[str, str]:
    """Name those who hand in together with a student, who may be alone: a group may be called as a key is."""
    return (grade.group, "") if grade.group else ("", grade.student.key)


def format_comment(grade: Grade, has_page: bool) -> str:
    """Write what the student reads beside the score, and beside the page where one is attached."""
    said = [*([grade.comment] if grade.comment else []), *_list_words_on_checks(grade, has_page)]
    if grade.standing is Standing.REFUSED:
        return "\n".join([f"Your upload could not be graded: {grade.note}", *said])
    page = [ATTACHED] if has_page else []
    if grade.standing is not Standing.GRADED:  # the page alone says nothing new to the student
        return "\n".join([*said, *page]) if said or grade.check_comments else ""
    changes = [f"{a.points:+g}: {a.reason}" for a in grade.adjustments]
    points = f"{format_points(grade.points)} of {format_points(grade.possible)} points"
    points += (
        f", of those that were judged: {format_points(grade.unjudged)} more are open." if grade.is_partial else "."
    )
    first = [sentence] if (sentence := words.describe_outcome(grade)) else []
    return "\n".join([*first, points, *changes, *said, *page])


def _list_words_on_checks(grade: Grade, has_page: bool) -> Iterator[str]:
    """Say which appeals are answered; what the answers and the comments on checks are, where no page does."""
    titles = {check.id: check.title for check in grade.result.checks} if grade.result else {}
    for check, text in grade.check_comments.items():
        if not (has_page and check in titles):
            yield f"About {titles.get(check, check)!r}: {text}"
    for check, said in grade.answers.items():
        where = "; the attached page says how." if has_page and check in titles else f": {said.answer}"
        yield f"Your appeal about {titles.get(check, check)!r} is answered{where}"
