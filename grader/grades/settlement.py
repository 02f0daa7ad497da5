"""Settlement of each student's grade: results + policy + overrides → grades. Pure.

Order: changed checks, manual items, then the late policy, then a changed total, which is final. A fault of the grader
leaves a student ungraded: only a person turns that into a number, by judging each check that could not be judged, or
the total. With `best`, changed checks apply to every attempt: they say what a student has shown. Of notebooks that were
handed in together nobody knows which one was meant: the best counts, and a note says so.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from grader.errors import GraderError
from grader.grades.grade import Adjustment, AdjustmentKind, DecidedCheck, Grade, PassOutcome, Standing
from grader.grades.overrides import Override, OverrideKind, Overrides
from grader.grades.policy import (
    Counting,
    GradingPolicy,
    NameIndex,
    PassRule,
    compute_deduction,
    compute_delay,
    find_end,
    format_amount,
    has_doubtful_time,
    is_disputed,
    may_owe_an_hour,
)
from grader.intake.uploads import Group, Intake, Refusal, Student, Upload
from grader.judging import scoring
from grader.judging.tampering import waits_for_a_package, waits_for_a_person
from grader.model import CheckResult, Result, RunStatus, Score, Verdict
from grader.text import join_first, sanitise

NO_OVERRIDES: Final = Overrides()
NAMED_MAX: Final = 12  # people in one note


@dataclass
class _HandIn:
    """All files of one student."""

    student: Student
    uploads: list[Upload] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    group: str = ""


def settle(
    intake: Intake, results: Mapping[str, Result], policy: GradingPolicy, overrides: Overrides = NO_OVERRIDES
) -> tuple[Grade, ...]:
    """Return one grade per student, in the order of their keys. Raises GraderError.

    Args:
        results: the result of each upload that was judged, by the upload's id.
    """
    # The points possible for somebody without a result: as many as anybody here could get.
    usual = overrides.possible
    if results:
        judged = max(result.score.possible for result in results.values())
        usual = round(judged + sum(item.possible for item in policy.manual), 2)
    return tuple(_grade(hand, results, policy, overrides, usual) for hand in _collect_hand_ins(intake))


def list_students(intake: Intake) -> tuple[Student, ...]:
    """Return every student that an intake knows, in the order of their keys: those whom overrides may name."""
    return tuple(hand.student for hand in _collect_hand_ins(intake))


def require_one_each(policy: GradingPolicy, intake: Intake) -> None:
    """Refuse extensions that several students would get. Raises GraderError."""
    known = NameIndex(list_students(intake))
    for extension in policy.extension:
        if len(known.find(extension.student)) > 1:
            raise GraderError(
                f"Cannot use the policy: the extension for {sanitise(extension.student)!r} fits more than one student, "
                f"{' and '.join(known.find(extension.student))}; name one of them by the key."
            )


def describe_gaps(policy: GradingPolicy, intake: Intake) -> Iterator[str]:
    """Tell staff of extensions without effect (misspelt, in the wrong year), and of days late that are doubtful."""
    yield from _describe_extensions(policy, NameIndex(list_students(intake)))
    yield from _describe_disputes(policy, intake)
    doubtful = Counter(upload.late for upload in intake.uploads if has_doubtful_time(upload, policy))
    if doubtful[False]:
        yield (
            "Not marked LATE with a time after the deadline, which may be of a later attempt: "
            f"{doubtful[False]} of the uploads. Nothing is taken off for them. `make times` asks Canvas for times that "
            "name the attachment, and TIMES= gives them; download the zip again to grade later attempts."
        )
    if doubtful[True]:
        yield (
            "Marked LATE with a time before the deadline, which may be of an earlier attempt: "
            f"{doubtful[True]} of the uploads. The flat rule counts for them. `make times` asks Canvas for new times, "
            "and TIMES= gives them; where the deadline here is later than Canvas's, set no flat rate."
        )
    count = sum(upload.late and upload.submitted_at is None for upload in intake.uploads)
    marked = "1 upload is marked LATE and loses" if count == 1 else f"{count} uploads are marked LATE and lose"
    if policy.late.per_day and not policy.deadline:
        yield "The policy takes points off per day late (per_day) and has no [deadline]; add one."
    elif policy.late.per_day and count:
        flat = format_amount(policy.late.flat, policy.late.unit)
        loss = f"{flat}{' each' * (count > 1)}, and nothing per day, because their time is unknown"
        yield f"{marked} {loss}; give the times with --times (TIMES=), which `make times` asks Canvas for."
    elif count and policy == GradingPolicy():
        yield f"{marked} no points, because there are no rules; give them with --policy (POLICY=) if they should."


def _describe_extensions(policy: GradingPolicy, known: NameIndex) -> Iterator[str]:
    due = policy.deadline.due if policy.deadline else None
    for extension in policy.extension:
        if not known.find(extension.student):
            name = extension.student
            yield f"The extension for {name!r} belongs to no student here{known.suggest(name)}."
        end = find_end(extension, policy.deadline)
        if due and end and end < due:
            yield (
                f"The extension for {extension.student!r} ends on {end:%Y-%m-%d %H:%M %Z}, before the deadline, and "
                "extends nothing; check its date, the year too."
            )


def _describe_disputes(policy: GradingPolicy, intake: Intake) -> Iterator[str]:
    """Name who loses points by a time that Canvas, or a clock that was set back, may see in another way."""
    if disputed := [upload for upload in intake.uploads if is_disputed(upload, policy)]:
        yield (
            f"Late by these rules, and not marked LATE by Canvas: {_count_uploads(disputed)}. Points are taken off. "
            "Does Canvas have an extension, or a later deadline? Give it as an [[extension]], or correct [deadline]."
        )
    if short := [upload for upload in intake.uploads if may_owe_an_hour(upload, policy)]:
        yield (
            f"Clocks may have been set back after the deadline, and one hour less would cost less: "
            f"{_count_uploads(short)}. Give [deadline] a zone, such as Europe/Stockholm; then days are counted on the "
            "clocks there."
        )


def _count_uploads(uploads: Sequence[Upload]) -> str:
    count = "1 upload" if len(uploads) == 1 else f"{len(uploads)} uploads"
    return f"{count} ({_list_people(upload.student.key for upload in uploads)})"


def _list_people(keys: Iterable[str]) -> str:
    """List students for a note, each once, by what no two of them share."""
    names = sorted({sanitise(key) for key in keys})
    return join_first(names, NAMED_MAX)


def describe_idle(grades: Iterable[Grade], overrides: Overrides) -> Iterator[str]:
    """Tell staff of changes that give no points, because there is no result, or it does not have the check."""
    idle = [
        f"{grade.student.key} ({', '.join(targets)})"
        for grade in grades
        if (targets := _list_idle(grade, overrides.of(grade.student)))
    ]
    if idle:
        yield (
            f"Changes that give no points, because there is no result that has what they change: {_list_people(idle)}. "
            "A total gives points all the same: [[total]] in the overrides, or on the review page."
        )


def _list_idle(grade: Grade, mine: Iterable[Override]) -> tuple[str, ...]:
    """Return the targets of changes that give no points; beside a total or an excuse nobody misses them."""
    changes = list(mine)
    if any(change.kind in (OverrideKind.TOTAL, OverrideKind.EXCUSED) for change in changes):
        return ()
    if grade.result is None:
        return tuple(change.target for change in changes)
    known = {check.id for check in grade.result.checks}
    return tuple(c.target for c in changes if c.kind is OverrideKind.CHECK and c.target not in known)


def _collect_hand_ins(intake: Intake) -> list[_HandIn]:
    hands: dict[str, _HandIn] = {}
    for upload in sorted(intake.uploads, key=lambda upload: (upload.attempt, upload.id)):
        hands.setdefault(upload.student.key, _HandIn(upload.student)).uploads.append(upload)
    for refusal in sorted(intake.refusals, key=lambda refusal: refusal.entry):
        if refusal.student:
            hands.setdefault(refusal.student.key, _HandIn(refusal.student)).refusals.append(refusal)
    for student in intake.missing:
        hands.setdefault(student.key, _HandIn(student))
    for group in intake.groups:
        hands.update(_share(group, [hands[m.key] for m in group.members if m.key in hands]))
    return [hands[key] for key in sorted(hands)]


def _share(group: Group, hands: Sequence[_HandIn]) -> Iterator[tuple[str, _HandIn]]:
    """Yield what each member of a group handed in: what any of them did."""
    uploads = sorted((u for hand in hands for u in hand.uploads), key=lambda upload: (upload.attempt, upload.id))
    refusals = [refusal for hand in hands for refusal in hand.refusals]
    for member in group.members:
        mine = [upload.model_copy(update={"student": member}) for upload in uploads]
        yield member.key, _HandIn(member, mine, refusals, group.name)


def _grade(
    hand: _HandIn, results: Mapping[str, Result], policy: GradingPolicy, overrides: Overrides, usual: float
) -> Grade:
    mine = overrides.of(hand.student)
    attempts = [(upload, _grade_upload(upload, results.get(upload.id), policy, mine, usual)) for upload in hand.uploads]
    grade = _choose_attempt(hand, attempts, policy) if attempts else _grade_without_attempt(hand, usual)
    read_by_student = grade.standing is Standing.REFUSED  # staff finds it in the notes of the class all the same
    if grade.result is None and not read_by_student and (idle := _list_idle(grade, mine)):
        note = f"The change of {', '.join(idle)} gives no points: there is no result yet. A total gives them."
        grade = grade.model_copy(update={"note": f"{grade.note} {note}"})
    by_kind = {override.kind: override for override in mine}  # at most one of each of these two kinds
    if total := by_kind.get(OverrideKind.TOTAL):
        grade = _apply_total(grade, total, overrides.possible)
    excused = by_kind.get(OverrideKind.EXCUSED)
    grade = _excuse(grade, excused) if excused else grade
    grade = _decide_passing(grade, policy.passing, mine) if policy.passing else grade
    return grade.model_copy(update={"group": hand.group}) if hand.group else grade


def _decide_passing(grade: Grade, rule: PassRule, mine: Iterable[Override]) -> Grade:
    """Say whether a graded student passed, and what is lacking. What was not judged may still decide it.

    A person may say that a check passed also where no result has it: of somebody who was asked instead, for example.
    """
    if grade.standing is not Standing.GRADED or grade.points is None:
        return grade
    checks = {check.id: check for check in grade.shown_result.checks} if grade.shown_result else {}
    said = {change.target: _read_verdict(change) for change in mine if change.kind is OverrideKind.CHECK}
    verdicts = [
        (checks[name].title, checks[name].verdict) if name in checks else (name, said.get(name)) for name in rule.checks
    ]
    lacking = [title for title, verdict in verdicts if verdict in (Verdict.FAILED, Verdict.BLOCKED)]
    waiting = [title for title, verdict in verdicts if title not in lacking and verdict is not Verdict.PASSED]
    if grade.points < rule.points:
        may_come = grade.points + grade.unjudged >= rule.points
        (waiting if may_come else lacking).append(f"{rule.points:g} points")
    outcome = PassOutcome.INCOMPLETE if lacking else PassOutcome.OPEN if waiting else PassOutcome.COMPLETE
    return grade.model_copy(update={"outcome": outcome, "lacking": tuple(lacking or waiting)})


def _read_verdict(change: Override) -> Verdict | None:
    """Return what a change says of a check that no result has; None where nobody knows what its points were of."""
    if change.verdict or change.points is None or change.possible is None:
        return change.verdict
    return Verdict.PASSED if change.points >= change.possible else Verdict.FAILED


def _grade_without_attempt(hand: _HandIn, usual: float) -> Grade:
    standing = Standing.REFUSED if hand.refusals else Standing.MISSING
    note = " ".join(refusal.reason for refusal in hand.refusals) or "Nothing was handed in."
    return Grade(student=hand.student, standing=standing, points=None, possible=usual, note=note)


def _choose_attempt(hand: _HandIn, attempts: Sequence[tuple[Upload, Grade]], policy: GradingPolicy) -> Grade:
    """Take the best of all attempts, or of the last one, which may be several files."""
    best, last = policy.attempts.counts is Counting.BEST, attempts[-1][0].attempt
    candidates = [(upload, grade) for upload, grade in attempts if best or upload.attempt == last]
    upload, counting = max(candidates, key=_rank)
    waiting = [pair for pair in candidates if pair[1].points is None]
    is_open = bool(waiting) and counting.points is not None
    if is_open:
        upload, counting = waiting[0]
    together = sum(other.attempt == upload.attempt for other, _ in attempts)
    file = f"'{sanitise(upload.display_name)}'"
    notes = []
    if is_open:
        name = file if together > 1 else f"Attempt {upload.attempt}"
        notes.append(f"{name} is ungraded, so the best one is not known yet.")
    elif together > 1:
        notes.append(f"{together} notebooks were handed in together; the best one counts: {file}.")
    notes += [counting.note] if counting.note else []
    notes += [f"Also handed in, and refused: {refusal.reason}" for refusal in hand.refusals]
    return counting.model_copy(update={"note": " ".join(notes)})


def _rank(attempt: tuple[Upload, Grade]) -> tuple[float, int, str]:
    """Order attempts by points; of equal ones the later is above."""
    upload, grade = attempt
    return (-1.0 if grade.points is None else grade.points, upload.attempt, upload.id)


def _grade_upload(
    upload: Upload, result: Result | None, policy: GradingPolicy, mine: Iterable[Override], usual: float
) -> Grade:
    """Grade one upload by everything but a changed total."""
    grade = Grade(student=upload.student, standing=Standing.UNGRADED, points=None, possible=usual, upload=upload)
    if result is None:
        return grade.model_copy(update={"note": "There is no result for this upload yet."})
    checks = [override for override in mine if override.kind is OverrideKind.CHECK]
    score, changes, notes = _apply_checks(result, checks)
    marks = {override.target: override for override in mine if override.kind is OverrideKind.MANUAL}
    manual = [
        Adjustment(
            kind=AdjustmentKind.MANUAL,
            points=round(mark.points or 0.0, 2),
            reason=f"{item.title} ({item.possible:g} possible): {mark.reason}",
            author=mark.signed,
        )
        for item in policy.manual
        if (mark := marks.get(item.id))
    ]
    possible = round(score.possible + sum(item.possible for item in policy.manual), 2)
    unmarked = [item.title for item in policy.manual if item.id not in marks]
    if score.points is None:
        notes.insert(0, _explain(result))
    elif unmarked:
        notes.insert(0, f"A person still has to mark: {', '.join(unmarked)}.")
    unjudged = round(sum(check.possible for check in result.checks) - score.possible, 2)
    update = {"possible": possible, "result": result, "adjustments": (*changes, *manual), "note": " ".join(notes)}
    grade = grade.model_copy(update={**update, "unjudged": unjudged, "decided": tuple(_decide(result, checks))})
    if score.points is None or unmarked:
        return grade
    return _apply_delay(grade, upload, round(score.points + sum(mark.points for mark in manual), 2), policy)


def _apply_delay(grade: Grade, upload: Upload, points: float, policy: GradingPolicy) -> Grade:
    delay = compute_delay(upload, policy)
    off = round(compute_deduction(points, grade.possible, delay, policy.late), 2)
    late = Adjustment(kind=AdjustmentKind.LATE, points=0.0 - off, reason=delay.words, author="late policy")
    update = {
        "standing": Standing.GRADED,
        "points": round(points - off, 2),
        "adjustments": (*grade.adjustments, late) if delay.penalty else grade.adjustments,
        "note": f"{grade.note} {delay.note}".strip(),
    }
    return grade.model_copy(update=update)


def _apply_checks(result: Result, changes: Sequence[Override]) -> tuple[Score, list[Adjustment], list[str]]:
    """Return the score with changed checks, the changes, and notes on changes that find no check."""
    changed = {change.target: change for change in changes}
    known = {check.id for check in result.checks}
    unknown = [target for target in changed if target not in known]
    notes = [f"The change of {target} has no effect on the points: the result has no such check." for target in unknown]
    pairs = [(check, change_check(check, changed.get(check.id))) for check in result.checks]
    made = [_describe_change(*pair, changed[pair[0].id]) for pair in pairs if pair[0].id in changed]
    score = scoring.score([after for _, after in pairs], result.run.status) if made else result.score
    return score, made, notes


def _decide(result: Result, changes: Iterable[Override]) -> Iterator[DecidedCheck]:
    """Yield the checks that a person decided. What the grader said about them no longer holds."""
    checks = {check.id: check for check in result.checks}
    for change in changes:
        if change.target in checks:
            after = change_check(checks[change.target], change)
            after = after.model_copy(update={"rationale": "", "hint": "", "place": None})
            yield DecidedCheck(check=after, author=change.signed, reason=change.reason)


def change_check(check: CheckResult, change: Override | None) -> CheckResult:
    """Return a check as a person changed it. Raises GraderError for more points than there are."""
    if change is None:
        return check
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


def _describe_change(before: CheckResult, after: CheckResult, change: Override) -> Adjustment:
    """Compute the points that a change is worth; a check that was not judged before had none."""
    points = round((after.points or 0.0) - (before.points or 0.0), 2)
    reason = f"{before.title}: {after.points:g} of {before.possible:g} points. {change.reason}"
    return Adjustment(kind=AdjustmentKind.OVERRIDE, points=points, reason=reason, author=change.signed)


def _explain(result: Result) -> str:
    """Tell staff why a result is ungraded."""
    faults = [f"'{check.title}'" for check in result.checks if check.verdict is Verdict.ERROR]
    if waits_for_a_person(result):
        return "A person has to read the notebook first: it names the grader's own code. An override gives the points."
    if waits_for_a_package(result):
        return (
            "The notebook uses a package that is not installed here: install it and grade again, or write an override."
        )
    if result.run.status is RunStatus.INFRA_ERROR:
        return "The grader failed while the notebook ran; run it again."
    if faults:
        return f"The grader failed at {', '.join(faults)}; judge it again."
    return "Nothing could be judged."


def _apply_total(grade: Grade, override: Override, rubric_points: float) -> Grade:
    """Set a person's total, which is final and out of the whole rubric, whatever was judged, so that more is more."""
    total = round(override.points or 0.0, 2)
    checks = grade.result.checks if grade.result else ()
    # An ungraded result has points all the same: its judged checks, and what was added by hand.
    gained = sum(check.points or 0.0 for check in checks) + sum(change.points for change in grade.adjustments)
    change = Adjustment(
        kind=AdjustmentKind.OVERRIDE,
        points=round(total - (gained if grade.points is None else grade.points), 2),
        reason=f"Total set to {total:g} points. {override.reason}",
        author=override.signed,
    )
    update = {"standing": Standing.GRADED, "points": total, "possible": rubric_points, "note": "", "unjudged": 0.0}
    return grade.model_copy(update={**update, "adjustments": (*grade.adjustments, change)})


def _excuse(grade: Grade, override: Override) -> Grade:
    change = Adjustment(kind=AdjustmentKind.EXCUSED, points=0.0, reason=override.reason, author=override.signed)
    update = {"standing": Standing.EXCUSED, "points": None, "adjustments": (change,), "note": override.reason}
    return grade.model_copy(update=update)
