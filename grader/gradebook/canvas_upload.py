"""Upload of scores, comments and HTML feedback to Canvas through its REST API.

A plan is computed and shown first; without `really` nothing is sent. Sending is idempotent: each comment ends with a
reference, a hash of what was sent and the score, and where Canvas already has that reference and that score nothing is
sent. Where it has another score than the last one that was sent, or one although none was sent, a person entered it: it
stays, and nothing is sent, unless somebody says that it is to be replaced, or it is of an earlier attempt than the one
that waits for a grade and is graded here. A comment without a score says which one Canvas had, and whether it was sent
from here, so that this holds after it too. Where somebody handed in again and got the same score, it is sent once more:
until then Canvas keeps the new attempt among those that wait for a grade.
Where Canvas's current attempt is none that this class knows, nothing is sent: its score would mark that one as graded.
Each student's submission is compared once more right before it is changed: a class takes minutes to send.

Canvas may have a late policy of its own, which lowers a score after it was entered. The score as entered is compared.

Score, comment and file go out in one request, so that a lost connection leaves all or nothing; an attached file that no
comment refers to is seen by nobody. That request is never simply repeated, since a comment sent twice is seen twice:
where its answer is lost, Canvas is compared with the plan again, and what did not arrive is sent again.

The token comes from the environment (CANVAS_API_TOKEN, with CANVAS_API_URL), is sent only over HTTPS or to this
machine, and is never printed.
"""

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from grader.errors import GraderError
from grader.gradebook.canvas_csv import format_points
from grader.grades.grade import AdjustmentKind, Grade, PassOutcome, Standing, describe_partial, tell_apart
from grader.grades.policy import list_names
from grader.model import FrozenModel
from grader.reporting.sanitisation import sanitise_line
from grader.text import join_first

TOKEN: Final = "CANVAS_API_TOKEN"
URL: Final = "CANVAS_API_URL"
LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}
TIMEOUT_S: Final = (10, 120)  # to connect, for bytes; requests waits for ever
WAITS_S: Final = (1, 2, 4, 8, 16, 32)  # before a request is repeated
AGAIN_S: Final = (2, 10, 30)  # before what failed is compared with Canvas and sent again
PATIENCE_S: Final = 600.0  # all waits together, however many students fail
BUSY: Final = (429, 503)  # the server did not act upon the request
BROKEN: Final = (500, 502, 504)  # it may have acted
RATE_LIMIT: Final = "rate limit exceeded"  # Canvas says it with 403 in older versions
PASS_FAIL: Final = "pass_fail"  # a type of grading in Canvas
UP_TO_DATE: Final = "up to date"
BY_HAND: Final = "a person changed the score in Canvas"
NOT_OURS: Final = "the score in Canvas was not sent from here"
HANDED_IN_AGAIN: Final = "handed in again since this zip was downloaded; download it again"
NAMED_MAX: Final = 20  # students that one sentence names
WORDS: Final = (PassOutcome.COMPLETE, PassOutcome.INCOMPLETE)
HASH_CHARS: Final = 16
REFERENCE: Final = "Reference: "
NO_SCORE: Final = "no score"
FOUND: Final = ", as it was"  # behind a score that was not sent from here
ALL: Final = "all"  # in place of a student's name: every score that a person entered is to be replaced
_REFERENCES: Final = re.compile(
    rf"{REFERENCE}([0-9a-f]{{{HASH_CHARS}}})\b"
    rf"(?: \((?:score )?([0-9.]+|complete|incomplete|{NO_SCORE})({re.escape(FOUND)})?\))?"
)


class _Sent(NamedTuple):
    """The newest reference: the hash of what was sent, and the score that Canvas had after it; empty if there is none.

    `found`: that score was there before, and was not sent from here.
    """

    reference: str = ""
    score: str = ""
    found: bool = False


class Delivery(FrozenModel):
    """A grade, a comment and a page of feedback for one student."""

    grade: Grade
    comment: str = ""
    feedback: Path | None = None  # an HTML file, shown to the student under its own name
    attachments: frozenset[int] = frozenset()  # all that this class knows of the student; that of the grade counts too
    replaces: bool = False  # a person wants the score in Canvas replaced, whoever entered it

    @property
    def has_words(self) -> bool:
        """Return True if a person wrote something for the student."""
        return bool(self.grade.comment or self.grade.check_comments or self.grade.answers)

    @property
    def sends_words_alone(self) -> bool:
        """Return True if a comment goes out whether or not there is, or may be, a score."""
        return self.has_words and bool(self.comment) and self.grade.standing is not Standing.GRADED

    @property
    def graded(self) -> int | None:
        """Canvas's id of the file that counts; None where it is not known."""
        return self.grade.upload.attachment_id if self.grade.upload else None

    @property
    def known(self) -> frozenset[int]:
        """Canvas's ids of the files that the student, or their group, handed in here; empty where none is known."""
        return self.attachments | ({self.graded} if self.graded is not None else set())


