"""From judgements to `result.json`, and to what the staff report shows beyond it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from grader.assignment import EVAL_ROWS
from grader.evidence.reader import Evidence
from grader.judging import foreign_packages, scoring
from grader.judging.boundary import PartReader, Watch
from grader.judging.case import Case, locate_trainings, read_or_none, summarise_method
from grader.judging.claims import match_claims, read_claims
from grader.judging.repetition import excuse_repetitions
from grader.judging.runner import GRADER_FAULT, Judgement, run_suite
from grader.judging.staff_notes import find_notes
from grader.judging.suspicion import find_intrusions, rests_on
from grader.judging.tampering import WAITS_FOR, WaitsFor
from grader.model import (
    Claim,
    CurvePoint,
    Method,
    MethodSummary,
    Profile,
    Result,
    RunStatus,
    ScoreStatus,
    StaffDetails,
    Verdict,
)
from grader.paths import HIDDEN_TESTS, PUBLIC_TESTS, RUBRIC
from grader.protocol.records import Training

EXCUSED: Final[Mapping[str, Any]] = {"verdict": Verdict.ERROR, "rationale": GRADER_FAULT, "hint": "", "place": None}
HELD: Final[Mapping[str, Any]] = {
    "verdict": Verdict.ERROR,
    "rationale": "The notebook uses the grader's own code. A person reads the notebook before this check gives points.",
    "hint": "",
    "held": True,
}

UNTRAINED: Final[Mapping[str, Any]] = {
    **HELD,
    "rationale": "The weights that a training leaves do not show that it trained: they stand still, or move otherwise "
    "than along the gradients of the network. A person reads the notebook before this check gives points.",
}


@dataclass(frozen=True)
class GradingResult:
    """A result, and what the staff report shows beyond it."""

    result: Result
    details: StaffDetails
    suspects: tuple[str, ...] = ()  # parts that raised, where only the reference can tell whose fault that is

    @property
    def ungraded(self) -> bool:
        """True if the submission has no score."""
        return self.result.score.status is ScoreStatus.UNGRADED


def judge_case(case: Case, folders: list[Path], only: str | None = None, watch: Watch | None = None) -> GradingResult:
    """Judge a case: evidence with an oracle, which may be shared with other cases. `watch`: see `boundary`."""
    began, watch = time.perf_counter(), watch or Watch()
    found = run_suite(case, folders, only, watch)
    judgements = excuse_repetitions(hold_drifting(adjust_judgements(found, case.evidence), case))
    rubric = scoring.load_rubric(RUBRIC)
    complete = only is None and {PUBLIC_TESTS, HIDDEN_TESTS} <= set(folders)
    scoring.require_agreement([judgement.id for judgement in judgements], rubric, complete)
    checks = tuple(judgement.result(rubric[judgement.id]) for judgement in judgements)
    reader = PartReader(case.evidence, watch)
    methods = reader.read("methods", lambda: {method: summarise_method(case, method) for method in Method}, lambda: {})
    environment = reader.read("environment", lambda: case.evidence.environment, lambda: {})
    claims = reader.read("claims", lambda: _compare_claims(case, methods), lambda: ())
    details = reader.read(
        "details", lambda: _build_details(case, judgements), lambda: _build_plain_details(case, judgements)
    )
    run = case.evidence.run
    summary = run.summary
    if case.evidence.violations or any(j.fault and j.verdict is Verdict.FAILED for j in judgements):
        summary = summary.model_copy(update={"status": RunStatus.PROTOCOL_VIOLATION})
    result = Result(
        schema=1,
        submission=run.submission,
        profile=case.profile,
        seed=run.conditions.seed,
        calibration=case.calibration.name if case.calibration else None,
        sandbox=run.conditions.sandbox,
        run=summary,
        score=scoring.score(checks, run.summary.status),
        checks=checks,
        methods=methods,
        claims=claims,
        environment={**environment, **describe_conditions(case, judgements)},
        timings={**run.timings, "judging": round(time.perf_counter() - began, 3)},
    )
    details = details.model_copy(update={"notes": (*details.notes, *watch.notes)})
    suspects = (*(judgement.id for judgement in found if judgement.suspect), *watch.suspects)
    return GradingResult(result, details, suspects)


def adjust_judgements(judgements: tuple[Judgement, ...], evidence: Evidence) -> tuple[Judgement, ...]:
    """Excuse what failed where the grader failed, and hold what passed where the notebook reaches into the grader.

    The grader fails too where its own code in the kernel does: nobody knows what the notebook would have got without.
    What failed for want of a package that the grader lacks is held, too.
    The witness shares a process with the notebook, and its word is worth no more than that process is.
    """
    intruded = bool(find_intrusions(evidence))
    if evidence.run.summary.status is RunStatus.INFRA_ERROR or evidence.run.faults:
        kept = (Verdict.PASSED, Verdict.NOT_JUDGED)
        judgements = tuple(j if j.verdict in kept else replace(j, **EXCUSED) for j in judgements)
    elif not intruded:
        return foreign_packages.excuse(judgements, evidence)
    if intruded:  # also where the grader failed: a notebook may have made it fail
        return tuple(replace(j, **HELD) if j.verdict is Verdict.PASSED else j for j in judgements)
    return judgements


def hold_drifting(judgements: tuple[Judgement, ...], case: Case) -> tuple[Judgement, ...]:
    """Hold what passed of a training whose weights look made up: an imitation of the witness can invent all else."""
    drifting = read_or_none(lambda: case.drifts) or {}
    return tuple(
        replace(j, **UNTRAINED) if j.verdict is Verdict.PASSED and any(rests_on(j.id, m) for m in drifting) else j
        for j in judgements
    )


def _compare_claims(case: Case, methods: Mapping[Method, MethodSummary]) -> tuple[Claim, ...]:
    """Set the outputs of the submitted file beside what was measured."""
    claims = read_claims(case.evidence.submitted)
    return match_claims(claims, locate_trainings(case), methods, EVAL_ROWS if case.profile is Profile.FULL else None)


def describe_conditions(case: Case, judgements: tuple[Judgement, ...]) -> dict[str, str]:
    """Return the grader's part of a result's environment: the conditions of the run, and whom the result waits for."""
    c = case.evidence.run.conditions
    whom = WaitsFor.PACKAGE if any(judgement.lacks_package for judgement in judgements) else WaitsFor.PERSON
    waits = {WAITS_FOR: whom.value} if any(judgement.held for judgement in judgements) else {}
    described = {"checkpoint": c.checkpoint, "reviews": c.reviews, "precision": c.precision, "grader": c.grader}
    return described | waits


def _build_details(case: Case, judgements: tuple[Judgement, ...]) -> StaffDetails:
    placed = read_or_none(lambda: case.placed) or {}
    curves = {method: tuple(_build_curve(training)) for method, training in placed.items()}
    return StaffDetails(
        cells=case.evidence.run.cells,
        curves=curves,
        notes=tuple(find_notes(case, judgements)),
        faults={judgement.id: judgement.fault for judgement in judgements if judgement.fault},
    )


def _build_plain_details(case: Case, judgements: tuple[Judgement, ...]) -> StaffDetails:
    """Return what is known without a look at what the notebook wrote."""
    faults = {judgement.id: judgement.fault for judgement in judgements if judgement.fault}
    notes = ["The details of this report could not be read from what the notebook left."]
    return StaffDetails(notes=(*notes, *case.evidence.violations), faults=faults)


def _build_curve(training: Training) -> list[CurvePoint]:
    return [
        CurvePoint(step=int(entry.step), loss=entry.loss, eval_accuracy=entry.eval_accuracy)
        for entry in training.log
        if entry.step is not None and (entry.loss is not None or entry.eval_accuracy is not None)
    ]


def has_failures(result: Result) -> bool:
    """Return True if any check failed or was blocked."""
    return any(check.verdict in (Verdict.FAILED, Verdict.BLOCKED) for check in result.checks)
