"""What a class costs that is graded already: taking it in again, finding that nothing is left, the dashboard."""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from grader import scoring
from grader.batch import classroom, history
from grader.batch.order import Order, Recipient, Task
from grader.batch.running import Circumstances, plan
from grader.intake.archive import read_class
from grader.model import (
    CheckResult,
    Method,
    MethodSummary,
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
from grader.policy import Policy, settle
from grader.project import RUBRIC
from grader.reporting.cohort.dashboard import dashboard

T = TypeVar("T")
FAIL_EVERY = 7  # checks of a submission, shifted by one from each to the next


def measured(size: int) -> dict[str, Any]:
    """Seconds of each stage, and the size of the page."""
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        folder = Path(name)
        source = write_class(size, folder)
        order, here = make_order(folder), Circumstances("checkpoint", "reviews")
        intake_s, found = timed(lambda: read_class(source, folder / "store" / "uploads"))
        results = {upload.id: make_result(i) for i, upload in enumerate(found.uploads)}
        for task in plan(found.uploads, order, here):
            note(order, task, results[task.recipients[0].id])
        plan_s, left = timed(lambda: plan(found.uploads, order, here))
        settle_s, grades = timed(lambda: settle(found, results, Policy()))
        dashboard_s, page = timed(lambda: dashboard(grades, found, name="class"))
        return {
            "uploads": len(found.uploads),
            "left": len(left),
            "intake_s": intake_s,
            "plan_s": plan_s,
            "settle_s": settle_s,
            "dashboard_s": dashboard_s,
            "dashboard_mb": round(len(page.encode()) / 1e6, 3),
        }


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    began = time.perf_counter()
    found = work()
    return round(time.perf_counter() - began, 3), found


def write_class(size: int, folder: Path) -> Path:
    """An archive of notebooks that are all different."""
    table = classroom.load_table()
    names = classroom.people(table, size)
    texts = [classroom.notebook([f"answer = {i}", "print(answer)"]) for i in range(size)]
    entries = [
        (f"{family}{given}_{classroom.FIRST_USER + i}_{classroom.FIRST_ATTACHMENT + i}_a4.ipynb".replace(" ", ""), text)
        for i, ((given, family), text) in enumerate(zip(names, texts, strict=True))
    ]
    made = [classroom.Made("", "", i, "", (entry,)) for i, entry in enumerate(entries)]
    (folder / "class.zip").write_bytes(classroom.archive(made))
    return folder / "class.zip"


def make_order(folder: Path) -> Order:
    """As a batch has it; nobody executes anything."""
    return Order(
        folder=folder, profile=Profile.QUICK, seed=0, cell_s=1, run_s=1, threads=1, code="code", parts={"suite": "1"}
    )


def note(order: Order, task: Task, result: Result) -> None:
    """Everybody's history and result, as a batch leaves them."""
    recipient: Recipient
    for recipient in task.recipients:
        folder = order.submissions / recipient.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
        history.note(folder, order, task, ScoreStatus.GRADED, result)


def make_result(index: int) -> Result:
    """A made-up result with every check of the rubric."""
    points = scoring.load_rubric(RUBRIC)
    checks = tuple(check(name, worth, (index + i) % FAIL_EVERY > 0) for i, (name, worth) in enumerate(points.items()))
    total = sum(c.points or 0.0 for c in checks)
    methods = {
        method: MethodSummary(accuracy=0.6 + index % 30 / 100, threshold=0.7, train_s=50, steps=64) for method in Method
    }
    return Result(
        schema=1,
        submission=SubmissionRef(name=f"{index}.ipynb", sha256=f"{index:064x}"),
        profile=Profile.QUICK,
        seed=0,
        calibration="made up",
        sandbox="warm",
        run=RunSummary(status=RunStatus.OK, wall_s=200 + index % 50, peak_memory_mib=3000),
        score=Score(points=total, possible=sum(points.values()), status=ScoreStatus.GRADED),
        checks=checks,
        methods=methods,
        environment={"reviews": "made up"},
        timings={"cells": 200.0, "judging": 1.0},
    )


def check(name: str, possible: float, passed: bool) -> CheckResult:
    """One verdict, with words where it failed."""
    return CheckResult(
        id=name,
        title=name,
        verdict=Verdict.PASSED if passed else Verdict.FAILED,
        points=possible if passed else 0.0,
        possible=possible,
        visibility=Visibility.PUBLIC,
        rationale="" if passed else "Expected something else than what was observed in this check.",
        hint="" if passed else "Read the handout again.",
    )


def main(size: int) -> None:
    """For a look at one size: python -m bench.growth 1000."""
    print(json.dumps(measured(size), indent=1))


if __name__ == "__main__":
    import sys

    main(int(sys.argv[1]))
