"""The student's page. Of a hidden check it shows the verdict and the authored rationale, nothing else."""

from grader.grades.grade import Grade
from grader.model import CheckResult, Result, Verdict, Visibility
from grader.reporting import words
from grader.reporting.outline import adjusted, by_step, measured, verdict_counts
from grader.reporting.page import render
from grader.reporting.plots import method_charts


def feedback_html(result: Result, grade: Grade | None = None) -> str:
    """Return the page that a student reads: one self-contained HTML file. With a grade, its points are shown, and how
    they came about.

    Claims, thresholds, hints of hidden checks and everything else that is for staff stays out.
    """
    checks = tuple(_for_student(check) for check in result.checks)
    methods = measured(result.methods)
    to_do = (check for check in checks if check.verdict in (Verdict.FAILED, Verdict.ERROR))
    return render(
        "feedback.html",
        result=result,
        grade=grade,
        adjusted=adjusted(grade),
        notices=words.notices(result, grade),
        steps=by_step(checks),
        to_do=by_step(to_do),
        counts=verdict_counts(checks),
        unjudged_points=sum(check.possible for check in checks if check.points is None),
        methods=methods,
        accuracy_measured=any(summary.accuracy is not None for summary in methods.values()),
        charts=method_charts(methods, with_thresholds=False),
    )


def _for_student(check: CheckResult) -> CheckResult:
    return check.model_copy(update={"hint": ""}) if check.visibility is Visibility.HIDDEN else check
