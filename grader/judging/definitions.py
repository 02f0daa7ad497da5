"""Functions and classes that the notebook was to define: what to say where there is none."""

from grader.judging.case import Case
from grader.judging.suite import fail


def expect_defined(case: Case, found: str | None, names: tuple[str, ...], missing: str, hint: str) -> None:
    """Fail the check where a probe found nothing of these names. `missing` is the sentence that says so.

    Where a cell that holds a definition raised, that is the reason, and the name is not at fault.
    """
    if found is not None:
        return
    cell = case.evidence.find_failed_definition(names)
    if cell is None:
        fail(missing, hint)
    raised = f"{cell.error}: {cell.message}" if cell.message else cell.error
    fail(
        f"{missing} Cell {cell.index + 1} holds it, and raised {raised}.",
        "Mend that cell, then run the notebook again.",
    )
