"""Step 2: training the classification head only."""

from grader import assignment
from grader.evidence.reader import Training
from grader.judging.case import Case
from grader.judging.suite import check, expect, fail
from grader.model import Method


@check("step2.trainable_parameters", "Step 2 trains the head and nothing else")
def test_trainable_parameters(case: Case) -> None:
    """When the training of step 2 starts, 592,130 parameters are trainable: `pre_classifier` and `classifier`."""
    training = case.training(Method.HEAD)
    if training is None:
        fail(
            "Step 2 was to train the head of a frozen model; no such training was seen.",
            "Load the model again, freeze it, unfreeze pre_classifier and classifier, and call trainer.train().",
        )
    labels = assignment.count_surplus_labels(training.entry.trainable, assignment.HEAD_PARAMETERS)
    expect(
        training.entry.trainable == assignment.HEAD_PARAMETERS,
        f"{assignment.HEAD_PARAMETERS:,} parameters were to be trainable when training starts; "
        f"there were {training.entry.trainable:,}{_cause(training)}.",
        LABELS
        if labels
        else "Set requires_grad on each parameter: setting it on a module does nothing. "
        "Check with count_trainable_parameters before you train.",
    )


LABELS = "Load 'distilbert-base-uncased' with num_labels=2 in every step."


def _cause(training: Training) -> str:
    if labels := assignment.count_surplus_labels(training.entry.trainable, assignment.HEAD_PARAMETERS):
        return f", as with num_labels={2 + labels}"
    names = training.entry.trainable_names
    heads = {name.split(".")[0] for name in names} & set(assignment.HEAD_MODULES)
    below = [name for name in names if name.startswith("distilbert.")]
    if below:
        return f", {len(below)} tensors below the head among them, such as {below[-1]}"
    absent = [name for name in assignment.HEAD_MODULES if name not in heads]
    return f": {' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} frozen" if absent else ""
