"""Wires the stages for one submission. The command line, batches and calibration all grade through here."""

import atexit
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

from grader import calibration, canary, profiles, scoring, tampering
from grader.assets.cache import cache_folder
from grader.assets.hub import Checkpoint, resolve_checkpoint
from grader.assets.inventory import Finding, Status
from grader.assets.metrics import prepare_metrics
from grader.assets.precision import fast_bfloat16
from grader.assets.reviews import resolve_reviews
from grader.case import Case, Oracle
from grader.claims import contradicted, match_claims, read_claims, repeated
from grader.errors import GraderError
from grader.evidence import Evidence, LogEntry, ProtocolViolation, RowKeys, Training
from grader.execution import broker
from grader.execution.driver import Limits
from grader.execution.inherited import require_limits
from grader.execution.job import Setup
from grader.execution.progress import Listener
from grader.execution.run import execute
from grader.execution.seats import VISIBLE
from grader.intake.notebook import Submission, read_submission
from grader.isolation import open_sandbox
from grader.judging import Judgement, excused, held, results, run_suite
from grader.model import (
    Claim,
    CurvePoint,
    Method,
    MethodSummary,
    Precision,
    Profile,
    Result,
    RunStatus,
    RunSummary,
    ScoreStatus,
    StaffDetails,
    Verdict,
)
from grader.oracle.accuracy import Meter
from grader.oracle.exposure import KNOWN_SHARE, Library, held_back
from grader.project import CALIBRATIONS, HIDDEN_TESTS, PUBLIC_TESTS, ROOT, RUBRIC
from grader.sandbox import Backend, Sandbox, self_tests
from grader.sandbox.folders import temporary_folder

Told = TypeVar("Told")

DEFAULT_SEED = 0
UNFIT = "The notebook is right, so this machine does something else than it should. Nobody is graded until it passes."


@dataclass(frozen=True)
class Graded:
    """A result, and what the staff report shows beyond it."""

    result: Result
    details: StaffDetails

    @property
    def ungraded(self) -> bool:
        """Whether a fault of ours kept it from being graded."""
        return self.result.score.status is ScoreStatus.UNGRADED


@contextmanager
def setup(
    profile: Profile,
    seed: int,
    backend: Backend | None = None,
    limits: Limits | None = None,
    precision: Precision = Precision.AUTO,
    opened: Sandbox | None = None,
    threads: int | None = None,
    trial: bool = True,
    listener: Listener | None = None,
) -> Iterator[Setup]:
    """Find or prepare what an execution needs, with a sandbox that lives as long as the block. Raises GraderError.

    opened: a sandbox to use instead of a new one. threads: of a kernel; by default as many as there are cores.
    trial: grade the notebook first that is known to be right. Not where nothing is executed, nor in a sandbox whose
        limits are tight on purpose.
    """
    profiles.require_fit(profile, precision)
    require_limits()
    cache_dir = cache_folder(ROOT, os.environ)
    checkpoint, metrics = resolve_checkpoint(profile, cache_dir), prepare_metrics(cache_dir)
    broker.warm_up()
    gpus = profiles.uses_gpu(profile)
    with opened or open_sandbox(checkpoint, metrics, limits or Limits(), backend, threads, gpus=gpus) as sandbox:
        used = Setup(
            profile=profile,
            seed=seed,
            checkpoint=checkpoint,
            reviews=resolve_reviews(ROOT, os.environ),
            metrics=metrics,
            bfloat16=profile is Profile.QUICK and _bfloat16(precision),
            tf32=precision is Precision.TF32,
            sandbox=sandbox,
            environ=one_gpu(os.environ) if gpus else {},
        )
        if trial:
            canary.require_fit(used, make_case, listener)
        yield used


def fitness() -> Finding:
    """Whether the notebook that is known to be right gets its points on this machine, today; a row for `doctor`."""
    what = "trial notebook"
    backend = next((test.backend for test in self_tests() if test.passed), Backend.NONE)
    try:
        with setup(Profile.STRUCTURE, DEFAULT_SEED, backend, trial=False) as used:
            found = canary.attempt(used, make_case)
    except GraderError as error:
        return Finding(what, Status.MISSING, f"cannot be run in sandbox {backend}", str(error))
    if not found:
        return Finding(what, Status.OK, f"gets its points in sandbox {backend}")
    return Finding(what, Status.MISSING, f"loses points in sandbox {backend}: {'; '.join(map(str, found))}", UNFIT)


def one_gpu(environ: Mapping[str, str]) -> dict[str, str]:
    """The first GPU of those that one may use: a Trainer that sees several trains with larger batches."""
    return {VISIBLE: environ.get(VISIBLE, "0").partition(",")[0]}


def _bfloat16(precision: Precision) -> bool:
    return fast_bfloat16() if precision is Precision.AUTO else precision is Precision.BFLOAT16


def suite_folders(public_only: bool = False) -> list[Path]:
    """The suite: what students have, and what staff have in addition."""
    found = [PUBLIC_TESTS] if public_only else [PUBLIC_TESTS, HIDDEN_TESTS]
    return [folder for folder in found if folder.is_dir()]


