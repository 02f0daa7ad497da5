"""The student's pages. Of a hidden check they show the verdict and the authored rationale, nothing else."""

from collections.abc import Iterable, Sequence
from typing import Final

from grader.grades.grade import Grade
from grader.model import CheckResult, Result, Verdict, Visibility
from grader.reporting import words
from grader.reporting.bars import build_method_charts
from grader.reporting.outline import count_verdicts, group_by_step, index_decided, select_measured
from grader.reporting.page import render

CAUSES_MAX: Final = 3  # with which a student begins


def render_feedback(result: Result, grade: Grade | None = None) -> str:
    """Return the page that a student reads: one self-contained HTML file.

    With a grade, its points are shown, and how they came about. Claims, thresholds, hints of hidden checks and all else
    that is for staff stays out.
    """
    result = (grade and grade.shown_result) or result
    checks = tuple(_redact_check(check) for check in result.checks)
    methods = select_measured(result.methods)
    return render(
        "feedback.html",
        staff=False,
        result=result,
        grade=grade,
        decided=index_decided(grade),
        notices=words.list_notices(result, grade),
        causes=select_causes(checks, grade.lacking if grade else ()),
        steps=group_by_step(checks),
        to_do=group_by_step(check for check in checks if check.verdict in (Verdict.FAILED, Verdict.ERROR)),
        counts=count_verdicts(checks),
        unjudged_points=sum(check.possible for check in checks if check.points is None),
        methods=methods,
        accuracy=words.describe_accuracy(methods),
        charts=build_method_charts(methods, with_thresholds=False),
    )


def select_causes(checks: Iterable[CheckResult], needed: Sequence[str] = ()) -> tuple[CheckResult, ...]:
    """Choose the failed checks to begin with: those that a pass takes, then those worth most; one for each cause."""
    failed = [check for check in checks if check.verdict is Verdict.FAILED]
    failed.sort(key=lambda check: (check.title not in needed, (check.points or 0.0) - check.possible))
    by_cause = {check.rationale or check.id: check for check in reversed(failed)}
    return tuple(check for check in failed if by_cause[check.rationale or check.id] is check)[:CAUSES_MAX]


def render_refusal(grade: Grade) -> str:
    """Return what the author of a refused upload reads: why, and that no points were recorded."""
    return render("refusal.html", grade=grade)


def _redact_check(check: CheckResult) -> CheckResult:
    return check.model_copy(update={"hint": ""}) if check.visibility is Visibility.HIDDEN else check
