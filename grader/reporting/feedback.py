"""The student's pages. Of a hidden check they show the verdict and the authored rationale, nothing else."""

from grader.grades.grade import Grade
from grader.model import CheckResult, Result, Verdict, Visibility
from grader.reporting import words
from grader.reporting.bars import build_method_charts
from grader.reporting.outline import count_verdicts, group_by_step, index_decided, select_measured
from grader.reporting.page import render


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
        steps=group_by_step(checks),
        to_do=group_by_step(check for check in checks if check.verdict in (Verdict.FAILED, Verdict.ERROR)),
        counts=count_verdicts(checks),
        unjudged_points=sum(check.possible for check in checks if check.points is None),
        methods=methods,
        accuracy_measured=any(summary.accuracy is not None for summary in methods.values()),
        charts=build_method_charts(methods, with_thresholds=False),
    )


def render_refusal(grade: Grade) -> str:
    """Return what the author of a refused upload reads: why, and that no points were recorded."""
    return render("refusal.html", grade=grade)


def _redact_check(check: CheckResult) -> CheckResult:
    return check.model_copy(update={"hint": ""}) if check.visibility is Visibility.HIDDEN else check
