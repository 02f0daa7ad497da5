"""Settles where each student stands: results + policy + overrides → grades. Pure.

Order: changed checks, manual items, then the late policy, then a changed total, which is final. A fault of ours leaves
a student ungraded: only a person turns that into a number, by judging each check that failed us, or the total.
With `best`, changed checks apply to every attempt: they say what a student has shown. Of notebooks that were handed in
together nobody knows which one was meant: the best counts, and a note says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from grader.errors import GraderError
from grader.grades.grade import Adjustment, AdjustmentKind, Grade, Standing
from grader.grades.overrides import Override, OverrideKind, Overrides
from grader.grades.policy import (
    Counting,
    GradingPolicy,
    compute_deduction,
    compute_delay,
    format_amount,
    index_by_name,
    list_names,
)
from grader.intake.uploads import Intake, Refusal, Student, Upload
from grader.judging import scoring
from grader.judging.tampering import waits_for_a_person
from grader.model import CheckResult, Result, RunStatus, Score, Verdict
from grader.text import sanitise

POLICY: Final = "late policy"
NO_OVERRIDES: Final = Overrides()


@dataclass
class _HandIn:
    """What one student handed in."""

    student: Student
    uploads: list[Upload] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True)
class _Attempt:
    """One upload with everything but a changed total. `points` is None while it is ungraded."""

    upload: Upload
    result: Result | None
    points: float | None
    possible: float
    adjustments: tuple[Adjustment, ...] = ()
    note: str = ""


def settle(
    intake: Intake, results: Mapping[str, Result], policy: GradingPolicy, overrides: Overrides = NO_OVERRIDES
) -> tuple[Grade, ...]:
    """One grade per student, in the order of their keys. `results`: upload id -> result. Raises GraderError."""
    usual = _compute_usual(results, policy, overrides)
    return tuple(_grade(hand, results, policy, overrides, usual) for hand in _collect_hand_ins(intake))


def _compute_usual(results: Mapping[str, Result], policy: GradingPolicy, overrides: Overrides) -> float:
    """The points possible for somebody without a result: as many as anybody here could get."""
    if not results:
        return overrides.possible
    judged = max(result.score.possible for result in results.values())
    return round(judged + sum(item.possible for item in policy.manual), 2)


def list_students(intake: Intake) -> tuple[Student, ...]:
    """Everybody that an intake knows, in the order of their keys: whom overrides may name."""
    return tuple(hand.student for hand in _collect_hand_ins(intake))


def require_one_each(policy: GradingPolicy, intake: Intake) -> None:
    """Refuse extensions that several students would get. Raises GraderError."""
    known = index_by_name(list_students(intake))
    for extension in policy.extension:
        if len(known.get(extension.student, ())) > 1:
            raise GraderError(
                f"Cannot use the policy: the extension for {sanitise(extension.student)!r} fits more than one student, "
                f"{' and '.join(known[extension.student])}; name one of them by the key."
            )


def list_unmatched_extensions(policy: GradingPolicy, intake: Intake) -> tuple[str, ...]:
    """Extensions that fit nobody in this intake, in a sentence each: a slip of the pen, or nothing handed in."""
    known = frozenset().union(*(list_names(hand.student) for hand in _collect_hand_ins(intake)))
    return tuple(
        f"The extension for {extension.student!r} fits nobody here."
        for extension in policy.extension
        if extension.student not in known
    )


def find_unknown_times(policy: GradingPolicy, intake: Intake) -> tuple[str, ...]:
    """A sentence where days late are to cost something and nobody knows how many they were."""
    if not policy.late.per_day:
        return ()
    if not policy.deadline:
        return ("Days late are to cost something (per_day), and there is no [deadline] to count them from.",)
    count = sum(upload.late and upload.submitted_at is None for upload in intake.uploads)
    if not count:
        return ()
    return (
        f"{count} uploads are marked LATE and their times are not known, so that they cost "
        f"{format_amount(policy.late.flat, policy.late.unit)} each and nothing per day; give the times with --times.",
    )


def _collect_hand_ins(intake: Intake) -> list[_HandIn]:
    hands: dict[str, _HandIn] = {}
    for upload in intake.uploads:
        hands.setdefault(upload.student.key, _HandIn(upload.student)).uploads.append(upload)
    for refusal in intake.refusals:
        if refusal.student:
            hands.setdefault(refusal.student.key, _HandIn(refusal.student)).refusals.append(refusal)
    for student in intake.missing:
        hands.setdefault(student.key, _HandIn(student))
    for hand in hands.values():
        hand.uploads.sort(key=lambda upload: (upload.attempt, upload.id))
        hand.refusals.sort(key=lambda refusal: refusal.entry)
    return [hands[key] for key in sorted(hands)]


def _grade(
    hand: _HandIn, results: Mapping[str, Result], policy: GradingPolicy, overrides: Overrides, usual: float
) -> Grade:
    mine = overrides.of(hand.student)
    attempts = [_attempt(upload, results.get(upload.id), policy, mine, usual) for upload in hand.uploads]
    grade = _grade_attempts(hand, attempts, policy) if attempts else _grade_without_attempt(hand, usual)
    for override in mine:
        if override.kind is OverrideKind.TOTAL:
            grade = _apply_total(grade, override, overrides.possible)
    for override in mine:
        if override.kind is OverrideKind.EXCUSED:
            grade = _excuse(grade, override)
    return grade


def _grade_without_attempt(hand: _HandIn, usual: float) -> Grade:
    standing = Standing.REFUSED if hand.refusals else Standing.MISSING
    note = " ".join(refusal.reason for refusal in hand.refusals) or "Nothing was handed in."
    return Grade(student=hand.student, standing=standing, points=None, possible=usual, note=note)


def _grade_attempts(hand: _HandIn, attempts: Sequence[_Attempt], policy: GradingPolicy) -> Grade:
    candidates = _candidates(attempts, policy)
    counting, notes = max(candidates, key=_worth), []
    waiting = [attempt for attempt in candidates if attempt.points is None]
    if waiting and counting.points is not None:
        notes.append(f"{_name_attempt(waiting[0], candidates)} is ungraded, so the best one is not known yet.")
        counting = waiting[0]
    elif together := _count_together(counting, attempts):
        notes.append(f"{together} notebooks were handed in together; the best one counts: {_file(counting)}.")
    notes += [counting.note] if counting.note else []
    notes += [f"Also handed in, and refused: {refusal.reason}" for refusal in hand.refusals]
    graded = counting.points is not None
    return Grade(
        student=hand.student,
        standing=Standing.GRADED if graded else Standing.UNGRADED,
        points=counting.points,
        possible=counting.possible,
        upload=counting.upload,
        result=counting.result,
        adjustments=counting.adjustments,
        note=" ".join(notes),
    )


def _candidates(attempts: Sequence[_Attempt], policy: GradingPolicy) -> list[_Attempt]:
    """The uploads of which the best counts: of all attempts, or of the last one, which may be several files."""
    if policy.attempts.counts is Counting.BEST:
        return list(attempts)
    return [a for a in attempts if a.upload.attempt == attempts[-1].upload.attempt]


def _worth(attempt: _Attempt) -> tuple[float, int, str]:
    return (-1.0 if attempt.points is None else attempt.points, attempt.upload.attempt, attempt.upload.id)


def _count_together(attempt: _Attempt, attempts: Sequence[_Attempt]) -> int:
    """How many files an attempt consists of; 0 if it is the only one of it."""
    count = sum(other.upload.attempt == attempt.upload.attempt for other in attempts)
    return count if count > 1 else 0


def _name_attempt(attempt: _Attempt, attempts: Sequence[_Attempt]) -> str:
    return _file(attempt) if _count_together(attempt, attempts) else f"Attempt {attempt.upload.attempt}"


def _file(attempt: _Attempt) -> str:
    return f"'{sanitise(attempt.upload.display_name)}'"


def _attempt(
    upload: Upload, result: Result | None, policy: GradingPolicy, mine: Iterable[Override], usual: float
) -> _Attempt:
    if result is None:
        return _Attempt(upload, None, None, usual, note="There is no result for this upload yet.")
    score, changes, notes = _apply_checks(result, [o for o in mine if o.kind is OverrideKind.CHECK])
    marks = {override.target: override for override in mine if override.kind is OverrideKind.MANUAL}
    possible = round(score.possible + sum(item.possible for item in policy.manual), 2)
    changes += [
        Adjustment(
            kind=AdjustmentKind.MANUAL,
            points=round(marks[item.id].points or 0.0, 2),
            reason=f"{item.title} ({item.possible:g} possible): {marks[item.id].reason}",
            author=marks[item.id].signed,
        )
        for item in policy.manual
        if item.id in marks
    ]
    if score.points is None:
        return _Attempt(upload, result, None, possible, tuple(changes), " ".join([_explain(result), *notes]))
    if unmarked := [item.title for item in policy.manual if item.id not in marks]:
        notes = [f"Not marked by a person yet: {', '.join(unmarked)}.", *notes]
        return _Attempt(upload, result, None, possible, tuple(changes), " ".join(notes))
    manual = sum(change.points for change in changes if change.kind is AdjustmentKind.MANUAL)
    return _apply_delay(
        _Attempt(upload, result, score.points + manual, possible, tuple(changes), " ".join(notes)), policy
    )


def _apply_delay(attempt: _Attempt, policy: GradingPolicy) -> _Attempt:
    points = round(attempt.points or 0.0, 2)
    late = compute_delay(attempt.upload, policy)
    off = round(compute_deduction(points, attempt.possible, late, policy.late), 2)
    changes = attempt.adjustments
    if late.words and late.penalty:
        words = f"{late.words[:1].upper()}{late.words[1:]}."
        changes = (*changes, Adjustment(kind=AdjustmentKind.LATE, points=0.0 - off, reason=words, author=POLICY))
    note = " ".join(text for text in (attempt.note, late.note) if text)
    return _Attempt(attempt.upload, attempt.result, round(points - off, 2), attempt.possible, changes, note)


def _apply_checks(result: Result, changes: Sequence[Override]) -> tuple[Score, list[Adjustment], list[str]]:
    """The score with changed checks, what changed, and notes on changes that find no check."""
    by_id = {check.id: check for check in result.checks}
    found = {change.target: change for change in changes if change.target in by_id}
    notes = [f"The change of {c.target} waits: the result has no such check." for c in changes if c.target not in by_id]
    if not found:
        return result.score, [], notes
    checks = [_change_check(check, found[check.id]) if check.id in found else check for check in result.checks]
    score = scoring.score(checks, result.run.status)
    made = [_change(by_id[check.id], check, found[check.id]) for check in checks if check.id in found]
    return score, made, notes


def _change_check(check: CheckResult, change: Override) -> CheckResult:
    points = change.points
    if points is None:
        points = check.possible if change.verdict is Verdict.PASSED else 0.0
    if points > check.possible:
        raise GraderError(
            f"The change of {check.id} for {change.student!r} gives {points:g} points and the result was judged with "
            f"{check.possible:g}; judge again or correct the overrides."
        )
    verdict = change.verdict or (Verdict.PASSED if points == check.possible else Verdict.FAILED)
    return check.model_copy(update={"points": points, "verdict": verdict})


def _change(before: CheckResult, after: CheckResult, change: Override) -> Adjustment:
    """Points that a change is worth; a check that was not judged before had none."""
    points = round((after.points or 0.0) - (before.points or 0.0), 2)
    reason = f"{before.title}: {after.points:g} of {before.possible:g} points. {change.reason}"
    return Adjustment(kind=AdjustmentKind.OVERRIDE, points=points, reason=reason, author=change.signed)


def _explain(result: Result) -> str:
    """Why a result is ungraded, for staff."""
    faults = [check.id for check in result.checks if check.verdict is Verdict.ERROR]
    if waits_for_a_person(result.checks):
        return "A person has to read the notebook first: it names the grader's own code. An override gives the points."
    if result.run.status is RunStatus.INFRA_ERROR:
        return "The grader failed while the notebook ran; run it again."
    if faults:
        return f"The grader failed at {', '.join(faults)}; judge it again."
    return "Nothing could be judged."


def _apply_total(grade: Grade, override: Override, rubric_points: float) -> Grade:
    """A person's total, which is final: out of the whole rubric, whatever the profile judges, so that more is more."""
    total = round(override.points or 0.0, 2)
    before = grade.points if grade.points is not None else sum(_list_gained(grade))
    change = Adjustment(
        kind=AdjustmentKind.OVERRIDE,
        points=round(total - before, 2),
        reason=f"Total set to {total:g} points. {override.reason}",
        author=override.signed,
    )
    update = {
        "standing": Standing.GRADED,
        "points": total,
        "possible": rubric_points,
        "adjustments": (*grade.adjustments, change),
        "note": "",
    }
    return grade.model_copy(update=update)


def _list_gained(grade: Grade) -> list[float]:
    """What an ungraded result has in points all the same: its judged checks, and what was added by hand."""
    checks = grade.result.checks if grade.result else ()
    return [*(check.points or 0.0 for check in checks), *(change.points for change in grade.adjustments)]


def _excuse(grade: Grade, override: Override) -> Grade:
    change = Adjustment(kind=AdjustmentKind.EXCUSED, points=0.0, reason=override.reason, author=override.signed)
    return grade.model_copy(
        update={"standing": Standing.EXCUSED, "points": None, "adjustments": (change,), "note": override.reason}
    )
