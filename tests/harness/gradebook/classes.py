"""Small classes for the tests: students, uploads, results, grades."""

from grader.cohort import Grade, Standing, Student, Upload
from grader.model import (
    CheckResult,
    FailedCell,
    Profile,
    Result,
    RunStatus,
    RunSummary,
    Score,
    ScoreStatus,
    SubmissionRef,
    Verdict,
    Visibility,
)

SHA = "ab" * 32


def student(canvas_id: int | None = 12, name: str = "Lovelace, Ada", login: str | None = None) -> Student:
    return Student(key=f"s_{canvas_id}_{name[:3]}", name=name, canvas_id=canvas_id, login=login)


def grade(who: Student, points: float | None, possible: float = 100, standing: Standing = Standing.GRADED) -> Grade:
    return Grade(student=who, standing=standing, points=points, possible=possible)


def upload(entry: str, who: Student | None = None) -> Upload:
    return Upload(id=entry, student=who or student(), entry=entry, display_name="a.ipynb", sha256=SHA)


def check(
    verdict: Verdict,
    name: str = "x",
    visibility: Visibility = Visibility.PUBLIC,
    rationale: str = "",
    possible: float = 4,
) -> CheckResult:
    points = {Verdict.PASSED: possible, Verdict.FAILED: 0.0, Verdict.BLOCKED: 0.0}.get(verdict)
    return CheckResult(
        id=f"step1.{name}",
        title=f"Title of {name}",
        verdict=verdict,
        points=points,
        possible=possible,
        visibility=visibility,
        rationale=rationale,
    )


def result(*checks: CheckResult, points: float | None = 4.0, cells: tuple[FailedCell, ...] = ()) -> Result:
    status = ScoreStatus.UNGRADED if points is None else ScoreStatus.GRADED
    return Result(
        schema=1,
        submission=SubmissionRef(name="a", sha256=SHA),
        profile=Profile.STRUCTURE,
        seed=3,
        calibration=None,
        sandbox="warm",
        run=RunSummary(status=RunStatus.OK, wall_s=12.6, peak_memory_mib=100, failed_cells=cells),
        score=Score(points=points, possible=8, status=status),
        checks=checks,
    )
