"""The notebook as a whole."""

from grader import assignment
from grader.judging.case import Case
from grader.judging.suite import Advice, check, fail, join_words
from grader.model import Method, RunStatus

ORDER = "Move definitions above the cells that use them, and see that 'Restart and run all' works."
FIRST = "Mend the first error first; later ones often follow from it."
NAMES = {Method.FULL: "step 1 (all parameters)", Method.HEAD: "step 2 (head only)", Method.LORA: "step 3 (LoRA)"}


@check("run.completes", "The notebook runs from top to bottom")
def test_completes(case: Case) -> None:
    """All cells run in order in a fresh kernel, within the time limit, and each of the three trainings ends.

    A leftover cell that fails, with nothing depending on it, is mentioned but costs nothing. So is a cell that uses a
    name which is defined further down: it is run again after the last cell.
    """
    summary = case.evidence.run.summary
    if summary.status not in (RunStatus.OK, RunStatus.STUDENT_ERROR):
        fail(
            f"The notebook was to run to its end; it did not: {case.evidence.run.reason}.",
            "Restart the kernel, choose 'Run all', and see that every cell ends.",
        )
    missing = [NAMES[m] for m in Method if (t := case.training(m)) is None or not t.finished]
    if not summary.failed_cells:
        if missing:
            fail(
                f"Three trainings were to run; none that ends was seen for {join_words(missing)}.",
                "Call trainer.train() once in every step.",
            )
        if case.evidence.run.out_of_order:
            raise Advice(f"Everything that is graded ran, but {order(case)}", ORDER)
        return
    first = summary.failed_cells[0]
    what = (
        f"cell {first.index + 1} raised {first.error}: {first.message}"
        if first.message
        else f"cell {first.index + 1} raised {first.error}"
    )
    if missing:
        fail(
            f"All cells were to run without an error; {what}. No finished training was seen for {join_words(missing)}.",
            FIRST,
        )
    if case.evidence.run.out_of_order:
        raise Advice(f"Everything that is graded ran, but {what}, and {order(case)}", ORDER)
    if not nothing_depends_on_it(case):
        raise Advice(f"All cells were to run without an error; {what}.", FIRST)
    raise Advice(f"Everything that is graded ran, but {what}.", "Remove leftover cells before you hand in.")


def nothing_depends_on_it(case: Case) -> bool:
    """Whether the cells that raised hold nothing that is asked for, and step 3 got its adapters."""
    lora = case.training(Method.LORA)
    asked_for = [name for names in assignment.LOOKED_FOR.values() for name in names]
    return lora is not None and lora.wrapped and case.evidence.find_failed_definition(asked_for) is None


def order(case: Case) -> str:
    """Which cells only ran because they were run again."""
    numbers = [str(index + 1) for index in case.evidence.run.out_of_order]
    cells = f"{'cell' if len(numbers) == 1 else 'cells'} {join_words(numbers)}"
    return f"{cells} ran only once the rest had run: names that are used there are defined further down."
