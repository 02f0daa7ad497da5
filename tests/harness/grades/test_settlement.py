"""Results and rules become grades; what may never happen is checked on arbitrary classes."""

import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.grades import policy as rules
from grader.grades.grade import AdjustmentKind, Grade, PassOutcome, Standing
from grader.grades.overrides import Override, OverrideKind, Overrides
from grader.grades.policy import Attempts, Counting, GradingPolicy, LatePenalty, ManualItem, PassRule
from grader.grades.settlement import describe_gaps, describe_idle, settle
from grader.intake.uploads import Intake, Refusal, Upload
from grader.judging.tampering import WAITS_FOR, WaitsFor
from grader.model import Result, RunStatus, Verdict

from .classes import DUE, RUBRIC, intake, result, student, upload

PASSED, FAILED, BLOCKED, ERROR, NOT_JUDGED = Verdict
DAY = timedelta(days=1)
LATE = GradingPolicy(deadline=rules.Deadline(due=DUE), late=LatePenalty(per_day=10, flat=20))
BEST = LATE.model_copy(update={"attempts": Attempts(counts=Counting.BEST)})
TALK = GradingPolicy(manual=(ManualItem(id="talk", title="Discussion", possible=10),))


def change(kind: OverrideKind, **fields: object) -> Override:
    return Override.model_validate({"kind": kind, "student": "ada", "author": "M", "reason": "seen", **fields})


def only(*entries: Override) -> Overrides:
    return Overrides(entries=entries, possible=100)


def settled(
    results: list[Result | None], policy: GradingPolicy, *changes: Override, after: list[timedelta] | None = None
) -> Grade:
    """The grade of one student with an attempt per result."""
    uploads = [upload(attempt=n, after=after[n - 1] if after else None) for n in range(1, len(results) + 1)]
    found = {u.id: r for u, r in zip(uploads, results, strict=True) if r is not None}
    (grade,) = settle(intake(*uploads), found, policy, only(*changes))
    return grade


def test_only_being_late_changes_the_points_of_the_checks_and_is_explained() -> None:
    plain, late = (
        settled([result(PASSED, FAILED)], GradingPolicy()),
        settled([result(PASSED, PASSED)], LATE, after=[DAY]),
    )
    assert (plain.standing, plain.points, plain.possible, plain.adjustments) == (Standing.GRADED, 60, 100, ())
    (made,) = late.adjustments
    assert (late.points, made.kind, made.points, made.author) == (90, AdjustmentKind.LATE, -10, "late policy")
    assert made.reason.startswith("Handed in 1 d after the deadline")


FULL = result(PASSED, PASSED)
ATTEMPTS = [FULL, result(PASSED, FAILED)]


@pytest.mark.parametrize(
    ("policy", "results", "after", "points", "counted"),
    [
        pytest.param(LATE, ATTEMPTS, [-DAY, -DAY], 60, 2, id="last, though worse"),
        pytest.param(BEST, ATTEMPTS, [-DAY, -DAY], 100, 1, id="best"),
        pytest.param(BEST, ATTEMPTS, [4 * DAY, -DAY], 60, 2, id="best after the late policy: equal, the later one"),
        pytest.param(BEST, ATTEMPTS, [5 * DAY, -DAY], 60, 2, id="best after the late policy"),
        pytest.param(LATE, [None, ATTEMPTS[1]], [-DAY, -DAY], 60, 2, id="last, an earlier one was not run"),
        pytest.param(BEST, [ATTEMPTS[0], None], [-DAY, -DAY], None, 2, id="the best is not known yet"),
        pytest.param(LATE, [ATTEMPTS[0], None], [-DAY, -DAY], None, 2, id="the last was not run"),
    ],
)
def test_which_attempt_counts(
    policy: GradingPolicy, results: list[Result | None], after: list[timedelta], points: float | None, counted: int
) -> None:
    grade = settled(results, policy, after=after)
    assert grade.upload is not None
    assert (grade.points, grade.upload.attempt) == (points, counted)
    assert grade.standing is (Standing.UNGRADED if points is None else Standing.GRADED)


SIDE_BY_SIDE = {
    "best": ([FULL, result(FAILED, FAILED)], 100, "the best one counts: 'a"),
    "one is not known yet": ([FULL, None], None, "'a.ipynb' is ungraded"),
}