class UploadStep(FrozenModel):
    """The changes to send for one student, or the reason for none. Scores are on the assignment's scale in Canvas."""

    name: str
    canvas_id: int | None
    old_score: float | None = None
    new_score: str | None = None  # None: the score stays
    comment: str | None = None  # with its reference; None: no comment is sent
    feedback: Path | None = None
    reason: str = ""
    whole_group: bool = False  # the comment goes to all members, of whom only this one is known
    judged: str = ""  # the part of the rubric that the score is of; empty: all of it
    kept_back: str | None = None  # the score of here that does not go out, because a person entered another one

    @property
    def sends(self) -> bool:
        """True if anything is sent."""
        return self.new_score is not None or self.comment is not None


class UploadReport(FrozenModel):
    """The outcome of an upload. In a dry run `sent` is 0."""

    sent: int
    failures: tuple[str, ...] = ()  # a line for each student


def upload(
    course_id: int,
    assignment_id: int,
    deliveries: Sequence[Delivery],
    really: bool = False,
    say: Callable[[str], object] = print,
    environ: Mapping[str, str] = os.environ,
    partial_too: bool = False,
) -> UploadReport:
    """Show what would change in Canvas, and change it if `really`. Raises GraderError.

    Args:
        partial_too: a person wants to send grades in which a part of the rubric was not judged.
    """
    with translate_errors():
        assignment = find_assignment(connect(environ), course_id, assignment_id)
        steps = plan(assignment, deliveries)
        for step in steps:
            say(format_step(step))
        for warning in (
            warn_of_two_policies(assignment, deliveries),
            warn_of_one_score(assignment, deliveries),
            name_outdated(steps),
            name_kept_back(steps),
        ):
            if warning:
                say(warning)
        partial = describe_partial(delivery.grade for delivery in deliveries)
        if partial:
            say(partial)
        if not really:
            wanted = "--send and --partial (SEND=1 PARTIAL=1)" if partial else "--send (SEND=1)"
            what = describe_assignment(assignment)
            say(f"Nothing was sent: this was a dry run for {what}. The same command with {wanted} sends it.")
            return UploadReport(sent=0)
        if partial and not partial_too:
            raise GraderError(
                f"Nothing was sent. {partial} Grade all of it first, or send them with --partial (PARTIAL=1)."
            )
        failures = send(assignment, deliveries, steps)
    for failure in failures:
        say(failure)
    return UploadReport(sent=sum(step.sends for step in steps) - len(failures), failures=failures)


def connect(environ: Mapping[str, str]) -> Any:
    """Return a `canvasapi` requester for the environment's address and token. Raises GraderError.

    Its requests are repeated when the server is busy, and end when it is silent.
    """
    from canvasapi.requester import Requester

    address, token = environ.get(URL, "").strip(), environ.get(TOKEN, "").strip()
    if not (address and token):
        raise GraderError(f"Set {URL} (such as https://canvas.example.edu) and {TOKEN} in the environment.")
    parts = urlsplit(address)
    if not parts.netloc or (parts.scheme != "https" and parts.hostname not in LOOPBACK):
        raise GraderError(f"{URL} does not begin with https://, so the token would be sent unencrypted; correct it.")
    # The library compares this address with that of the next page, whose host a server writes in small letters.
    requester = Requester(f"{parts.scheme}://{parts.netloc.lower()}", token)
    session = requester._session  # there is no public way to it
    session.request = _PatientSender(session.request)
    return requester


