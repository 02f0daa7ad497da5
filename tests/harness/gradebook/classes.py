"""Small classes for the tests: students, uploads, results, grades."""

from typing import Any

from grader.grades.grade import Grade, Standing
from grader.intake.uploads import Student, Upload
from grader.model import CheckResult, FailedCell, Result, Verdict, Visibility
from tests.harness import results

SHA = results.SHA256


def student(canvas_id: int | None = 12, name: str = "Lovelace, Ada", login: str | None = None) -> Student:
    return Student(key=f"s_{canvas_id}_{name[:3]}", name=name, canvas_id=canvas_id, login=login)


def grade(who: Student, points: float | None, possible: float = 100, standing: Standing = Standing.GRADED) -> Grade:
    return Grade(student=who, standing=standing, points=points, possible=possible)


def upload(entry: str, who: Student | None = None) -> Upload:
    return Upload(id=entry, student=who or student(), entry=entry, display_name="a.ipynb", sha256=SHA)


def check(verdict: Verdict, name: str = "x", visibility: Visibility = Visibility.PUBLIC, **changes: Any) -> CheckResult:
    return results.check(f"step1.{name}", verdict, title=f"Title of {name}", visibility=visibility, **changes)


def result(*checks: CheckResult, points: float | None = 4.0, cells: tuple[FailedCell, ...] = ()) -> Result:
    return results.result(checks, score=results.graded(points, 8), run=results.run(failed_cells=cells), seed=3)
