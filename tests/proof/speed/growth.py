"""The cost of a class that is graded already: taking it in again, finding that nothing is left, handing out.

The class is made of the corpus, as `make demo-class` has it; verdicts are made up.
"""

import tempfile
from pathlib import Path
from typing import Any, Final

from grader import model
from grader.batch import history, outputs
from grader.batch.history import EntryStatus
from grader.batch.messages import BatchConfig, StoredJudgement, Task
from grader.batch.request import BatchRequest
from grader.batch.scheduling import Conditions, plan
from grader.batch.store import Store
from grader.grades.policy import GradingPolicy
from grader.grades.settlement import settle
from grader.intake.archive import read_class
from grader.intake.uploads import Intake
from grader.judging import scoring
from grader.paths import RUBRIC
from grader.reporting.files import write_reports
from tests.proof.demo import classroom
from tests.proof.speed.outcome import compute_medians, measure_time

WHY: Final = "Expected something else than what was observed in this check."
HINT: Final = "Read the handout again."
FAIL_EVERY: Final = 7  # checks of a submission, shifted by one from each to the next
HERE: Final = Conditions("checkpoint", "reviews")
QUICK: Final = model.Profile.QUICK


def measure(size: int, rounds: int) -> dict[str, Any]:
    """Medians of the seconds of each stage, and the size of the page. A round before them is not counted."""
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        folder = Path(name) / "class"
        archive, gradebook = classroom.write(size, Path(name))
        request = BatchRequest(source=archive, folder=folder, gradebook=gradebook)
        fill(request, read_class(archive, Store(folder / "store").uploads))
        seen = [run_once(request) for _ in range(rounds + 1)][1:]
        page = folder / "index.html"
        return {**compute_medians(seen), "rounds": rounds, "dashboard_mb": round(page.stat().st_size / 1e6, 3)}


def fill(request: BatchRequest, intake: Intake) -> None:
    """Leave what a batch leaves of every upload: a judgement in the store, result and reports, a history."""
    order, store = make_config(request.folder), Store(request.folder / "store")
    for index, task in enumerate(plan(intake.uploads, order, HERE)):
        judged = StoredJudgement(result=make_result(index, task), details=model.StaffDetails())
        store.keep(task.result, judged)
        for recipient in task.recipients:
            folder = order.submissions / recipient.id
            folder.mkdir(parents=True)
            write_reports(judged.result, judged.details, folder)
            history.note(folder, order, task, EntryStatus.GRADED, judged.result)


def run_once(request: BatchRequest) -> dict[str, float]:
    """Seconds of each stage of a batch in which nothing is left to grade."""
    store, order = Store(request.folder / "store"), make_config(request.folder)
    intake_s, found = measure_time(lambda: read_class(request.source, store.uploads))
    plan_s, left = measure_time(lambda: plan(found.uploads, order, HERE))
    if left:
        raise RuntimeError(f"{len(left)} of {len(found.uploads)} made-up submissions count as not graded.")
    grades = settle(found, outputs.read_results(request, found), GradingPolicy())
    dashboard_s, _ = measure_time(lambda: outputs.render_pages(request, found, grades, (), ()))
    hand_out_s, _ = measure_time(lambda: outputs.hand_out(request, found))
    return {"intake_s": intake_s, "plan_s": plan_s, "dashboard_s": dashboard_s, "hand_out_s": hand_out_s}


def make_config(folder: Path) -> BatchConfig:
    """As a batch has it; nobody executes anything."""
    limits: dict[str, Any] = {"cell_s": 1, "run_s": 1, "threads": 1}
    return BatchConfig(folder=folder, profile=QUICK, seed=0, **limits, code="code", parts={"suite": "1"})


def make_result(index: int, task: Task) -> model.Result:
    """A made-up result of a notebook with every check of the rubric."""
    points = scoring.load_rubric(RUBRIC)
    checks = tuple(_make_check(*item, (index + i) % FAIL_EVERY > 0) for i, item in enumerate(points.items()))
    total = sum(c.points or 0.0 for c in checks)
    summary = model.MethodSummary(accuracy=0.6 + index % 30 / 100, threshold=0.7, train_s=50, steps=64)
    return model.Result(
        schema=1, submission=model.SubmissionRef(name=task.name, sha256=task.notebook.stem), profile=QUICK, seed=0,
        calibration="made up", sandbox="warm",
        run=model.RunSummary(status=model.RunStatus.OK, wall_s=200 + index % 50, peak_memory_mib=3000),
        score=model.Score(points=total, possible=sum(points.values()), status=model.ScoreStatus.GRADED),
        checks=checks, methods=dict.fromkeys(model.Method, summary), environment={"reviews": "made up"},
        timings={"cells": 200.0, "judging": 1.0},
    )  # fmt: skip


def _make_check(name: str, possible: float, passed: bool) -> model.CheckResult:
    facts: dict[str, Any] = {"id": name, "title": name, "possible": possible, "visibility": model.Visibility.PUBLIC}
    if passed:
        return model.CheckResult(**facts, verdict=model.Verdict.PASSED, points=possible)
    return model.CheckResult(**facts, verdict=model.Verdict.FAILED, points=0.0, rationale=WHY, hint=HINT)
