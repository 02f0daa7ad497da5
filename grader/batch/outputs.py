"""From results to what goes back: grades, gradebook, feedback, tables, dashboard. Executes and judges nothing."""

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from grader import similarity
from grader.batch import history
from grader.batch.request import Request
from grader.batch.store import Store, write
from grader.errors import ANOTHER_FOLDER, GraderError, SubmissionError, refused
from grader.gradebook import canvas_csv, gradescope, tables
from grader.gradebook.canvas_feedback import feedback_zip
from grader.grades import (
    Policy,
    described,
    load_overrides,
    load_policy,
    require_one_each,
    settle,
    students,
    unknown_times,
    unmatched_extensions,
    with_times,
)
from grader.grades.grade import Grade, Standing
from grader.grades.overrides import Overrides
from grader.intake.archive import stored
from grader.intake.gradebook_export import read_export
from grader.intake.notebook import read_submission
from grader.intake.uploads import Intake, Refusal, Upload
from grader.judging.scoring import load_rubric
from grader.model import Frozen, Profile, Result
from grader.paths import RUBRIC, TEMPLATE
from grader.reporting.cohort.dashboard import dashboard
from grader.reporting.cohort.refusal import refusal_html
from grader.reporting.cohort.similar import similar_html
from grader.reporting.feedback import feedback_html
from grader.reporting.staff import staff_html

FEEDBACK: Final = "feedback.html"


class Handed(Frozen):
    """What was written, and what staff should know before they pass it on."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]
    grades: tuple[Grade, ...]

    @property
    def ungraded(self) -> int:
        """Students whose points are not known."""
        return sum(grade.standing is Standing.UNGRADED for grade in self.grades)


def look_over(request: Request, intake: Intake) -> None:
    """What is wrong with the files that a person gave, said before hours of grading. Raises GraderError."""
    policy = policy_of(request)
    require_one_each(policy, intake)
    overrides(request, timed(request, intake), policy)
    if (export := read_gradebook(request)) is not None:
        canvas_csv.choose(read_export(export).columns, request.assignment)


def hand_out(request: Request, intake: Intake) -> Handed:
    """Settle the grades and write everything. Raises GraderError."""
    settled = timed(request, with_refusals(intake, request))
    results = read_results(request, settled)
    policy = policy_of(request)
    require_one_each(policy, settled)
    grades = settle(settled, results, policy, overrides(request, settled, policy))
    gradebook, warnings = filled(request, grades)
    notes = (*settled.notes, *unmatched_extensions(policy, settled), *unknown_times(policy, settled), *warnings)
    try:
        tell_of_grades(request, grades)
        files = {
            **pages(request, settled, grades, described(policy), notes),
            **gradebook,
            **as_tables(grades),
            **feedback(request, settled, grades),
            **for_gradescope(grades),
        }
        written = tuple(write(request.folder / name, content) for name, content in files.items())
        gone = removed(request.folder, files)
    except OSError as error:
        raise refused(f"write to {request.folder}", error, ANOTHER_FOLDER) from error
    notes = (*notes, *(f"{name} was of an earlier run, and is removed." for name in gone if "/" not in name))
    return Handed(files=tuple(p for p in written if p.parent == request.folder), notes=notes, grades=grades)


def removed(folder: Path, files: Container[str]) -> list[str]:
    """Remove what an earlier run handed out and this one does not, and name it. Raises OSError."""
    earlier = [folder / "gradebook.csv", folder / "feedback.zip", *sorted((folder / "gradescope").glob("*.json"))]
    stale = [p for p in earlier if p.is_file() and p.relative_to(folder).as_posix() not in files]
    for path in stale:
        path.unlink()
    return [path.relative_to(folder).as_posix() for path in stale]


def with_refusals(intake: Intake, request: Request) -> Intake:
    """The intake with the uploads that turned out to be no notebooks among its refusals."""
    last = {u.id: said(request, u) for u in intake.uploads}
    refused = {i: entry.message for i, entry in last.items() if entry and entry.status == history.REFUSED}
    found = tuple(
        Refusal(entry=u.entry, reason=refused[u.id], student=u.student, attachment_id=u.attachment_id)
        for u in intake.uploads
        if u.id in refused
    )
    uploads = tuple(u for u in intake.uploads if u.id not in refused)
    return intake.model_copy(update={"uploads": uploads, "refusals": (*intake.refusals, *found)})


def read_results(request: Request, intake: Intake) -> dict[str, Result]:
    """Upload id -> the result that counts. What the last run could not grade has none, whatever there was before.

    Nor has what was graded as another notebook, or in another way: a batch that was stopped leaves such results.
    """
    found = {}
    for upload in intake.uploads:
        entry = said(request, upload)
        result = read_result(request.folder / "submissions" / upload.id) if entry and not entry.message else None
        if result and (result.submission.sha256, result.profile, result.seed) == (upload.sha256, *asked(request)):
            found[upload.id] = result
    return found


def asked(request: Request) -> tuple[Profile, int]:
    """How notebooks were to be graded."""
    return request.profile, request.seed


def said(request: Request, upload: Upload) -> history.Entry | None:
    """What was last said of an upload, unless it was of another notebook."""
    entry = history.last(request.folder / "submissions" / upload.id)
    return entry if entry and entry.sha256 in ("", upload.sha256) else None


def policy_of(request: Request) -> Policy:
    """The rules that were given, or none. Raises GraderError."""
    return load_policy(request.policy) if request.policy else Policy()


def timed(request: Request, intake: Intake) -> Intake:
    """The intake with the times that were given. Raises GraderError."""
    return with_times(intake, request.times) if request.times else intake


def read_gradebook(request: Request) -> bytes | None:
    """The teacher's export, where one was given. Raises GraderError."""
    if request.gradebook is None:
        return None
    try:
        return request.gradebook.read_bytes()
    except OSError as error:
        raise GraderError(f"Cannot read {request.gradebook} ({error.strerror}); check the path.") from error


