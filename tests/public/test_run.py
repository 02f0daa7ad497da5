"""The notebook as a whole."""

from collections.abc import Sequence

from grader import assignment
from grader.judging import places
from grader.judging.case import Case
from grader.judging.suite import Advice, check, expect, fail, join_words
from grader.model import Method, RunStatus
from grader.oracle.exposure import ENOUGH_SHARE, count_epochs
from grader.oracle.methods import name_wrong_count

ORDER = "Move each definition above the cells that use it. Then restart the kernel and run all cells."
FIRST = "Fix the first error first; later errors often follow from it."
FIX_OR_REMOVE = "Fix or remove this cell before you hand in."
DOUBTS = {
    "AssertionError": "Find out why the assertion does not hold: it can be the first sign of a mistake in this cell or "
    "above it."
}
HINTS = {  # what an error of a library says, and what to do about it
    "did not return a loss": "Keep the column `label` in both sections of the data; the loss is computed from it.",
    "features (`review`": "Leave out `remove_unused_columns=False`, or remove the column `review`: it holds text.",
    "that includes input_ids": "Map the tokenizer over both sections of the data, and give the `Trainer` these.",
    "does not require grad": "Leave `pre_classifier` and `classifier` trainable: every parameter is frozen.",
}
NAMES = {Method.FULL: "step 1 (all parameters)", Method.HEAD: "step 2 (head only)", Method.LORA: "step 3 (LoRA)"}


@check("run.completes", "The notebook runs from top to bottom", about=places.find_failure)
def test_completes(case: Case) -> None:
    """All cells run in order in a fresh kernel, within the time limit, and each of the three trainings finishes.

    A leftover cell that fails is mentioned but costs nothing if no other cell depends on it. A cell that uses a name
    from a later cell is mentioned too and costs nothing: the grader runs it again after the last cell.
    """
    summary = case.evidence.run.summary
    if summary.status not in (RunStatus.OK, RunStatus.STUDENT_ERROR):
        fail(
            f"Expected the notebook to run to the end; it stops early: {case.evidence.run.reason}.",
            "Restart the kernel, run all cells, and fix the cell that does not finish.",
        )
    expect_whole_training(case)
    unfinished = [method for method in Method if (t := case.training(method)) is None or not t.finished]
    missing = [NAMES[method] for method in unfinished]
    if not summary.failed_cells:
        if missing:
            fail(
                f"Expected one finished training in each of the three steps; found none for {join_words(missing)}."
                f"{case.explain_absence()}",
                "Call `trainer.train()` once in every step.",
            )
        if case.evidence.run.out_of_order:
            raise Advice(f"Everything that is graded runs, but {order(case)}.", ORDER)
        return
    first = summary.failed_cells[0]
    message = first.message.rstrip(". ")
    what = (
        f"cell {first.index + 1} raises {first.error}: {message}"
        if message
        else f"cell {first.index + 1} raises {first.error}"
    )
    if missing:
        fail(
            f"Expected all cells to run without an error; {what}. No training finishes for {join_words(missing)}."
            f"{case.explain_absence()}",
            next((hint for said, hint in HINTS.items() if said in message), explain_none(case) or FIRST),
            at=places.find_trainable(unfinished[0]) if name_frozen(case, unfinished) else None,
            cause=name_frozen(case, unfinished),
        )
    if case.evidence.run.out_of_order:
        raise Advice(f"Everything that is graded runs, but {what}, and {order(case)}.", ORDER)
    if not nothing_depends_on_it(case):
        raise Advice(f"All three trainings finish, but {what}.", FIRST)
    raise Advice(f"Everything that is graded runs, but {what}.", DOUBTS.get(first.error, FIX_OR_REMOVE))


def name_frozen(case: Case, unfinished: Sequence[Method]) -> str:
    """Name the cause where nothing can be trained in the one training that does not finish: its own step names it."""
    training = case.training(unfinished[0])
    return (
        name_wrong_count(training.entry, 1)
        if len(unfinished) == 1 and training and not training.entry.trainable
        else ""
    )


def explain_none(case: Case) -> str:
    """What to try where the first failed cell got the result of a function that returns nothing; otherwise empty."""
    if places.locate(case, places.find_missing_return) is None:
        return ""
    return (
        "The function that is called there returns nothing, so the name on the left becomes None: call it without "
        "assigning its result, or give it a `return`."
    )


def expect_whole_training(case: Case) -> None:
    """Fail the check where a training works only because the grader trains less than the notebook asks for."""
    for method, training in case.placed.items():
        share, rate = count_epochs(training), training.arguments.get("learning_rate")
        read = f"{NAMES[method]} reads {share or 0:.0%} of them"
        expect(
            share is None or share >= ENOUGH_SHARE,
            f"Expected each training to read its reviews at least once; {read}.",
            "Set `num_train_epochs` to 1 or more, and leave out `max_steps`.",
        )
        expect(
            rate is None or rate > 0,
            f"Expected each training to change its model; in {NAMES[method]} the learning rate is {rate or 0:g}.",
            "Leave out `learning_rate`, or set it to something like 5e-5 for the whole model and 1e-3 for a part.",
        )
        longest = training.batch.tokens if training.batch else 0
        expect(
            longest <= assignment.MAX_TOKENS,
            f"Expected every review to be cut to the {assignment.MAX_TOKENS} tokens that DistilBERT has positions for; "
            f"the longest in {NAMES[method]} has {longest:,}. A whole training stops there with an error.",
            "Call the tokenizer with `truncation=True`.",
        )
        expect(
            training.batch is None or not training.batch.unequal,
            f"Expected reviews of different length to be padded, so that they fit into one batch; in {NAMES[method]} "
            "they are not. A whole training stops there with an error.",
            "Give the `Trainer` `processing_class=tokenizer`, which pads every batch to its longest review.",
            at=places.find_trainer(method),
        )


def nothing_depends_on_it(case: Case) -> bool:
    """Whether the failed cells define nothing that is asked for, and step 3 trains with adapters."""
    lora = case.training(Method.LORA)
    asked_for = [name for names in assignment.LOOKED_FOR.values() for name in names]
    return lora is not None and bool(lora.entry.wrapped) and case.evidence.find_failed_definition(asked_for) is None


def order(case: Case) -> str:
    """Which cells work only when they run again after the last cell."""
    numbers = [str(index + 1) for index in case.evidence.run.out_of_order]
    cells = f"cell {numbers[0]} uses" if len(numbers) == 1 else f"cells {join_words(numbers)} use"
    return f"{cells} names that only a later cell defines"
