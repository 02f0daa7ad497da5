"""Step 1: fine-tuning all parameters."""

from grader import assignment
from grader.evidence.reader import CountAnswers, Training
from grader.judging.case import Case
from grader.judging.definitions import expect_defined
from grader.judging.suite import Blocked, check, expect, fail, name_type, suggest_hint
from grader.model import Method


@check("step1.count_function", "count_trainable_parameters counts what training would change")
def test_count_function(case: Case) -> None:
    """`count_trainable_parameters(model)` returns the number of single trainable numbers in a model, as an int.

    Tried on small models: with frozen parts, without parameters, with a layer used twice, with buffers.
    """
    answers = case.evidence.count
    if answers is None:
        if case.evidence.interrupted:
            raise Blocked("The notebook did not get far enough to try the function.")
        fail(
            "count_trainable_parameters was to answer for small models; it did not come back.",
            "It needs one sum over model.parameters().",
        )
    expect_defined(
        case,
        answers.found,
        assignment.COUNT_NAMES,
        "The notebook was to define count_trainable_parameters(model); no such function was found.",
        "Define it under exactly this name, outside of any other function.",
    )
    for toy, item in zip(case.challenges.toys, answers.items, strict=False):
        expect(
            item.error is None,
            f"On {toy.words}, {answers.found} raised {item.error}.",
            suggest_hint(str(item.error), "It gets any nn.Module and may use model.parameters() only."),
        )
        if item.value is None:
            printed = f" and printed {item.printed.strip()[:60]!r}" if item.printed.strip() else ""
            returned = f"{name_type(item.type)}{printed}"
            fail(
                f"On {toy.words}, {answers.found} was to return {toy.trainable:,}; it returned {returned}.",
                "Return the number as an int; printing it is not enough.",
            )
        expect(
            item.value == toy.trainable,
            f"On {toy.words}, {answers.found} was to return {toy.trainable:,}; it returned {item.value:,}"
            f"{cause_of_number(case, answers)}.",
            "Add up p.numel() over model.parameters(), for those p that have requires_grad.",
        )
    expect(
        len(answers.items) == len(case.challenges.toys),
        "The function was to answer for every model; some answers are missing.",
    )


def cause_of_number(case: Case, answers: CountAnswers) -> str:
    """The likely reason, where all the answers together show one."""
    pairs = list(zip(case.challenges.toys, (item.value for item in answers.items), strict=False))
    if len({value for _, value in pairs}) == 1:
        return "; it returns the same number for every model"
    names = case.challenges.toys[0].wrong_counts
    return next((f"; {name}" for name in names if all(toy.wrong_counts[name] == value for toy, value in pairs)), "")


@check("step1.trainable_parameters", "Step 1 trains all parameters")
def test_trainable_parameters(case: Case) -> None:
    """When the training of step 1 starts, all 66,955,010 parameters of the model are trainable."""
    training = case.training(Method.FULL)
    if training is None:
        fail(
            "Step 1 was to train the model; no training of all parameters was seen.",
            "Build a Trainer with the freshly loaded model and call trainer.train().",
        )
    expect(
        training.entry.trainable == assignment.FULL_PARAMETERS,
        f"{assignment.FULL_PARAMETERS:,} parameters were to be trainable when training starts; "
        f"there were {training.entry.trainable:,}{cause_of_trainable(case, training)}.",
        "Load 'distilbert-base-uncased' with num_labels=2 and freeze nothing in step 1.",
    )


def cause_of_trainable(case: Case, training: Training) -> str:
    """The likely reason, where the number or the names show one."""
    if labels := assignment.count_surplus_labels(training.entry.trainable, assignment.FULL_PARAMETERS):
        return f", as with num_labels={2 + labels}"
    frozen = [name for name in case.base if name not in training.entry.trainable_names]
    return f": {len(frozen)} tensors below the head are frozen, such as {frozen[0]}" if frozen else ""