def grade(
    submission: Submission, used: Setup, folder: Path, listener: Listener | None = None, limits: Limits | None = None
) -> Graded:
    """Execute and judge; the evidence stays in `folder`/evidence. Raises GraderError."""
    execute(submission, used, folder / "evidence", listener, limits)
    if listener:
        listener.stage("judging")
    return judge(folder / "evidence", used, suite_folders())


def judge(evidence_folder: Path, used: Setup, folders: list[Path], only: str | None = None) -> Graded:
    """Judge stored evidence without executing anything."""
    return judge_case(make_case(evidence_folder, used), folders, only)


def judge_case(case: Case, folders: list[Path], only: str | None = None) -> Graded:
    """Judge a case: evidence with an oracle, which may be shared with other cases."""
    began = time.perf_counter()
    judgements = fair(run_suite(case, folders, only), case.evidence)
    checks = results(judgements, scoring.load_rubric(RUBRIC))
    methods = believed(lambda: {method: summary(case, method) for method in Method}) or {}
    environment = believed(lambda: case.evidence.environment) or {}
    claimed = believed(lambda: claims(case, methods)) or ()
    run = case.evidence.run
    result = Result(
        schema=1,
        submission=run.submission,
        profile=case.profile,
        seed=run.conditions.seed,
        calibration=case.calibration.name if case.calibration else None,
        sandbox=run.conditions.sandbox,
        run=summary_of_run(case.evidence),
        score=scoring.score(checks, run.summary.status),
        checks=checks,
        methods=methods,
        claims=claimed,
        environment={**environment, **_conditions(case)},
        timings={**run.timings, "judging": round(time.perf_counter() - began, 3)},
    )
    return Graded(result, details(case, judgements))


def fair(judgements: tuple[Judgement, ...], evidence: Evidence) -> tuple[Judgement, ...]:
    """What the judgements are worth: a run that we broke costs nothing, one that reaches into the grader gains nothing.

    The witness shares a process with the notebook, and its word is worth no more than that process is.
    """
    if evidence.run.summary.status is RunStatus.INFRA_ERROR:
        return tuple(map(excused, judgements))
    return tuple(map(held, judgements)) if tampering.touched(evidence.sources) else judgements


def believed(ask: Callable[[], Told]) -> Told | None:
    """What evidence says, or None where it is malformed; the checks that need it say so."""
    try:
        return ask()
    except ProtocolViolation:
        return None


def summary_of_run(evidence: Evidence) -> RunSummary:
    """How the run went, in the light of what it left."""
    status = RunStatus.PROTOCOL_VIOLATION if evidence.violations else evidence.run.summary.status
    return evidence.run.summary.model_copy(update={"status": status})


def make_case(evidence_folder: Path, used: Setup) -> Case:
    """Evidence beside the oracle for it."""
    return Case(Evidence(evidence_folder), oracle(used))


def oracle(used: Setup) -> Oracle:
    """The trusted side: made lazily, since most of it is needed by few checks."""
    calibrations = cache(lambda: calibration.load(CALIBRATIONS))

    def meter(evidence: Evidence) -> Meter:
        return make_meter(used, evidence.profile)

    def find(evidence: Evidence) -> calibration.Calibration | None:
        c = evidence.run.conditions
        return calibration.find(calibrations(), c.profile, c.budget, c.checkpoint_sha256, c.reviews_sha256)

    return Oracle(
        base_weights=used.checkpoint.weights,
        meter=meter,
        library=cache(lambda: Library(used.reviews, _tokenizer(used.checkpoint))),
        calibration=find,
    )


def make_meter(used: Setup, profile: Profile) -> Meter:
    """How accuracy is measured under a profile."""
    return Meter(
        heldout=used.reviews.heldout,
        snapshot=used.checkpoint.weights.parent,
        base_sha256=used.checkpoint.sha256,
        reviews_sha256=used.reviews.sha256,
        max_tokens=profiles.measured_tokens(profile),
        bfloat16=used.bfloat16,
        cache=cache_folder(ROOT, os.environ) / "accuracy",
    )


def _tokenizer(checkpoint: Checkpoint) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(checkpoint.weights.parent)


def summary(case: Case, method: Method) -> MethodSummary:
    """One row of the comparison."""
    training = case.training(method)
    if training is None:
        return MethodSummary()
    return MethodSummary(
        trainable_parameters=training.entry.trainable,
        accuracy=case.accuracy(method),
        threshold=case.threshold(method),
        train_s=round(training.seconds, 2) if training.finished else None,
        steps=training.steps if training.finished else None,
    )


def claims(case: Case, methods: Mapping[Method, MethodSummary]) -> tuple[Claim, ...]:
    """What the submitted file's own outputs say, beside what was measured."""
    comparable = case.profile is Profile.FULL
    return match_claims(read_claims(case.evidence.submitted), places(case), methods, accuracy_comparable=comparable)


def places(case: Case) -> list[tuple[Method, int]]:
    """In which cell each method was trained, as far as that is known."""
    cells = case.evidence.run.training_cells
    return [(m, cells[t.index]) for m, t in case.placed.items() if t.index in cells]


