"""From results to what goes back: grades, gradebook, feedback, tables, dashboard. Executes and judges nothing."""

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from grader import similarity
from grader.batch import history
from grader.batch.outdated import describe_outdated, list_executed_before
from grader.batch.request import BatchRequest
from grader.batch.store import Store, write
from grader.errors import ANOTHER_FOLDER, GraderError, SubmissionError, explain_refusal
from grader.gradebook import canvas_csv, gradescope, tables
from grader.gradebook.canvas_feedback import build_zip
from grader.grades.grade import Grade, Standing
from grader.grades.overrides import Overrides, load_overrides
from grader.grades.policy import GradingPolicy, describe, load_policy
from grader.grades.settlement import (
    find_unknown_times,
    list_students,
    list_unmatched_extensions,
    require_one_each,
    settle,
)
from grader.grades.times import add_times
from grader.intake.archive import locate_upload
from grader.intake.gradebook_export import read_export
from grader.intake.notebook import read_submission
from grader.intake.uploads import Intake, Refusal, Upload
from grader.judging.scoring import load_rubric
from grader.model import FrozenModel, Profile, Result
from grader.paths import RUBRIC, TEMPLATE
from grader.reporting.cohort.dashboard import render_dashboard
from grader.reporting.cohort.refusal import render_refusal
from grader.reporting.cohort.similarity_page import render_similar
from grader.reporting.feedback import render_feedback
from grader.reporting.staff import render_staff

FEEDBACK: Final = "feedback.html"


class BatchOutputs(FrozenModel):
    """What was written, and what staff should know before they pass it on."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]
    grades: tuple[Grade, ...]
    outdated: int = 0  # uploads that other code than today's executed

    @property
    def ungraded(self) -> int:
        """Students whose points are not known."""
        return sum(grade.standing is Standing.UNGRADED for grade in self.grades)


def check_inputs(request: BatchRequest, intake: Intake) -> None:
    """What is wrong with the files that a person gave, said before hours of grading. Raises GraderError."""
    policy = read_policy(request)
    require_one_each(policy, intake)
    read_overrides(request, apply_times(request, intake), policy)
    if (export := read_gradebook(request)) is not None:
        canvas_csv.choose(read_export(export).columns, request.assignment)


def hand_out(request: BatchRequest, intake: Intake) -> BatchOutputs:
    """Settle the grades and write everything. Raises GraderError."""
    settled = apply_times(request, add_refusals(intake, request))
    results = read_results(request, settled)
    policy = read_policy(request)
    require_one_each(policy, settled)
    grades = settle(settled, results, policy, read_overrides(request, settled, policy))
    gradebook, warnings = fill_gradebook(request, grades)
    entries = list_last_entries(request, settled)
    notes = (
        *settled.notes,
        *list_unmatched_extensions(policy, settled),
        *find_unknown_times(policy, settled),
        *warnings,
        *describe_outdated(entries),
    )
    try:
        update_reports(request, grades)
        files = {
            **render_pages(request, settled, grades, describe(policy), notes),
            **gradebook,
            **format_tables(grades),
            **build_feedback(request, settled, grades),
            **format_gradescope(grades),
        }
        written = tuple(write(request.folder / name, content) for name, content in files.items())
        gone = remove_stale(request.folder, files)
    except OSError as error:
        raise explain_refusal(f"write to {request.folder}", error, ANOTHER_FOLDER) from error
    notes = (*notes, *(f"{name} was of an earlier run, and is removed." for name in gone if "/" not in name))
    return BatchOutputs(
        files=tuple(p for p in written if p.parent == request.folder),
        notes=notes,
        grades=grades,
        outdated=len(list_executed_before(entries)),
    )


def remove_stale(folder: Path, files: Container[str]) -> list[str]:
    """Remove what an earlier run handed out and this one does not, and name it. Raises OSError."""
    earlier = [folder / "gradebook.csv", folder / "feedback.zip", *sorted((folder / "gradescope").glob("*.json"))]
    stale = [p for p in earlier if p.is_file() and p.relative_to(folder).as_posix() not in files]
    for path in stale:
        path.unlink()
    return [path.relative_to(folder).as_posix() for path in stale]


def add_refusals(intake: Intake, request: BatchRequest) -> Intake:
    """The intake with the uploads that turned out to be no notebooks among its refusals."""
    last = {u.id: find_last_entry(request, u) for u in intake.uploads}
    refused = {i: entry.message for i, entry in last.items() if entry and entry.status == history.REFUSED}
    found = tuple(
        Refusal(entry=u.entry, reason=refused[u.id], student=u.student, attachment_id=u.attachment_id)
        for u in intake.uploads
        if u.id in refused
    )
    uploads = tuple(u for u in intake.uploads if u.id not in refused)
    return intake.model_copy(update={"uploads": uploads, "refusals": (*intake.refusals, *found)})


def read_results(request: BatchRequest, intake: Intake) -> dict[str, Result]:
    """Upload id -> the result that counts. What the last run could not grade has none, whatever there was before.

    Nor has what was graded as another notebook, or in another way: a batch that was stopped leaves such results.
    """
    found = {}
    for upload in intake.uploads:
        entry = find_last_entry(request, upload)
        result = read_result(request.folder / "submissions" / upload.id) if entry and not entry.message else None
        if result and (result.submission.sha256, result.profile, result.seed) == (
            upload.sha256,
            *get_settings(request),
        ):
            found[upload.id] = result
    return found


def get_settings(request: BatchRequest) -> tuple[Profile, int]:
    """How notebooks were to be graded."""
    return request.profile, request.seed


def list_last_entries(request: BatchRequest, intake: Intake) -> list[history.HistoryEntry]:
    """What was last said of every upload, as far as anything was."""
    return [entry for upload in intake.uploads if (entry := find_last_entry(request, upload))]


def find_last_entry(request: BatchRequest, upload: Upload) -> history.HistoryEntry | None:
    """What was last said of an upload, unless it was of another notebook."""
    entry = history.read_last(request.folder / "submissions" / upload.id)
    return entry if entry and entry.sha256 in ("", upload.sha256) else None


def read_policy(request: BatchRequest) -> GradingPolicy:
    """The rules that were given, or none. Raises GraderError."""
    return load_policy(request.policy) if request.policy else GradingPolicy()


def apply_times(request: BatchRequest, intake: Intake) -> Intake:
    """The intake with the times that were given. Raises GraderError."""
    return add_times(intake, request.times) if request.times else intake


def read_gradebook(request: BatchRequest) -> bytes | None:
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


def read_overrides(request: BatchRequest, intake: Intake, policy: GradingPolicy) -> Overrides:
    """Changes that a person made. Raises GraderError."""
    if request.overrides is None:
        return Overrides()
    rubric = load_rubric(RUBRIC)
    return load_overrides(request.overrides, list_students(intake), rubric, policy.manual)


def fill_gradebook(request: BatchRequest, grades: tuple[Grade, ...]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The gradebook to import, where there is an export to make it from, and warnings. Raises GraderError."""
    export = read_gradebook(request)
    if export is None:
        return {}, ()
    made = canvas_csv.fill_column(export, grades, request.assignment)
    return {"gradebook.csv": made.content}, made.warnings