class _PatientSender:
    """Sends requests, and repeats one that the server surely did not act upon, or that may be acted upon twice.

    Any is repeated that a busy server turned away; all but a PUT, which brings a comment, whatever went wrong.
    """

    def __init__(self, send: Callable[..., Any]) -> None:
        self._send = send
        self._left_s = PATIENCE_S
        self._told = False

    def __call__(self, method: str, url: str, **options: Any) -> Any:
        from requests import ConnectionError as NoConnection
        from requests import Timeout

        harmless = method.upper() != "PUT"
        for wait_s in WAITS_S:
            try:
                answer = self._try(method, url, options)
            except (NoConnection, Timeout):
                if not (harmless and self._wait(wait_s)):
                    raise
                continue
            broken = answer.status_code in BROKEN
            asked_s = _read_retry_after(answer) if broken or _is_busy(answer) else 0.0
            if broken and not harmless:
                self._wait(asked_s)  # before anything else is sent
                return answer
            if not ((broken or _is_busy(answer)) and self._wait(max(wait_s, asked_s))):
                return answer
        return self._try(method, url, options)

    def _try(self, method: str, url: str, options: Mapping[str, Any]) -> Any:
        for file in (options.get("files") or {}).values():
            file.seek(0)  # an earlier try has read it to its end
        return self._send(method, url, timeout=TIMEOUT_S, **options)

    def _wait(self, wait_s: float) -> bool:
        """Wait if there is patience left for that, or else return False."""
        if wait_s > self._left_s:
            return False
        self._left_s -= wait_s
        self._tell()
        time.sleep(wait_s)
        return True

    def _tell(self) -> None:
        """Tell once that somebody waits, so that nobody takes it for a standstill."""
        if not self._told:
            patience = f"each request is tried for up to {sum(WAITS_S)} seconds"
            print(f"Canvas does not answer, or is busy; {patience}.", file=sys.stderr, flush=True)
        self._told = True


