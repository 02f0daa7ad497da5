"""What a person should look at in a submission: flags, a sentence each. They change no points."""

from grader.execution import profiles
from grader.judging import tampering
from grader.judging.case import Case, locate_trainings, read_or_none, summarise_method
from grader.judging.claims import find_contradictions, find_repetitions
from grader.judging.runner import Judgement
from grader.model import Method, Profile
from grader.oracle.exposure import KNOWN_SHARE, is_held_back
from grader.protocol.records import RowKeys, Training


def list_notes(case: Case, judgements: tuple[Judgement, ...]) -> list[str]:
    """Flags for a human."""
    found = [f"{j.id}: {j.fault}" for j in judgements if j.fault]
    if case.evidence.run.reason:
        found.append(f"The run ended: {case.evidence.run.reason}.")
    found += [f"Malformed evidence: {what}." for what in case.evidence.violations]
    found += [f"Not taken as evidence: {what}." for what in case.evidence.run.refused]
    found += [
        f"Cell {n + 1} came too early and was run again after the last one." for n in case.evidence.run.out_of_order
    ]
    found += tampering.find_tampering(case.evidence.sources)
    found += _find_typed_in(case)
    found += read_or_none(lambda: _find_contradictions(case)) or []
    if case.evidence.run.conditions.synthetic:
        found.append("The reviews are synthetic: accuracies say nothing about real ones.")
    return found + (read_or_none(lambda: list_training_notes(case)) or [])


def list_training_notes(case: Case) -> list[str]:
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
    judged_on_own = [method.value for method, training in case.placed.items() if _is_judged_on_own(case, training)]
    if judged_on_own:
        found.append(f"After training, the notebook evaluated on training reviews only: {', '.join(judged_on_own)}.")
    return found


def _is_judged_on_own(case: Case, training: Training) -> bool:
    """Whether the notebook evaluated a trained model, and on nothing but reviews that it had learned from."""
    return bool(training.evaluations) and all(_has_learned(case, training, seen) for seen in training.evaluations)


def _has_learned(case: Case, training: Training, judged: RowKeys | None) -> bool:
    known = case.library.recognise(judged)
    return known is not None and known.train > KNOWN_SHARE and not is_held_back(training.data.train, judged)


def _find_typed_in(case: Case) -> list[str]:
    """Accuracies that are the same after the shorter training of this profile."""
    executed = case.evidence.executed
    if case.profile is Profile.FULL or executed is None:
        return []
    return [
        f"Cell {claim.cell + 1} printed the accuracy {claim.value:.4g} when handed in and again after another amount "
        "of training: it may be typed in."
        for claim in find_repetitions(case.evidence.submitted, executed)
    ]


def _find_contradictions(case: Case) -> list[str]:
    """Figures that the notebook printed in this run, and that are not what was measured in it."""
    executed = case.evidence.executed
    if executed is None:
        return []
    measured = {method: summarise_method(case, method) for method in Method}
    rows = profiles.count_evaluated_rows(case.profile)
    return [
        f"Cell {c.cell + 1} printed {c.claimed:,.10g} {WORDS[c.quantity]} for {c.method.value} in this run; measured: "
        f"{c.measured:,.10g}."
        for c in find_contradictions(executed, locate_trainings(case), measured, rows)
    ]


WORDS = {"accuracy": "as the accuracy", "trainable_parameters": "trainable parameters"}