def details(case: Case, judgements: tuple[Judgement, ...]) -> StaffDetails:
    """What the staff report shows beyond the result."""
    placed = believed(lambda: case.placed) or {}
    curves = {m: tuple(curve(t.log)) for m, t in placed.items()}
    return StaffDetails(cells=case.evidence.run.cells, curves=curves, notes=tuple(notes(case, judgements)))


def curve(log: Iterable[LogEntry]) -> list[CurvePoint]:
    """The training log as points to plot."""
    return [
        CurvePoint(step=int(entry.step), loss=entry.loss, eval_accuracy=entry.eval_accuracy)
        for entry in log
        if entry.step is not None and (entry.loss is not None or entry.eval_accuracy is not None)
    ]


def notes(case: Case, judgements: tuple[Judgement, ...]) -> list[str]:
    """Flags for a human."""
    found = [f"{j.id}: {j.fault}" for j in judgements if j.fault]
    if case.evidence.run.reason:
        found.append(f"The run ended: {case.evidence.run.reason}.")
    found += [f"Malformed evidence: {what}." for what in case.evidence.violations]
    found += [f"Not taken as evidence: {what}." for what in case.evidence.run.refused]
    found += [f"Cell {n + 1} came too early and was run again after the last one." for n in case.evidence.run.belated]
    found += tampering.touched(case.evidence.sources)
    found += _typed_in(case)
    found += believed(lambda: _printed_otherwise(case)) or []
    if case.evidence.run.conditions.synthetic:
        found.append("The reviews are synthetic: accuracies say nothing about real ones.")
    return found + (believed(lambda: notes_on_trainings(case)) or [])


def notes_on_trainings(case: Case) -> list[str]:
    """Flags about what was trained and evaluated, and how."""
    found = []
    if any(t.via == "loop" for t in case.placed.values()):
        found.append("A training loop without Trainer was recorded.")
    found += [
        f"Training {number + 1} could not be recorded in full: {error.type}: {error.message}"
        for number, training in enumerate(case.evidence.trainings)
        if (error := training.unrecorded)
    ]
    seen = len(case.evidence.trainings)
    if seen > len(Method):
        found.append(f"{seen} trainings were seen; the last finished one of each method was judged.")
    judged_on_own = [method.value for method, training in case.placed.items() if _judged_on_own(case, training)]
    if judged_on_own:
        found.append(f"After training, the notebook evaluated on training reviews only: {', '.join(judged_on_own)}.")
    return found


def _judged_on_own(case: Case, training: Training) -> bool:
    """Whether the notebook evaluated a trained model, and on nothing but reviews that it had learned from."""
    return bool(training.evaluations) and all(_learned(case, training, seen) for seen in training.evaluations)


def _learned(case: Case, training: Training, judged: RowKeys | None) -> bool:
    known = case.library.recognised(judged)
    return known is not None and known.train > KNOWN_SHARE and not held_back(training.data.train, judged)


def _typed_in(case: Case) -> list[str]:
    """Accuracies that are the same after the shorter training of this profile."""
    executed = case.evidence.executed
    if case.profile is Profile.FULL or executed is None:
        return []
    return [
        f"Cell {claim.cell + 1} printed the accuracy {claim.value:.4g} when handed in and again after another amount "
        "of training: it may be typed in."
        for claim in repeated(case.evidence.submitted, executed)
    ]


def _printed_otherwise(case: Case) -> list[str]:
    """Figures that the notebook printed in this run, and that are not what was measured in it."""
    executed = case.evidence.executed
    if executed is None:
        return []
    measured = {method: summary(case, method) for method in Method}
    rows = profiles.evaluated_rows(case.profile)
    return [
        f"Cell {c.cell + 1} printed {c.claimed:,.10g} {WORDS[c.quantity]} for {c.method.value} in this run; measured: "
        f"{c.measured:,.10g}."
        for c in contradicted(executed, places(case), measured, rows)
    ]


WORDS = {"accuracy": "as the accuracy", "trainable_parameters": "trainable parameters"}


def _conditions(case: Case) -> dict[str, str]:
    c = case.evidence.run.conditions
    return {"checkpoint": c.checkpoint, "reviews": c.reviews, "precision": c.precision, "grader": c.grader}


def failed(result: Result) -> bool:
    """Whether any check failed or was blocked."""
    return any(check.verdict in (Verdict.FAILED, Verdict.BLOCKED) for check in result.checks)


def structure_case(notebook: Path) -> Case:
    """Execute a notebook in profile `structure` and make a case of it, for plain pytest."""
    submission = read_submission(notebook)
    held = ExitStack()
    atexit.register(held.close)  # evidence is read when a check asks for it
    folder = held.enter_context(temporary_folder("a4-case-"))
    with setup(Profile.STRUCTURE, DEFAULT_SEED, Backend.NONE) as used:
        execute(submission, used, folder / "evidence")
        return make_case(folder / "evidence", used)


def at_seed(used: Setup, seed: int) -> Setup:
    """The same setup with another seed."""
    return replace(used, seed=seed)
