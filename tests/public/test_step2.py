"""Step 2: training the classification head only."""

from grader import assignment
from grader.judging import places
from grader.judging.case import Case
from grader.judging.suite import check, expect_reached, fail
from grader.model import Method
from grader.oracle.methods import name_wrong_count, starts_elsewhere
from grader.oracle.mistakes import freezing
from grader.oracle.mistakes.causes import Cause, capitalise, first_hint, join_causes
from grader.protocol.records import Training
from grader.protocol.tensor_names import ENCODER


@check(
    "step2.trainable_parameters",
    "Step 2 trains only the head",
    about=places.find_trainable(Method.HEAD),
    training=Method.HEAD,
)
def test_trainable_parameters(case: Case) -> None:
    """When the training of step 2 starts, 592,130 parameters are trainable: those of the head.

    The head is `pre_classifier` and `classifier`.
    """
    training = case.training(Method.HEAD)
    if training is None:
        fail(
            f"Expected a training of the head alone in step 2; found none.{case.explain_absence()}",
            "Load the model again, freeze its encoder, give the model to a new `Trainer`, and call `trainer.train()`.",
        )
    if training.entry.trainable == assignment.HEAD_PARAMETERS:
        return
    rationale = (
        f"Expected {assignment.HEAD_PARAMETERS:,} trainable parameters when the training of step 2 starts; "
        f"found {training.entry.trainable:,}."
    )
    expect_reached(case, Method.HEAD, rationale)
    labels = assignment.count_surplus_labels(training.entry.trainable, assignment.HEAD_PARAMETERS)
    anew = _goes_on(case, training)
    hint = ANEW if anew else first_hint(_list_causes(case, training), freezing.ON_PARAMETERS)
    fail(
        f"{rationale}{_cause(case, training)}{' The model was trained before, in an earlier step.' if anew else ''}",
        LABELS if labels else hint,
        cause=name_wrong_count(training.entry, assignment.HEAD_PARAMETERS),
    )


LABELS = "Load 'distilbert-base-uncased' with `num_labels=2` in every step."

ANEW = "Load the model again, freeze the parameters of its encoder, and give this model to the `Trainer` of step 2."


def _goes_on(case: Case, training: Training) -> bool:
    """Whether a training leaves everything trainable, in a model that an earlier one has tuned."""
    first = case.evidence.trainings[0]
    everything = freezing.explain_both(training.entry.trainable_names, list(case.base)) == (freezing.NOTHING_FROZEN,)
    return everything and starts_elsewhere(training.entry) and not starts_elsewhere(first.entry)


def _cause(case: Case, training: Training) -> str:
    """The reason, where the number or the names show one, as sentences."""
    if labels := assignment.count_surplus_labels(training.entry.trainable, assignment.HEAD_PARAMETERS):
        return f" A model with num_labels={2 + labels} has this number."
    causes, below = _list_causes(case, training), _list_below(training)
    named = f" {capitalise(join_causes(causes))}." if causes else ""
    return named + (f" {len(below)} encoder tensors are trainable, for example `{below[-1]}`." if below else "")


def _list_causes(case: Case, training: Training) -> tuple[Cause, ...]:
    names = training.entry.trainable_names
    encoder = [name for name in case.base if name.startswith(ENCODER)]
    causes = freezing.explain_spelling(freezing.explain_both(names, encoder), case.evidence.sources.values())
    if not _list_below(training) and len(causes) != 1 and names:
        return freezing.explain_number(training.entry.trainable)
    return causes


def _list_below(training: Training) -> list[str]:
    return [name for name in training.entry.trainable_names if name.startswith(ENCODER)]
