"""From judgements to `result.json`, and what the staff report shows beyond it."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from grader.evidence.reader import Evidence, LogEntry
from grader.judging import scoring, tampering
from grader.judging.case import Case
from grader.judging.claims import match_claims, read_claims
from grader.judging.measurements import locate_trainings, read_or_none, summarise_method
from grader.judging.runner import Judgement, excuse, hold, run_suite, score_judgements
from grader.judging.staff_notes import list_notes
from grader.model import (
    Claim,
    CurvePoint,
    Method,
    MethodSummary,
    Profile,
    Result,
    RunStatus,
    RunSummary,
    ScoreStatus,
    StaffDetails,
    Verdict,
)
from grader.paths import RUBRIC


@dataclass(frozen=True)
class GradingResult:
    """A result, and what the staff report shows beyond it."""

    result: Result
    details: StaffDetails

    @property
    def ungraded(self) -> bool:
        """Whether a fault of ours kept it from being graded."""
        return self.result.score.status is ScoreStatus.UNGRADED


def judge_case(case: Case, folders: list[Path], only: str | None = None) -> GradingResult:
    """Judge a case: evidence with an oracle, which may be shared with other cases."""
    began = time.perf_counter()
    judgements = adjust_judgements(run_suite(case, folders, only), case.evidence)
    checks = score_judgements(judgements, scoring.load_rubric(RUBRIC))
    methods = read_or_none(lambda: {method: summarise_method(case, method) for method in Method}) or {}
    environment = read_or_none(lambda: case.evidence.environment) or {}
    claimed = read_or_none(lambda: compare_claims(case, methods)) or ()
    run = case.evidence.run
    result = Result(
        schema=1,
        submission=run.submission,
        profile=case.profile,
        seed=run.conditions.seed,
        calibration=case.calibration.name if case.calibration else None,
        sandbox=run.conditions.sandbox,
        run=summarise_run(case.evidence),
        score=scoring.score(checks, run.summary.status),
        checks=checks,
        methods=methods,
        claims=claimed,
        environment={**environment, **_conditions(case)},
        timings={**run.timings, "judging": round(time.perf_counter() - began, 3)},
    )
    return GradingResult(result, build_details(case, judgements))


def adjust_judgements(judgements: tuple[Judgement, ...], evidence: Evidence) -> tuple[Judgement, ...]:
    """What the judgements are worth: a run that we broke costs nothing, one that reaches into the grader gains nothing.

    The witness shares a process with the notebook, and its word is worth no more than that process is.
    """
    if evidence.run.summary.status is RunStatus.INFRA_ERROR:
        return tuple(map(excuse, judgements))
    return tuple(map(hold, judgements)) if tampering.find_tampering(evidence.sources) else judgements


def summarise_run(evidence: Evidence) -> RunSummary:
    """How the run went, in the light of what it left."""
    status = RunStatus.PROTOCOL_VIOLATION if evidence.violations else evidence.run.summary.status
    return evidence.run.summary.model_copy(update={"status": status})


def compare_claims(case: Case, methods: Mapping[Method, MethodSummary]) -> tuple[Claim, ...]:
    """What the submitted file's own outputs say, beside what was measured."""
    comparable = case.profile is Profile.FULL
    return match_claims(
        read_claims(case.evidence.submitted), locate_trainings(case), methods, accuracy_comparable=comparable
    )


def build_details(case: Case, judgements: tuple[Judgement, ...]) -> StaffDetails:
    """What the staff report shows beyond the result."""
    placed = read_or_none(lambda: case.placed) or {}
    curves = {m: tuple(build_curve(t.log)) for m, t in placed.items()}
    return StaffDetails(cells=case.evidence.run.cells, curves=curves, notes=tuple(list_notes(case, judgements)))


def build_curve(log: Iterable[LogEntry]) -> list[CurvePoint]:
    """The training log as points to plot."""
    return [
        CurvePoint(step=int(entry.step), loss=entry.loss, eval_accuracy=entry.eval_accuracy)
        for entry in log
        if entry.step is not None and (entry.loss is not None or entry.eval_accuracy is not None)
    ]


def _conditions(case: Case) -> dict[str, str]:
    c = case.evidence.run.conditions
    return {"checkpoint": c.checkpoint, "reviews": c.reviews, "precision": c.precision, "grader": c.grader}


def has_failures(result: Result) -> bool:
    """Whether any check failed or was blocked."""
    return any(check.verdict in (Verdict.FAILED, Verdict.BLOCKED) for check in result.checks)
