"""Small classes to settle."""

from datetime import datetime, timedelta
from typing import Any

from grader.cohort import Intake, Refusal, Student, Upload
from grader.model import CheckResult, Profile, Result, RunStatus, RunSummary, SubmissionRef, Verdict, Visibility
from grader.scoring import score

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
    points = {Verdict.PASSED: 1.0, Verdict.FAILED: partial or 0.0, Verdict.BLOCKED: 0.0}
    checks = tuple(
        CheckResult(
            id=id_,
            title=f"Check {id_}",
            verdict=verdict,
            points=possible * points[verdict] if verdict in points else None,
            possible=possible,
            visibility=Visibility.PUBLIC,
        )
        for (id_, possible), verdict in zip(RUBRIC.items(), verdicts, strict=False)
    )
    return Result(
        schema=1,
        submission=SubmissionRef(name=name, sha256="0" * 64),
        profile=Profile.STRUCTURE,
        seed=0,
        calibration=None,
        sandbox="warm",
        run=RunSummary(status=status, wall_s=1.0, peak_memory_mib=1.0),
        score=score(checks, status),
        checks=checks,
    )


def intake(*uploads: Upload, refusals: tuple[Refusal, ...] = (), missing: tuple[Student, ...] = ()) -> Intake:
    return Intake(source="class.zip", uploads=uploads, refusals=refusals, missing=missing)
