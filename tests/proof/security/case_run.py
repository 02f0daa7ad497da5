"""One case in one backend: run, judge, and compare with what is expected."""

import html
import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from grader import pipeline
from grader.errors import SubmissionError
from grader.execution.driver import Limits
from grader.execution.job import Setup
from grader.intake import read_submission
from grader.judging.result import GradingResult
from grader.model import FrozenModel, RunStatus, ScoreStatus, Verdict
from grader.reporting.files import write_reports
from grader.reporting.terminal import render_result
from grader.sandbox import Backend
from tests.proof.security.canaries import LATE_S, Canaries
from tests.proof.security.cases import HostileCase, HostileUpload
from tests.proof.security.traces import GrowthSampler, Traces, find_leftovers

MAX_GROWTH_MIB: Final = 100
LIMITS: Final = Limits(ready_s=120, cell_s=4, notebook_s=20, probe_s=10, interrupt_s=3)


class HostileResult(FrozenModel):
    """The outcome of one case. `unexpected` says in words what is not as it should be."""

    id: str
    row: int
    backend: str
    outcome: str
    leaks: int = 0
    points: float = 0
    leftovers: int = 0
    seconds: float = 0
    growth_mib: float = 0
    unexpected: tuple[str, ...] = ()


def run_case(case: HostileCase, used: Setup, canaries: Canaries, look: Callable[[], Traces]) -> HostileResult:
    """Grade the case as any submission is graded, in folders of its own."""
    backend, before = used.sandbox.backend, look()
    used = replace(used, witness=case.witness or backend is Backend.WARM)
    limits = replace(LIMITS, cell_s=case.cell_s or LIMITS.cell_s)
    with tempfile.TemporaryDirectory(prefix="c") as name, GrowthSampler() as growth:
        folder = Path(name)
        submission = read_submission(case.write(folder, canaries.places))
        submission.path.unlink()
        began = time.perf_counter()
        graded = pipeline.grade(submission, used, folder, limits=limits)
        shown = _render_shown(graded, folder)
        seconds = time.perf_counter() - began
        time.sleep(LATE_S)
        leaks = canaries.find_in(folder)
    left = find_leftovers(before, look) + [f"file {name}" for name in canaries.list_touched()]
    unearned = _find_passed(graded) - set(case.earns)  # a notebook without any work passes none
    return HostileResult(
        id=case.id, row=case.row, backend=backend.value, outcome=graded.result.run.status.value, leaks=len(leaks),
        points=sum(check.points or 0 for check in graded.result.checks if check.id in unearned),
        leftovers=len(left), seconds=round(seconds, 2), growth_mib=round(growth.mib, 1),
        unexpected=(
            *_outcome(case, graded),
            *(f"leak: {what}" for what in leaks),
            *(f"unearned: {check}" for check in sorted(unearned)),
            *(f"left: {what}" for what in left),
            *(f"shown: {text!r}" for text in case.inert if text in shown),
            *_growth(growth),
        ),
    )  # fmt: skip


def _outcome(case: HostileCase, graded: GradingResult) -> list[str]:
    """Whatever is not as the case says about the run itself."""
    found, status = [], graded.result.run.status
    cells = tuple(cell.status for cell in graded.details.cells)[int(case.work) :]
    if status not in case.outcome:
        notes = "; ".join(graded.details.notes)[:300]
        found.append(f"outcome {status}, expected {' or '.join(case.outcome)} ({notes})")
    if case.statuses and cells != case.statuses:
        found.append(f"cells {' '.join(cells)}, expected {' '.join(case.statuses)}")
    if case.says and not any(case.says in cell.error for cell in graded.details.cells):
        found.append(f"no cell raised {case.says}: {[cell.error[:100] for cell in graded.details.cells]}")
    if case.honest and (lost := set(case.earns) - _find_passed(graded)):
        found.append(f"honest work was not credited: {', '.join(sorted(lost))}")
    if case.flagged and not any("the grader's" in note and "code" in note for note in graded.details.notes):
        found.append("staff are not told")
    if case.blameless and graded.result.score.status is ScoreStatus.UNGRADED:
        found.append(f"it has no score ({'; '.join(graded.details.notes)[:300]})")
    if case.flagged and _find_passed(graded):
        found.append("what passed does not wait for a person")
    return found


def _find_passed(graded: GradingResult) -> set[str]:
    return {check.id for check in graded.result.checks if check.verdict is Verdict.PASSED}


def _render_shown(graded: GradingResult, folder: Path) -> str:
    """The result as people see it: the pages as they are, the terminal's text escaped as a page would have it."""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with terminal.capture() as captured:
        terminal.print(render_result(graded.result, ()))
    pages = [path for path in write_reports(graded.result, graded.details, folder) if path.suffix == ".html"]
    return html.escape(captured.get()) + "".join(page.read_text(encoding="utf-8") for page in pages)


def _growth(growth: GrowthSampler) -> list[str]:
    return [f"the grader grew by {growth.mib:.0f} MiB"] if growth.mib > MAX_GROWTH_MIB else []


def run_upload(upload: HostileUpload) -> HostileResult:
    """Read the file as any submission is read."""
    began, said = time.perf_counter(), ""
    with tempfile.TemporaryDirectory(prefix="c") as name, GrowthSampler() as growth:
        path = upload.write(Path(name))
        try:
            read_submission(path)
        except SubmissionError as error:
            said = str(error)
    outcome = RunStatus.BAD_SUBMISSION if said else RunStatus.OK
    wrong = () if said.isprintable() and said else ("it was not refused in one clean sentence",)
    return HostileResult(
        id=upload.id, row=upload.row, backend="intake", outcome=outcome.value,
        seconds=round(time.perf_counter() - began, 2), growth_mib=round(growth.mib, 1),
        unexpected=(*wrong, *_growth(growth)),
    )  # fmt: skip