@pytest.mark.parametrize(("results", "points", "says"), SIDE_BY_SIDE.values(), ids=SIDE_BY_SIDE)
def test_of_several_at_once_the_best_counts(results: list[Result | None], points: float | None, says: str) -> None:
    uploads = [upload(attempt=n).model_copy(update={"attempt": 1}) for n in (1, 2)]
    found = {u.id: r for u, r in zip(uploads, results, strict=True) if r}
    (grade,) = settle(intake(*uploads), found, LATE)
    assert grade.points == points
    assert says in grade.note


def unjudged(waits_for: WaitsFor) -> Result:
    found = result(ERROR, PASSED)
    return found.model_copy(update={"environment": {**found.environment, WAITS_FOR: waits_for}})


@pytest.mark.parametrize(
    ("found", "says"),
    [
        pytest.param(result(PASSED, ERROR), "failed at 'Check step2.b'", id="a check"),
        pytest.param(result(PASSED, PASSED, status=RunStatus.INFRA_ERROR), "run it again", id="the run"),
        pytest.param(result(NOT_JUDGED, NOT_JUDGED), "Nothing could be judged", id="nothing judged"),
        pytest.param(result(), "Nothing could be judged", id="no check"),
        pytest.param(None, "no result", id="no result"),
        pytest.param(unjudged(WaitsFor.NOBODY), "failed at 'Check step1.a'; judge it again.", id="nobody has to look"),
        pytest.param(unjudged(WaitsFor.PERSON), "A person has to read the notebook first", id="held back"),
    ],
)
def test_a_fault_of_the_grader_is_no_zero(found: Result | None, says: str) -> None:
    grade = settled([found], LATE, after=[DAY])
    assert (grade.standing, grade.points) == (Standing.UNGRADED, None)
    assert says in grade.note
    by_hand = settled([found], LATE, change(OverrideKind.TOTAL, points=70), after=[DAY])
    assert (by_hand.standing, by_hand.points, by_hand.note) == (Standing.GRADED, 70, "")


@pytest.mark.parametrize(
    ("verdicts", "changed", "points", "worth"),
    [
        pytest.param((PASSED, FAILED), {"points": 15}, 75, 15, id="some points"),
        pytest.param((PASSED, FAILED), {"verdict": "passed"}, 100, 40, id="passed"),
        pytest.param((PASSED, PASSED), {"verdict": "failed"}, 60, -40, id="failed"),
        pytest.param((PASSED, NOT_JUDGED), {"points": 10}, 70, 10, id="not judged before: counts from now on"),
        pytest.param((PASSED, ERROR), {"points": 10}, 70, 10, id="a person judged what the grader could not"),
    ],
)
def test_changed_checks(verdicts: tuple[Verdict, ...], changed: dict[str, object], points: float, worth: float) -> None:
    grade = settled([result(*verdicts)], GradingPolicy(), change(OverrideKind.CHECK, target="step2.b", **changed))
    assert (grade.points, grade.possible) == (points, 100)
    (made,) = grade.adjustments
    assert (made.kind, made.points, made.author) == (AdjustmentKind.OVERRIDE, worth, "M")
    assert made.reason.startswith("Check step2.b: ")


def test_a_changed_check_repairs_no_failed_run_and_is_said_where_the_result_has_none() -> None:
    changed = change(OverrideKind.CHECK, target="step2.b", points=1)
    assert settled([result(PASSED, ERROR, status=RunStatus.INFRA_ERROR)], GradingPolicy(), changed).points is None
    grade = settled([result(PASSED)], GradingPolicy(), changed)
    assert (grade.points, "step2.b has no effect" in grade.note) == (60, True)


def test_manual_items_count_and_are_waited_for() -> None:
    waiting = settled([FULL], TALK)
    assert (waiting.points, waiting.possible) == (None, 110)
    assert "Discussion" in waiting.note
    marked = settled([FULL], TALK, change(OverrideKind.MANUAL, target="talk", points=7))
    assert (marked.points, marked.possible) == (107, 110)


def test_a_total_is_final_and_of_the_whole_rubric_but_excused_is_above_everything() -> None:
    for total in (50, 80):
        grade = settled([result(PASSED, NOT_JUDGED)], LATE, change(OverrideKind.TOTAL, points=total), after=[DAY])
        assert (grade.points, grade.possible) == (total, 100)  # not of 60: a higher total would then be a lower grade
    excused = settled([FULL], LATE, change(OverrideKind.TOTAL, points=5), change(OverrideKind.EXCUSED))
    assert (excused.standing, excused.points, excused.note) == (Standing.EXCUSED, None, "seen")