def read_result(folder: Path) -> Result | None:
    """A result.json; None where there is none of this version."""
    try:
        return Result.model_validate_json((folder / "result.json").read_bytes())
    except (OSError, ValidationError):
        return None


def overrides(request: Request, intake: Intake, policy: Policy) -> Overrides:
    """Changes that a person made. Raises GraderError."""
    if request.overrides is None:
        return Overrides()
    rubric = load_rubric(RUBRIC)
    return load_overrides(request.overrides, students(intake), rubric, policy.manual)


def filled(request: Request, grades: tuple[Grade, ...]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The gradebook to import, where there is an export to make it from, and warnings. Raises GraderError."""
    export = read_gradebook(request)
    if export is None:
        return {}, ()
    made = canvas_csv.filled(export, grades, request.assignment)
    return {"gradebook.csv": made.content}, made.warnings


def as_tables(grades: tuple[Grade, ...]) -> dict[str, bytes]:
    """Every check of everybody."""
    kinds = {"csv": tables.as_csv, "json": tables.as_json, "parquet": tables.as_parquet}
    return {f"checks.{kind}": make(grades) for kind, make in kinds.items()}


def feedback(request: Request, intake: Intake, grades: Iterable[Grade]) -> dict[str, bytes]:
    """The archive for Canvas: a page for each student, once for each entry that Canvas named. Raises GraderError."""
    refusals = defaultdict(list)
    for refusal in intake.refusals:
        if refusal.student:
            refusals[refusal.student.key].append(refusal)
    answers = dict(answer for g in grades for answer in answered(request, g, refusals[g.student.key]))
    return {"feedback.zip": feedback_zip(answers)} if answers else {}


def answered(request: Request, grade: Grade, refusals: Iterable[Refusal]) -> Iterator[tuple[str, bytes]]:
    """Entries of one student's that Canvas would recognise, and what is to be read there. Raises OSError."""
    if grade.standing is Standing.REFUSED:
        page = refusal_html(grade).encode("utf-8", "replace")
        yield from ((refusal.entry, page) for refusal in refusals if refusal.attachment_id is not None)
    path = feedback_page(request, grade)
    if path and grade.upload and grade.upload.attachment_id is not None:
        yield grade.upload.entry, path.read_bytes()


def feedback_page(request: Request, grade: Grade) -> Path | None:
    """What a student is to read."""
    if grade.upload is None or grade.standing not in (Standing.GRADED, Standing.EXCUSED):
        return None
    page = request.folder / "submissions" / grade.upload.id / FEEDBACK
    return page if page.is_file() else None


def for_gradescope(grades: Iterable[Grade]) -> dict[str, bytes]:
    """A results.json for each student who handed in, as Gradescope reads it."""
    found = {grade.student.key: gradescope.settled(grade) for grade in grades}
    texts = {key: json.dumps(data, ensure_ascii=False, indent=1) for key, data in found.items() if data}
    return {f"gradescope/{key}.json": text.encode("utf-8", "replace") for key, text in texts.items()}


def pages(
    request: Request, intake: Intake, grades: tuple[Grade, ...], rules: Iterable[str], notes: Iterable[str]
) -> dict[str, bytes]:
    """The dashboard, and similar code side by side."""
    folders = {upload.id: f"submissions/{upload.id}" for upload in intake.uploads}
    alike = similarity.compare(papers(request, intake), similarity.template_code(TEMPLATE))
    shown = dashboard(
        grades, intake, name=request.folder.name, similarity=alike, rules=rules, warnings=notes, folders=folders
    )
    return {"index.html": shown.encode(), "similar.html": similar_html(alike, intake, folders).encode()}


def papers(request: Request, intake: Intake) -> Iterator[similarity.Paper]:
    """Every notebook as text."""
    uploads = Store(request.folder / "store").uploads
    for upload in intake.uploads:
        try:
            notebook = read_submission(stored(uploads, upload)).notebook
        except SubmissionError:
            continue
        yield similarity.paper_of(upload.id, upload.student.key, upload.sha256, notebook)


def tell_of_grades(request: Request, grades: Iterable[Grade]) -> None:
    """Put into the reports of the uploads that count how policy and people changed their points. Raises GraderError."""
    store = Store(request.folder / "store")
    for grade in grades:
        if grade.upload is None or grade.result is None:
            continue
        folder = request.folder / "submissions" / grade.upload.id
        entry = history.last(folder)
        judged = store.judgement(entry.result) if entry else None
        if judged:
            write_if_new(folder / FEEDBACK, feedback_html(grade.result, grade))
            write_if_new(folder / "staff.html", staff_html(grade.result, judged.details, grade))


def write_if_new(path: Path, text: str) -> None:
    """Write a file unless it holds that already. Raises OSError."""
    content = text.encode("utf-8", "replace")
    if not path.is_file() or path.read_bytes() != content:
        write(path, content)
