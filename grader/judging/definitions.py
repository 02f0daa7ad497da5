"""What a check says when the notebook does not define a function or class that it needs."""

from grader.judging.case import Case
from grader.judging.suite import fail


def expect_defined(case: Case, found: str | None, names: tuple[str, ...], missing: str, hint: str) -> None:
    """Fail the check when no definition has one of these names. `missing` is the sentence that says so.

    When a cell with such a definition raises an error, the rationale names that cell and the hint is about it.
    """
    if found is not None:
        return
    cell = case.evidence.find_failed_definition(names)
    if cell is None:
        fail(missing, hint)
    raised = f"{cell.error}: {cell.message}" if cell.message else cell.error
    fail(
        f"{missing} Cell {cell.index + 1} defines it, but raises {raised}.",
        "Fix that cell, then run the notebook again.",
    )