def test_those_without_an_upload() -> None:
    refused = Refusal(entry="bo_2_3_a.pdf", reason="'a.pdf' is a PDF.", student=student("bo"))
    nobody = Refusal(entry="x.exe", reason="no name")
    grades = settle(intake(refusals=(refused, nobody), missing=(student("cy"),)), {}, LATE, only())
    assert [(g.student.key, g.standing) for g in grades] == [("bo", Standing.REFUSED), ("cy", Standing.MISSING)]
    assert [(g.points, g.possible) for g in grades] == [(None, 100)] * 2
    assert grades[0].note == "'a.pdf' is a PDF."
    (beside,) = settle(intake(upload("bo"), refusals=(refused,)), {"bo_1": FULL}, LATE)
    assert (beside.points, "a PDF" in beside.note) == (100, True)  # beside a good one it is only a note


def test_extensions_that_fit_nobody_are_said() -> None:
    extensions = tuple(rules.Extension(student=name, days=1, author="M", reason="r") for name in ("ada", "adda"))
    policy = LATE.model_copy(update={"extension": extensions})
    (sentence,) = describe_gaps(policy, intake(upload()))
    assert "'adda' belongs to no student here (did you mean ada?)." in sentence


@pytest.mark.parametrize(
    ("days", "said"),
    [
        pytest.param(-365, "'ada' ends on 2025-12-01 23:59 UTC+01:00, before the deadline", id="a year too early"),
        pytest.param(0, "", id="at the deadline"),
        pytest.param(2, "", id="after it"),
    ],
)
def test_an_extension_that_ends_before_the_deadline_is_said(days: int, said: str) -> None:
    extension = rules.Extension(student="ada", due=DUE + days * DAY, author="M", reason="r")
    notes = list(describe_gaps(LATE.model_copy(update={"extension": (extension,)}), intake(upload())))
    assert [said in note for note in notes] == [True] * bool(said)


CHECK, MARK = change(OverrideKind.CHECK, target="step1.a", points=30), change(OverrideKind.MANUAL, target="t", points=7)
TOTAL, EXCUSED = change(OverrideKind.TOTAL, points=50), change(OverrideKind.EXCUSED)
REFUSED = Refusal(entry="a.pdf", reason="'a.pdf' is a PDF.", student=student())
WITHOUT_A_RESULT = {
    "nothing handed in": (intake(missing=(student(),)), {}),
    "refused": (intake(refusals=(REFUSED,)), {}),
    "not judged yet": (intake(upload()), {}),
    "a result without the check": (intake(upload()), {"ada_1": result()}),
}


@pytest.mark.parametrize(("found", "results"), WITHOUT_A_RESULT.values(), ids=WITHOUT_A_RESULT)
def test_a_change_that_finds_nothing_to_change_is_said(found: Intake, results: dict[str, Result]) -> None:
    (grade,) = settle(found, results, GradingPolicy(), only(CHECK))
    (said,) = describe_idle([grade], only(CHECK))
    assert "ada (step1.a). A total gives points all the same: [[total]]" in said
    assert ("The change of step1.a " in grade.note) == (found.refusals == ())  # the note of a refusal is the student's
    for final in (TOTAL, EXCUSED):
        (grade,) = settle(found, results, GradingPolicy(), only(CHECK, final))
        assert (list(describe_idle([grade], only(CHECK, final))), "step1.a" in grade.note) == ([], False)


def test_a_mark_without_a_result_is_said_and_one_that_counts_is_not() -> None:
    (grade,) = settle(intake(missing=(student(),)), {}, TALK, only(MARK))
    assert "The change of t gives no points" in grade.note
    assert len(list(describe_idle([grade], only(MARK)))) == 1
    (grade,) = settle(intake(upload()), {"ada_1": FULL}, GradingPolicy(), only(CHECK))
    assert (grade.points, list(describe_idle([grade], only(CHECK)))) == (70, [])


COMPLETE, INCOMPLETE, OPEN = PassOutcome.COMPLETE, PassOutcome.INCOMPLETE, PassOutcome.OPEN
SAID = {
    "passed": ({"verdict": "passed"}, COMPLETE),
    "failed": ({"verdict": "failed"}, INCOMPLETE),
    "all points": ({"points": 60, "possible": 60}, COMPLETE),
    "a part of the points": ({"points": 30, "possible": 60}, INCOMPLETE),
    "points of nobody knows what": ({"points": 30}, OPEN),
}


