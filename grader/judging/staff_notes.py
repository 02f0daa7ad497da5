"""Flags for staff, a sentence each, about what a person should look at in a submission. They change no points."""

from collections.abc import Iterator

from grader.execution import profiles
from grader.judging import foreign_packages
from grader.judging.case import Case, locate_trainings, read_or_none, summarise_method
from grader.judging.claims import find_repetitions, match_claims, read_claims
from grader.judging.runner import Judgement
from grader.judging.suspicion import find_changes, find_drifts, find_intrusions
from grader.model import Method, Profile, RunStatus
from grader.oracle.exposure import KNOWN_SHARE, is_held_back
from grader.protocol.records import RowKeys, Training

WORDS = {"accuracy": "as the accuracy", "trainable_parameters": "trainable parameters"}


def find_notes(case: Case, judgements: tuple[Judgement, ...]) -> Iterator[str]:
    """Yield the flags of a judged case."""
    run = case.evidence.run
    yield from (f"“{j.title}”: {j.fault}" for j in judgements if j.fault)
    yield from run.repairs
    if run.reason and run.summary.status is RunStatus.STUDENT_ERROR:  # the cells below ran as well
        yield f"{run.reason[0].upper()}{run.reason[1:]}."
    elif run.reason:
        yield f"The run ended early: {run.reason}."
    yield from (f"A fault of the grader beside the notebook, in {what}." for what in run.faults)
    yield from (f"Malformed evidence: {what}." for what in case.evidence.violations)
    yield from (f"Not accepted as evidence: {what}." for what in run.refused)
    yield from (
        f"Cell {n + 1} uses names from a later cell and ran again after the last cell." for n in run.out_of_order
    )
    yield from find_intrusions(case.evidence)
    yield from read_or_none(lambda: find_drifts(case)) or ()
    yield from find_changes(case.evidence)
    yield from foreign_packages.find_notes(case.evidence)
    yield from _find_typed_in(case)
    yield from read_or_none(lambda: list(_find_contradictions(case))) or ()
    if run.conditions.synthetic:
        yield "The reviews are synthetic: accuracies say nothing about real ones."
    yield from read_or_none(lambda: list(find_training_notes(case))) or ()


def find_training_notes(case: Case) -> Iterator[str]:
    """Yield the flags about what was trained and evaluated, and how."""
    if any(training.via == "loop" for training in case.placed.values()):
        yield "The notebook trains with its own loop instead of `Trainer`."
    for number, training in enumerate(case.evidence.trainings):
        if error := training.unrecorded:
            yield f"Training {number + 1} is not recorded in full: {error.type}: {error.message}"
        if number in case.idle:
            yield f"Training {number + 1} does not count: {case.idle[number]}."
    seen = len(case.evidence.trainings)
    if seen > len(Method):
        yield f"The notebook trains {seen} times; the last finished training of each method is judged."
    learned = [
        method.value
        for method, training in case.placed.items()
        if training.evaluations and all(_has_learned(case, training, judged) for judged in training.evaluations)
    ]
    if learned:
        yield f"After training, the notebook evaluates on training reviews only: {', '.join(learned)}."


def _has_learned(case: Case, training: Training, judged: RowKeys | None) -> bool:
    known = case.library.recognise(judged)
    return known is not None and known.train > KNOWN_SHARE and not is_held_back(training.data.train, judged)


def _find_typed_in(case: Case) -> Iterator[str]:
    """Yield accuracies that are the same after the shorter training of this profile."""
    executed = case.evidence.executed
    if case.profile is not Profile.FULL and executed is not None:
        for claim in find_repetitions(case.evidence.submitted, executed):
            yield (
                f"Cell {claim.cell + 1} printed the accuracy {claim.value:.4g} when handed in, and prints it again "
                "after another amount of training: it may be typed in."
            )


def _find_contradictions(case: Case) -> Iterator[str]:
    """Yield figures that the notebook printed in this run, and that are not what was measured in it."""
    executed = case.evidence.executed
    if executed is None:
        return
    measured = {method: summarise_method(case, method) for method in Method}
    rows = profiles.count_evaluated_rows(case.profile)
    for c in match_claims(read_claims(executed), locate_trainings(case), measured, rows):
        if c.agrees is False:
            yield (
                f"Cell {c.cell + 1} prints {c.claimed:,.10g} {WORDS[c.quantity]} for {c.method.value} in this run; "
                f"{c.measured:,.10g} is measured."
            )
