"""Step 2: training the classification head only."""

from grader import assignment
from grader.judging import places
from grader.judging.case import Case
from grader.judging.suite import check, expect, fail
from grader.model import Method
from grader.oracle.methods import name_wrong_count
from grader.protocol.records import Training


@check("step2.trainable_parameters", "Step 2 trains only the head", about=places.find_trainable(Method.HEAD))
def test_trainable_parameters(case: Case) -> None:
    """When the training of step 2 starts, 592,130 parameters are trainable: those of the head.

    The head is `pre_classifier` and `classifier`.
    """
    training = case.training(Method.HEAD)
    if training is None:
        fail(
            "Expected a training of the head alone in step 2; found none.",
            "Load the model again, freeze its encoder, give the model to a new `Trainer`, and call `trainer.train()`.",
        )
    labels = assignment.count_surplus_labels(training.entry.trainable, assignment.HEAD_PARAMETERS)
    expect(
        training.entry.trainable == assignment.HEAD_PARAMETERS,
        f"Expected {assignment.HEAD_PARAMETERS:,} trainable parameters when the training of step 2 starts; "
        f"found {training.entry.trainable:,}.{_cause(training)}",
        LABELS
        if labels
        else "Freeze every parameter except those of `pre_classifier` and `classifier`: set `requires_grad` on each "
        "parameter; on a module it does nothing.",
        cause=name_wrong_count(training.entry, assignment.HEAD_PARAMETERS),
    )


LABELS = "Load 'distilbert-base-uncased' with `num_labels=2` in every step."


def _cause(training: Training) -> str:
    if labels := assignment.count_surplus_labels(training.entry.trainable, assignment.HEAD_PARAMETERS):
        return f" A model with num_labels={2 + labels} has this number."
    names = training.entry.trainable_names
    heads = {name.split(".")[0] for name in names} & set(assignment.HEAD_MODULES)
    below = [name for name in names if name.startswith("distilbert.")]
    if below:
        return f" {len(below)} encoder tensors are trainable, for example `{below[-1]}`."
    absent = [name for name in assignment.HEAD_MODULES if name not in heads]
    frozen = " and ".join(f"`{name}`" for name in absent)
    return f" {frozen} {'is' if len(absent) == 1 else 'are'} frozen." if absent else ""