@pytest.mark.parametrize("results", [{}, {"ada_1": result()}], ids=["no file", "a result without the check"])
@pytest.mark.parametrize(("says", "outcome"), SAID.values(), ids=SAID)
def test_a_person_decides_a_pass_also_without_a_result(
    says: dict[str, object], outcome: PassOutcome, results: dict[str, Result]
) -> None:
    policy = GradingPolicy(passing=PassRule(checks=("step1.a",), points=50))
    found = intake(upload()) if results else intake(missing=(student(),))
    (grade,) = settle(found, results, policy, only(TOTAL, change(OverrideKind.CHECK, target="step1.a", **says)))
    assert (grade.outcome, grade.lacking) == (outcome, () if outcome is COMPLETE else ("step1.a",))
    (alone,) = settle(found, results, policy, only(TOTAL))
    assert alone.outcome is OPEN


fuzz = settings(deadline=None)
amounts = st.floats(0, 100)
enums = {"unit": st.sampled_from(rules.Unit), "count": st.sampled_from(rules.DayCount)}
policies = st.builds(
    GradingPolicy,
    deadline=st.none() | st.builds(rules.Deadline, due=st.just(DUE), grace_min=st.floats(0, 100)),
    late=st.builds(LatePenalty, per_day=amounts, cap=st.none() | amounts, floor=amounts, flat=amounts, **enums),
    attempts=st.builds(Attempts, counts=st.sampled_from(Counting)),
    manual=st.sampled_from([(), TALK.manual]),
)
results_ = st.builds(
    lambda verdicts, status, partial: result(*verdicts, status=status, partial=partial),
    st.tuples(*[st.sampled_from(Verdict)] * 2),
    st.sampled_from(RunStatus),
    st.floats(0, 1),
)
after_ = st.integers(-30, 3000).map(lambda hours: timedelta(hours=hours)) | st.none()
attempts = st.lists(st.tuples(after_, st.booleans(), results_), min_size=1, max_size=4)
changes = st.lists(
    st.builds(change, st.just(OverrideKind.CHECK), target=st.sampled_from(list(RUBRIC)), points=st.floats(0, 40))
    | st.builds(change, st.just(OverrideKind.MANUAL), target=st.just("talk"), points=st.floats(0, 10))
    | st.builds(change, st.just(OverrideKind.TOTAL), points=st.floats(0, 110)),
    max_size=3,
    unique_by=lambda entry: (entry.kind, entry.target),
).map(lambda entries: Overrides(entries=tuple(entries), possible=110))
Attempts_ = list[tuple[timedelta | None, bool, Result]]


def made(tries: Attempts_) -> tuple[Intake, dict[str, Result]]:
    uploads = [upload(attempt=n, after=after, late=late) for n, (after, late, _) in enumerate(tries, 1)]
    return intake(*uploads), {u.id: found for u, (_, _, found) in zip(uploads, tries, strict=True)}


@given(attempts, policies, changes)
@fuzz
def test_points_lie_in_their_range_and_add_up(tries: Attempts_, policy: GradingPolicy, overrides: Overrides) -> None:
    (grade,) = settle(*made(tries), policy, overrides)
    assert (grade.points is None) == (grade.standing is not Standing.GRADED)
    if grade.points is None:
        return
    assert 0 <= grade.points <= grade.possible
    total = (grade.base_points or 0) + sum(change.points for change in grade.adjustments)
    assert total == pytest.approx(grade.points, abs=0.03)  # each term is rounded to a hundredth


@given(attempts, policies)
@fuzz
def test_no_late_policy_raises_points(tries: Attempts_, policy: GradingPolicy) -> None:
    lenient = policy.model_copy(update={"late": LatePenalty()})
    (with_penalty,), (without,) = settle(*made(tries), policy), settle(*made(tries), lenient)
    assert (with_penalty.points is None) == (without.points is None)
    if with_penalty.points is not None and without.points is not None:
        assert with_penalty.points <= without.points + 1e-9


@given(attempts, policies, changes, st.randoms(use_true_random=False))
@fuzz
def test_the_order_of_uploads_does_not_matter(
    tries: Attempts_, policy: GradingPolicy, overrides: Overrides, chance: random.Random
) -> None:
    found, results = made(tries)
    shuffled: list[Upload] = chance.sample(found.uploads, len(found.uploads))
    assert settle(intake(*shuffled), results, policy, overrides) == settle(found, results, policy, overrides)


@given(st.lists(results_, min_size=1, max_size=3), policies)
@fuzz
def test_no_policy_turns_an_ungraded_result_into_a_number(found: list[Result], policy: GradingPolicy) -> None:
    grade = settled(list(found), policy, after=[DAY] * len(found))
    if all(one.score.points is None for one in found) or found[-1].score.points is None:
        assert grade.points is None
        assert grade.standing is Standing.UNGRADED
