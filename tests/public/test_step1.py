"""Step 1: fine-tuning all parameters."""

from grader import assignment
from grader.challenges import ToyModel
from grader.evidence.raised import describe_error
from grader.judging import places
from grader.judging.case import Case
from grader.judging.suite import Blocked, check, expect, expect_defined, fail, name_type, suggest_hint
from grader.model import Method
from grader.oracle.methods import name_wrong_count
from grader.oracle.mistakes import counting, freezing
from grader.oracle.mistakes.causes import first_hint, join_causes
from grader.protocol.records import CountAnswers, CountItem, Training
from grader.protocol.tensor_names import ENCODER


@check("step1.count_function", "count_trainable_parameters counts trainable parameters", about=places.find_count)
def test_count_function(case: Case) -> None:
    """`count_trainable_parameters(model)` returns, as an int, how many single numbers in a model are trainable.

    The check calls it on small models: with frozen parts, without parameters, with a layer used twice, with buffers.
    """
    answers = case.evidence.count
    if answers is None:
        if case.evidence.interrupted:
            raise Blocked(
                "The notebook stops before `count_trainable_parameters` can be called.",
                "Make the notebook run to the end first.",
            )
        fail(
            "Expected `count_trainable_parameters` to return a number for each small model; the call does not finish.",
            "Use one sum over `model.parameters()`; nothing else is needed.",
        )
    expect_defined(
        case,
        answers.found,
        assignment.COUNT_NAMES,
        "Expected a function `count_trainable_parameters(model)` in the notebook; found none.",
        "Define it with exactly this name, outside any other function.",
    )
    for toy, item in zip(case.challenges.toys, answers.items, strict=False):
        expect_count(case, answers, toy, item)
    expect(
        len(answers.items) == len(case.challenges.toys),
        "Expected an answer for every small model; some answers are missing.",
        "Return a number for every model, also for a model without parameters.",
    )


def expect_count(case: Case, answers: CountAnswers, toy: ToyModel, item: CountItem) -> None:
    """Compare the answer to one small model with the number that is right for it."""
    wanted = f"Expected `{answers.found}` to return {toy.trainable:,} for {toy.words}"
    expect(
        item.error is None,
        f"{wanted}; it raises {describe_error(item.error)}.",
        suggest_hint(item.error, "Use only `model.parameters()`: the argument can be any `nn.Module`."),
    )
    causes = counting.explain(case.challenges.toys, answers.items)
    cause = f": {join_causes(causes)}" if causes else ""
    if item.value is None and causes:
        fail(f"{wanted}; it returns {name_type(item.type)} that is no whole number{cause}.", causes[0].hint)
    if item.value is None:
        printed = f" and prints {item.printed.strip()[:60]!r}" if item.printed.strip() else ""
        fail(
            f"{wanted}; it returns {name_type(item.type)}{printed}.",
            "Return the number as an `int`; printing it is not enough.",
        )
    expect(
        item.value == toy.trainable,
        f"{wanted}; it returns {item.value:,}{cause}.",
        first_hint(causes, counting.ADD_UP),
    )


@check(
    "step1.trainable_parameters",
    "Step 1 trains all parameters",
    about=places.find_trainable(Method.FULL),
    training=Method.FULL,
)
def test_trainable_parameters(case: Case) -> None:
    """When the training of step 1 starts, all 66,955,010 parameters of the model are trainable."""
    training = case.training(Method.FULL)
    if training is None:
        fail(
            f"Expected a training of all parameters in step 1; found none.{case.explain_absence()}",
            "Build a `Trainer` with a freshly loaded model and call `trainer.train()`.",
        )
    expect(
        training.entry.trainable == assignment.FULL_PARAMETERS,
        f"Expected {assignment.FULL_PARAMETERS:,} trainable parameters when the training of step 1 starts; "
        f"found {training.entry.trainable:,}{cause_of_trainable(case, training)}",
        "Load 'distilbert-base-uncased' with `num_labels=2`, and freeze nothing in step 1.",
        cause=name_wrong_count(training.entry, assignment.FULL_PARAMETERS),
    )


def cause_of_trainable(case: Case, training: Training) -> str:
    """The likely reason, where the number or the names show one, as the end of a sentence."""
    if labels := assignment.count_surplus_labels(training.entry.trainable, assignment.FULL_PARAMETERS):
        return f". A model with num_labels={2 + labels} has this number."
    encoder = [name for name in case.base if name.startswith(ENCODER)]
    frozen = [name for name in case.base if name not in training.entry.trainable_names]
    causes = freezing.explain_frozen(frozen, encoder)
    named = f": {join_causes(causes)}." if causes else "."
    return f"{named} {len(frozen)} encoder tensors are frozen, for example `{frozen[0]}`." if frozen else named