def _read_retry_after(answer: Any) -> float:
    """Return how many seconds the server asks to wait (RFC 9110, 10.2.3): a number, or a time; 0 if it does not."""
    text = str(answer.headers.get("Retry-After") or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _is_busy(answer: Any) -> bool:
    return answer.status_code in BUSY or (answer.status_code == 403 and RATE_LIMIT in answer.text.lower())


def find_assignment(requester: Any, course_id: int, assignment_id: int) -> Any:
    """Return a `canvasapi` assignment."""
    from canvasapi.course import Course

    return Course(requester, {"id": course_id}).get_assignment(assignment_id)


def describe_assignment(assignment: Any) -> str:
    """Name an assignment and its course as Canvas does: an id that was mistyped looks like any other."""
    from canvasapi.exceptions import CanvasException

    try:
        course = assignment._requester.request("GET", f"courses/{assignment.course_id}").json()
    except CanvasException:  # the token's owner may do less here than grade
        course = {}
    parts = {
        "assignment": (getattr(assignment, "name", None), assignment.id),
        "course": (course.get("name"), assignment.course_id),
    }
    named = {kind: f"'{sanitise_line(str(name))}' ({id_})" if name else id_ for kind, (name, id_) in parts.items()}
    return " of ".join(f"{kind} {name}" for kind, name in named.items())


def list_submissions(assignment: Any, **options: Any) -> list[Any]:
    """List the submissions of an assignment. Raises GraderError where Canvas hides whose they are."""
    found = list(assignment.get_submissions(per_page=100, **options))
    if any(getattr(submission, "user_id", None) is None for submission in found):
        raise GraderError(
            "The assignment is graded anonymously, so Canvas does not say whose submissions these are; turn “Anonymous "
            "Grading” off in the assignment's settings there, and repeat the command."
        )
    return found


def plan(assignment: Any, deliveries: Iterable[Delivery]) -> tuple[UploadStep, ...]:
    """Compare the deliveries with what Canvas has; sends nothing."""
    present = {s.user_id: s for s in list_submissions(assignment, include=["submission_comments"])}
    deliveries = list(deliveries)
    names = [grade.student.name for grade in tell_apart(delivery.grade for delivery in deliveries)]
    return tuple(
        _plan_step(assignment, name, delivery, present.get(delivery.grade.student.canvas_id))
        for name, delivery in zip(names, deliveries, strict=True)
    )


def _plan_step(assignment: Any, name: str, delivery: Delivery, submission: Any) -> UploadStep:
    student, standing, alone = delivery.grade.student, delivery.grade.standing, delivery.sends_words_alone
    words = getattr(assignment, "grading_type", "") == PASS_FAIL
    reasons = {  # the first that holds
        "no Canvas id is known": student.canvas_id is None,
        "not assigned this in Canvas": submission is None,
        f"{standing} here": standing not in (Standing.GRADED, Standing.REFUSED) and not alone,
        "Canvas grades complete or incomplete, which is not decided here": words
        and standing is Standing.GRADED
        and not delivery.grade.outcome.is_decided,
        "excused in Canvas": getattr(submission, "excused", False) and not alone,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    changes: dict[str, Any] = (
        {"reason": reason} if reason else _plan_changes(delivery, submission, assignment.points_possible, words)
    )
    old_score = None if submission is None else _read_score(submission)
    changes |= {"judged": describe_judged(delivery.grade), "whole_group": not delivery.grade.group}
    return UploadStep(name=name, canvas_id=student.canvas_id, old_score=old_score, **changes)


def _plan_changes(delivery: Delivery, submission: Any, column_possible: float | None, words: bool) -> dict[str, Any]:
    grade, sent = delivery.grade, _read_last_reference(submission)
    graded = grade.standing is Standing.GRADED and grade.points is not None
    score = _format_score(grade, column_possible, words) if graded else None
    if reason := _find_reason(delivery, submission, score, sent):
        return {"reason": reason, "kept_back": score if reason in (BY_HAND, NOT_OURS) else None}
    reference, current = digest(score, delivery), _list_attachments(submission)
    same = score is None or _shows(submission, score)
    waits = score is not None and _waits(submission)
    if sent.reference == reference:  # only a score that is surely of what waits is sent once more
        again = not same or (waits and delivery.graded in current)
        return {"new_score": score} if again else {"reason": UP_TO_DATE}
    same = same and not (waits and (delivery.graded in current or delivery.graded is None or not current))
    kept = score or _format_present(submission, words)
    shown = NO_SCORE if kept == NO_SCORE else f"score {kept}"
    found = FOUND if score is None and _is_entered(submission, sent) else ""
    scaled = describe_scale(score, grade.possible, column_possible)
    text = f"{delivery.comment}{scaled}\n\n{REFERENCE}{reference} ({shown}{found})".strip()
    return {"new_score": None if same else score, "comment": text, "feedback": delivery.feedback}


def _find_reason(delivery: Delivery, submission: Any, score: str | None, sent: _Sent) -> str:
    """Return why Canvas stays as it is; nothing where something may be sent."""
    current = _list_attachments(submission)
    if current and delivery.known and current.isdisjoint(delivery.known):
        return HANDED_IN_AGAIN
    is_newer = score is not None and _waits(submission) and delivery.graded in current
    if is_newer or delivery.replaces or delivery.sends_words_alone:
        return ""
    if score is not None and _shows(submission, score):
        return ""
    if sent.score and not _shows(submission, sent.score):
        return BY_HAND
    if score is None or not _is_entered(submission, sent):
        return ""
    return BY_HAND if sent.reference == digest(score, delivery) else NOT_OURS


def _is_entered(submission: Any, sent: _Sent) -> bool:
    """Return True if Canvas has a score that was not sent from here."""
    is_ours = bool(sent.score) and _shows(submission, sent.score) and not sent.found
    return not is_ours and not _shows(submission, NO_SCORE)


def _waits(submission: Any) -> bool:
    """Return True if what was handed in is newer than the score."""
    return getattr(submission, "grade_matches_current_submission", True) is False


def _list_attachments(submission: Any) -> set[int]:
    """List the ids of the files of the attempt that Canvas shows; none where it does not tell."""
    return {attachment.id for attachment in getattr(submission, "attachments", ())}


def _format_score(grade: Grade, column_possible: float | None, words: bool) -> str:
    return str(grade.outcome) if words else format_points(grade.points or 0.0, grade.possible, column_possible)


def describe_scale(score: str | None, possible: float, column_possible: float | None) -> str:
    """Explain in a sentence why Canvas shows another figure than the comment; nothing where it shows the same."""
    if score is None or score in WORDS or not column_possible or column_possible == possible:
        return ""
    return f"\nCanvas shows the same share of its {column_possible:g} points: {float(score):g}."


def _format_present(submission: Any, words: bool) -> str:
    """Write the score or the word that Canvas has."""
    present, word = _read_score(submission), _read_grade(submission)
    if words and word in WORDS:
        return word
    return NO_SCORE if present is None else f"{present:.2f}"


def _shows(submission: Any, score: str) -> bool:
    """Return True if Canvas has this score, to hundredths, or this word, or none where there was none."""
    present = _read_score(submission)
    if score == NO_SCORE:
        return present is None
    if score in WORDS:
        return score == _read_grade(submission)
    return present is not None and abs(present - float(score)) < 0.005


def _read_grade(submission: Any) -> str:
    return getattr(submission, "entered_grade", None) or getattr(submission, "grade", None) or ""


def _read_score(submission: Any) -> float | None:
    """Return the score as it was entered: Canvas's own late policy may have lowered it since."""
    entered = getattr(submission, "entered_score", None)
    return submission.score if entered is None else entered


def name_outdated(steps: Iterable[UploadStep]) -> str:
    """Name the students whose attempt in Canvas is newer than the one here; nothing where there are none."""
    names = [sanitise_line(step.name) for step in steps if step.reason == HANDED_IN_AGAIN]
    if not names:
        return ""
    return (
        f"{_count_students(len(names))} handed in again since the zip was downloaded, and nothing is sent to them: "
        f"{_join_some(names, '; ')}. Download the zip again, and run `make batch` with it first."
    )


def name_kept_back(steps: Iterable[UploadStep]) -> str:
    """Name the students whose score in Canvas a person entered, and what sends that of here; nothing without any."""
    kept = [step for step in steps if step.kept_back is not None]
    said = {
        NOT_OURS: "Canvas has another score than this class, which was not sent from here and stays, for",
        BY_HAND: "A person changed in Canvas what was sent, and that stays, for",
    }
    lines = []
    for reason, words in said.items():
        found = [_describe_kept_back(step) for step in kept if step.reason == reason]
        if found:
            lines.append(f"{words} {_count_students(len(found))}: {_join_some(found, '; ')}.")
    if lines:
        ids = " ".join(str(step.canvas_id) for step in kept[:2])
        lines.append(
            f'To send the scores of this class to some of them all the same, name these: --replace (REPLACE="{ids}"); '
            f"to send all, REPLACE={ALL}."
        )
    return " ".join(lines)


def _describe_kept_back(step: UploadStep) -> str:
    old = NO_SCORE if step.old_score is None else f"{step.old_score:g}"
    return f"{sanitise_line(step.name)} ({step.canvas_id}): {old}, here {step.kept_back}"


def mark_replaced(deliveries: Sequence[Delivery], names: Collection[str]) -> tuple[Delivery, ...]:
    """Mark the students whose score is to be replaced, by id, login or key. Raises GraderError for unknown names."""
    known = {name for delivery in deliveries for name in list_names(delivery.grade.student)}
    if unknown := [name for name in names if name not in known and name != ALL]:
        raise GraderError(
            f"Nothing was sent. No student of this class is called {', '.join(map(repr, unknown))}; name those whose "
            f"score is to be replaced by their Canvas id, or write REPLACE={ALL}."
        )
    return tuple(
        d.model_copy(update={"replaces": ALL in names or not list_names(d.grade.student).isdisjoint(names)})
        for d in deliveries
    )


def _count_students(count: int) -> str:
    return "1 student" if count == 1 else f"{count} students"


def _join_some(names: Sequence[str], separator: str) -> str:
    """Join the first names, and count the others; all have their lines above."""
    return join_first(names, NAMED_MAX, separator) + ", named above" * (len(names) > NAMED_MAX)


def warn_of_two_policies(assignment: Any, deliveries: Iterable[Delivery]) -> str:
    """Warn if points for being late are taken off here and Canvas is set to take them off too; else return nothing."""
    from canvasapi.course import Course
    from canvasapi.exceptions import CanvasException

    late = [d for d in deliveries if any(a.kind is AdjustmentKind.LATE and a.points for a in d.grade.adjustments)]
    if not late:
        return ""
    try:
        policy = Course(assignment._requester, {"id": assignment.course_id}).get_late_policy()
    except CanvasException:  # there is none, or the token's owner may not see it
        return ""
    if not getattr(policy, "late_submission_deduction_enabled", False):
        return ""
    return (
        f"Being late would cost points twice: here for {len(late)} of these students, and again by the late policy of "
        "the course in Canvas. Turn one of the two off."
    )


def warn_of_one_score(assignment: Any, deliveries: Iterable[Delivery]) -> str:
    """Warn if members of a group have different points and Canvas gives a group one score; else return nothing."""
    scores: dict[str, set[float | None]] = {}
    for delivery in deliveries:
        if delivery.grade.group:
            scores.setdefault(delivery.grade.group, set()).add(delivery.grade.points)
    different = [sanitise_line(group) for group, found in scores.items() if len(found) > 1]
    one_score = getattr(assignment, "group_category_id", None) and not getattr(
        assignment, "grade_group_students_individually", False
    )
    if not (different and one_score):
        return ""
    return (
        f"Canvas gives all members of a group one score, and in {', '.join(different)} they differ: turn on “Assign "
        "Grades to Each Student Individually” for the assignment first."
    )


def digest(score: str | None, delivery: Delivery) -> str:
    """Hash what is sent. Raises GraderError if the feedback cannot be read."""
    try:
        page = delivery.feedback.read_bytes() if delivery.feedback else b""
    except OSError as error:
        raise GraderError(f"Cannot read {delivery.feedback} ({error.strerror}); write the reports again.") from error
    parts = ((score or "").encode(), delivery.comment.encode("utf-8", "replace"), page)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:HASH_CHARS]


def _read_last_reference(submission: Any) -> _Sent:
    """Return the newest reference that is not from the student, who could write one too."""
    comments = getattr(submission, "submission_comments", None) or ()
    staff = (str(c.get("comment") or "") for c in comments if c.get("author_id") != submission.user_id)
    found = [reference for text in staff for reference in _REFERENCES.findall(text)]
    return _Sent(found[-1][0], found[-1][1], bool(found[-1][2])) if found else _Sent()


def format_step(step: UploadStep) -> str:
    """Write one step for people: `Lovelace, Ada: 80 → 95.00, comment, feedback.html`."""
    if not step.sends:
        return f"{sanitise_line(step.name)}: nothing to send ({step.reason})"
    old = "no score" if step.old_score is None else f"{step.old_score:g}"
    stays = "no score, as before" if step.old_score is None else f"{old} stays"
    parts = [f"{old} → {step.new_score}" if step.new_score is not None else stays]
    parts[0] += f" ({step.judged})" if step.judged and step.new_score is not None else ""
    parts += ["comment"] * (step.comment is not None) + ([step.feedback.name] if step.feedback else [])
    return f"{sanitise_line(step.name)}: {', '.join(parts)}"


def describe_judged(grade: Grade) -> str:
    """Name the part of the rubric that a partial grade is of; empty for others."""
    return f"of the {grade.possible:g} points judged" if grade.is_partial else ""


@dataclass(frozen=True)
class _Failure:
    """A step that Canvas did not take. `may_pass`: the same may be taken later."""

    line: str
    may_pass: bool = False


def send(assignment: Any, deliveries: Sequence[Delivery], steps: Iterable[UploadStep]) -> tuple[str, ...]:
    """Carry out a plan for deliveries and return a line for each failure. It may be repeated.

    What failed is compared with Canvas and sent again, a few times: a request without an answer may have arrived.
    """
    from canvasapi.exceptions import CanvasException
    from requests import RequestException

    by_id = {delivery.grade.student.canvas_id: delivery for delivery in deliveries}
    steps = tuple(steps)
    planned = {step.canvas_id: step for step in steps}
    failed = _send_each(assignment, by_id, steps)
    for wait_s in AGAIN_S:
        again = {i: delivery for i, delivery in by_id.items() if i in failed and failed[i].may_pass}
        if not again:
            break
        time.sleep(wait_s)
        try:
            steps = [_keep_entered(planned[s.canvas_id], s) for s in plan(assignment, again.values())]
        except (CanvasException, RequestException):  # what failed has failed still
            continue
        overtaken = {step.canvas_id: _describe_overtaken(step) for step in steps if _is_overtaken(step)}
        kept = {i: failure for i, failure in failed.items() if i not in again}
        failed = kept | overtaken | _send_each(assignment, by_id, steps)
    return tuple(failure.line for failure in failed.values())


def _is_overtaken(step: UploadStep) -> bool:
    """Return True if a step that was to send something does not do so any more: Canvas has changed meanwhile."""
    return not step.sends and step.reason != UP_TO_DATE


def _describe_overtaken(step: UploadStep) -> _Failure:
    return _Failure(f"{sanitise_line(step.name)}: not sent ({step.reason})")


def _send_each(
    assignment: Any, deliveries: Mapping[int | None, Delivery], steps: Iterable[UploadStep]
) -> dict[int | None, _Failure]:
    """Carry out steps and return the failures by Canvas id. One does not stop the others; a refused token stops all."""
    from canvasapi.exceptions import CanvasException, InvalidAccessToken
    from requests import RequestException

    failed = {}
    for step in (step for step in steps if step.sends):
        try:
            now = _send(assignment, deliveries[step.canvas_id], step)
            if _is_overtaken(now):
                failed[step.canvas_id] = _describe_overtaken(now)
        except InvalidAccessToken:
            raise
        except (CanvasException, RequestException, ValueError, OSError) as error:
            line = f"{sanitise_line(step.name)}: not sent ({_describe(error)})"
            failed[step.canvas_id] = _Failure(line, _may_pass(error))
    return failed


def _may_pass(error: Exception) -> bool:
    """Return False for an answer that the same request gets whenever it is sent."""
    from canvasapi import exceptions

    lasting = (exceptions.BadRequest, exceptions.ResourceDoesNotExist, exceptions.UnprocessableEntity)
    forbidden = isinstance(error, exceptions.Forbidden) and RATE_LIMIT not in str(error).lower()
    return not (forbidden or isinstance(error, lasting))


def _send(assignment: Any, delivery: Delivery, step: UploadStep) -> UploadStep:
    """Attach the page, look whether Canvas is still as it was planned for, send, and return what was sent."""
    from canvasapi.submission import Submission

    ids = {"course_id": assignment.course_id, "assignment_id": assignment.id, "user_id": step.canvas_id}
    submission = Submission(assignment._requester, ids)
    files = [_attach(submission, step.feedback)] if step.feedback is not None else []
    now = _plan_again(assignment, delivery, step)
    if now.sends:
        submission.edit(**_list_changes(assignment, now, files))
    return now


def _plan_again(assignment: Any, delivery: Delivery, step: UploadStep) -> UploadStep:
    """Plan for one student by what Canvas has now. Where it does not show it, its answer to what is sent tells."""
    from canvasapi.exceptions import ResourceDoesNotExist

    try:
        submission = assignment.get_submission(step.canvas_id, include=["submission_comments"])
    except ResourceDoesNotExist:
        return step
    return _keep_entered(step, _plan_step(assignment, step.name, delivery, submission))


def _keep_entered(before: UploadStep, now: UploadStep) -> UploadStep:
    """Return the newer plan for a student; one without changes if the score was entered since the older one."""
    overwrites = now.new_score is not None or now.reason == NOT_OURS
    if not overwrites or now.old_score == before.old_score:
        return now
    return UploadStep(name=now.name, canvas_id=now.canvas_id, old_score=now.old_score, reason=BY_HAND)


def _list_changes(assignment: Any, step: UploadStep, files: Sequence[int]) -> dict[str, Any]:
    """Return what is to change, as Canvas names it; `files` are the ids of what was attached."""
    options: dict[str, Any] = {}
    if step.new_score is not None:
        options["submission"] = {"posted_grade": step.new_score}
    if step.comment is not None:
        options["comment"] = {"text_comment": step.comment}
        if step.whole_group and getattr(assignment, "group_category_id", None):
            options["comment"]["group_comment"] = True
        if files:
            options["comment"]["file_ids"] = list(files)
    return options


def _attach(submission: Any, page: Path) -> int:
    """Upload a file for a comment and return its id. canvasapi's `upload_comment` would make a separate comment."""
    from canvasapi.upload import Uploader

    where = f"courses/{submission.course_id}/assignments/{submission.assignment_id}/submissions/{submission.user_id}"
    ok, answer = Uploader(submission._requester, f"{where}/comments/files", page).start()
    if not ok:
        raise ValueError("the file was not accepted")
    return int(answer["id"])


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn what the library and the network raise into a GraderError of one sentence."""
    from canvasapi.exceptions import CanvasException
    from requests import RequestException

    try:
        yield
    except (CanvasException, RequestException) as error:
        raise GraderError(f"Canvas did not answer as expected: {_describe(error)}.") from error


def _describe(error: Exception) -> str:
    """Name the cause on one line. Neither library puts headers, and so the token, into its messages."""
    from canvasapi import exceptions

    hints: dict[type[Exception], str] = {
        exceptions.InvalidAccessToken: f"the token in {TOKEN} is not valid; make a new one in Canvas's settings",
        exceptions.ResourceDoesNotExist: "course, assignment or student not found; check the ids",
        exceptions.Forbidden: "the token's owner may not do this; use a teacher's token",
    }
    return hints.get(type(error)) or sanitise_line(f"{type(error).__name__}: {error}", 200)
