"""Checks are grouped by step, whatever the suite contains."""

from grader.model import CheckResult, Verdict
from grader.reporting.outline import count_verdicts, group_by_step
from tests.harness import results


def _check(id_: str, verdict: Verdict = Verdict.PASSED, points: float | None = 1.0) -> CheckResult:
    return results.check(id_, verdict, 2.0, points=points)


def test_steps_come_in_order_of_appearance_and_keep_the_order_of_checks() -> None:
    steps = group_by_step([_check("run.b"), _check("step9.x"), _check("run.a"), _check("alone")])
    assert [(step.key, [check.id for check in step.checks]) for step in steps] == [
        ("run", ["run.b", "run.a"]),
        ("step9", ["step9.x"]),
        ("alone", ["alone"]),
    ]


def test_points_of_unjudged_checks_are_not_possible() -> None:
    (step,) = group_by_step(
        [_check("s.a"), _check("s.b", Verdict.ERROR, None), _check("s.c", Verdict.NOT_JUDGED, None)]
    )
    assert (step.points, step.possible) == (1.0, 2.0)


def test_problems_put_first_what_the_student_can_change() -> None:
    (step,) = group_by_step(
        [
            _check("s.a", Verdict.NOT_JUDGED, None),
            _check("s.b", Verdict.BLOCKED, 0.0),
            _check("s.c"),
            _check("s.d", Verdict.FAILED, 0.0),
        ]
    )
    assert [kind for kind, _ in step.problems] == [Verdict.FAILED, Verdict.BLOCKED, Verdict.NOT_JUDGED]
    assert [check.id for check in step.passed] == ["s.c"]
    assert count_verdicts(step.checks) == dict.fromkeys(
        (Verdict.PASSED, Verdict.FAILED, Verdict.BLOCKED, Verdict.NOT_JUDGED), 1
    )


def test_no_checks_no_steps() -> None:
    assert group_by_step([]) == ()
