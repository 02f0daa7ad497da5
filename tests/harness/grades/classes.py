"""Small classes to settle."""

from datetime import datetime, timedelta
from typing import Any

from grader.intake.uploads import Intake, Refusal, Student, Upload
from grader.judging.scoring import score
from grader.model import Result, RunStatus, Verdict
from tests.harness import results

DUE = datetime.fromisoformat("2026-12-01T23:59:00+01:00")
RUBRIC = {"step1.a": 60.0, "step2.b": 40.0}


def student(key: str = "ada", **names: Any) -> Student:
    return Student(key=key, name=key.title(), **names)


def upload(key: str = "ada", attempt: int = 1, after: timedelta | None = None, late: bool = False) -> Upload:
    return Upload(
        id=f"{key}_{attempt}",
        student=student(key),
        entry=f"{key}_1_{attempt}_a.ipynb",
        display_name="a.ipynb",
        sha256=f"{attempt:064x}",
        late=late,
        submitted_at=None if after is None else DUE + after,
        attempt=attempt,
    )


def result(
    *verdicts: Verdict, status: RunStatus = RunStatus.OK, partial: float | None = None, name: str = "a"
) -> Result:
    """A result over RUBRIC; `partial` is what a failed check gives all the same."""
    pairs = zip(RUBRIC.items(), verdicts, strict=False)
    checks = [results.check(id_, verdict, worth) for (id_, worth), verdict in pairs]
    if partial is not None:
        checks = [c.model_copy(update={"points": c.possible * partial}) if c.points == 0 else c for c in checks]
    return results.result(checks, name, run=results.run(status), score=score(checks, status))


def intake(*uploads: Upload, refusals: tuple[Refusal, ...] = (), missing: tuple[Student, ...] = ()) -> Intake:
    return Intake(source="class.zip", uploads=uploads, refusals=refusals, missing=missing)
