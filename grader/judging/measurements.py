"""What a case shows of each method, as far as its evidence can be believed."""

from collections.abc import Callable
from typing import TypeVar

from grader.evidence.reader import ProtocolViolation
from grader.judging.case import Case
from grader.model import Method, MethodSummary

Told = TypeVar("Told")


def read_or_none(ask: Callable[[], Told]) -> Told | None:
    """What evidence says, or None where it is malformed; the checks that need it say so."""
    try:
        return ask()
    except ProtocolViolation:
        return None


def summarise_method(case: Case, method: Method) -> MethodSummary:
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


def locate_trainings(case: Case) -> list[tuple[Method, int]]:
    """In which cell each method was trained, as far as that is known."""
    cells = case.evidence.run.training_cells
    return [(m, cells[t.index]) for m, t in case.placed.items() if t.index in cells]