def format_tables(grades: tuple[Grade, ...]) -> dict[str, bytes]:
    """Every check of everybody."""
    kinds = {"csv": tables.encode_csv, "json": tables.encode_json, "parquet": tables.encode_parquet}
    return {f"checks.{kind}": make(grades) for kind, make in kinds.items()}


def build_feedback(request: BatchRequest, intake: Intake, grades: Iterable[Grade]) -> dict[str, bytes]:
    """The archive for Canvas: a page for each student, once for each entry that Canvas named. Raises GraderError."""
    refusals = defaultdict(list)
    for refusal in intake.refusals:
        if refusal.student:
            refusals[refusal.student.key].append(refusal)
    answers = dict(answer for g in grades for answer in list_feedback_entries(request, g, refusals[g.student.key]))
    return {"feedback.zip": build_zip(answers)} if answers else {}


def list_feedback_entries(
    request: BatchRequest, grade: Grade, refusals: Iterable[Refusal]
) -> Iterator[tuple[str, bytes]]:
    """Entries of one student's that Canvas would recognise, and what is to be read there. Raises OSError."""
    if grade.standing is Standing.REFUSED:
        page = render_refusal(grade).encode("utf-8", "replace")
        yield from ((refusal.entry, page) for refusal in refusals if refusal.attachment_id is not None)
    path = find_feedback_page(request, grade)
    if path and grade.upload and grade.upload.attachment_id is not None:
        yield grade.upload.entry, path.read_bytes()


def find_feedback_page(request: BatchRequest, grade: Grade) -> Path | None:
    """What a student is to read."""
    if grade.upload is None or grade.standing not in (Standing.GRADED, Standing.EXCUSED):
        return None
    page = request.folder / "submissions" / grade.upload.id / FEEDBACK
    return page if page.is_file() else None


def format_gradescope(grades: Iterable[Grade]) -> dict[str, bytes]:
    """A results.json for each student who handed in, as Gradescope reads it."""
    found = {grade.student.key: gradescope.format_grade(grade) for grade in grades}
    texts = {key: json.dumps(data, ensure_ascii=False, indent=1) for key, data in found.items() if data}
    return {f"gradescope/{key}.json": text.encode("utf-8", "replace") for key, text in texts.items()}


def render_pages(
    request: BatchRequest, intake: Intake, grades: tuple[Grade, ...], rules: Iterable[str], notes: Iterable[str]
) -> dict[str, bytes]:
    """The dashboard, and similar code side by side."""
    folders = {upload.id: f"submissions/{upload.id}" for upload in intake.uploads}
    alike = similarity.compare(read_papers(request, intake), similarity.read_template_code(TEMPLATE))
    shown = render_dashboard(
        grades, intake, name=request.folder.name, similarity=alike, rules=rules, warnings=notes, folders=folders
    )
    return {"index.html": shown.encode(), "similar.html": render_similar(alike, intake, folders).encode()}


def read_papers(request: BatchRequest, intake: Intake) -> Iterator[similarity.Paper]:
    """Every notebook as text."""
    uploads = Store(request.folder / "store").uploads
    for upload in intake.uploads:
        try:
            notebook = read_submission(locate_upload(uploads, upload)).notebook
        except SubmissionError:
            continue
        yield similarity.make_paper(upload.id, upload.student.key, upload.sha256, notebook)


def update_reports(request: BatchRequest, grades: Iterable[Grade]) -> None:
    """Put into the reports of the uploads that count how policy and people changed their points. Raises GraderError."""
    store = Store(request.folder / "store")
    for grade in grades:
        if grade.upload is None or grade.result is None:
            continue
        folder = request.folder / "submissions" / grade.upload.id
        entry = history.read_last(folder)
        judged = store.read_judgement(entry.result) if entry else None
        if judged:
            write_if_new(folder / FEEDBACK, render_feedback(grade.result, grade))
            write_if_new(folder / "staff.html", render_staff(grade.result, judged.details, grade))


def write_if_new(path: Path, text: str) -> None:
    """Write a file unless it holds that already. Raises OSError."""
    content = text.encode("utf-8", "replace")
    if not path.is_file() or path.read_bytes() != content:
        write(path, content)
