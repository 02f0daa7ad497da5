"""Where a cell failed, and what was never trained."""

import ast
import re
from collections.abc import Sequence
from typing import Final

from grader.judging.case import Case
from grader.judging.places.code import FUNCTIONS, Code, Spot, Step, calls, list_nodes, make_spot, name_of
from grader.judging.places.lora_layer import find_raising, find_silent_forward
from grader.judging.places.notebook import Finder, Notebook
from grader.model import FailedCell, Method
from grader.protocol.records import Raised

IS_NONE: Final = re.compile(r"'NoneType' object|requires either a `model`")  # Python's words, and those of a `Trainer`
UNDEFINED: Final = re.compile(r"^name '([^']+)' is not defined")
NOT_A_MODULE: Final = re.compile(r"^cannot assign '(?:\w+\.)*(\w+)'.* as child module")  # PyTorch's words
DATA: Final = {  # what an error of a library says about the reviews -> what such a line calls, or gives as a keyword
    "did not return a loss": ("remove_columns", "select_columns"),
    "features (`review`": ("remove_unused_columns",),
    "that includes input_ids": ("map",),
}
MESSAGE_MAX: Final = 40  # characters of two messages that are compared: records cut them differently


def find_failure(notebook: Notebook) -> Spot | None:
    """Find the line of the first cell that failed, or the `Trainer` of a step that trains nothing."""
    failed = notebook.case.evidence.run.summary.failed_cells
    if stopped := _find_stopped(notebook):
        return stopped
    if not failed:
        missing = [method for method in Method if notebook.case.training(method) is None]
        return find_untrained(notebook, missing[0]) if missing else None
    return find_missing_return(notebook) or _find_raised(notebook, failed[0])


def _find_raised(notebook: Notebook, failed: FailedCell) -> Spot | None:
    """Return the line behind the error of a failed cell, which another cell may hold: in a class, or where data is."""
    if IS_NONE.search(failed.message) and (silent := find_silent_forward(notebook)):
        return silent
    about = next((names for said, names in DATA.items() if said in failed.message), ())
    if prepared := _find_prepared(notebook.code, about):
        return prepared
    named = NOT_A_MODULE.match(failed.message)
    if named and named[1] in notebook.code.definitions:
        return notebook.code.definitions[named[1]]
    known = (e for e in notebook.list_errors("lora") if _resembles(e, failed))
    if (error := next(known, None)) is not None:
        return find_raising(notebook, "lora", error)
    return _find_frame(notebook, failed.index)


def _find_prepared(code: Code, names: Sequence[str]) -> Spot | None:
    """Return the first line that calls one of these, or gives it as a keyword."""
    nodes = (Spot(cell, node) for cell, tree in code.trees.items() for node in list_nodes(tree))
    given = (s for s in nodes if calls(*names)(s.node) or (isinstance(s.node, ast.keyword) and s.node.arg in names))
    return next(given, None)


def _resembles(error: Raised, failed: FailedCell) -> bool:
    """Return True if a probe and a cell raised the same error, but for its numbers: shapes differ."""
    messages = {re.sub(r"\d+", "", text)[:MESSAGE_MAX] for text in (error.message, failed.message)}
    return error.type == failed.error and len(messages) == 1


def _find_stopped(notebook: Notebook) -> Spot | None:
    """Return the first statement of the cell in which the run was stopped."""
    cells = notebook.case.evidence.run.cells
    late = next((i for i, cell in enumerate(cells) if cell.status in ("timeout", "not_run")), None)
    if late is None or (late == 0 and cells[0].status == "not_run"):
        return None
    stopped = cells[late - (cells[late].status == "not_run")].index
    return next((step for step in notebook.code.steps if step.cell == stopped), None)


def find_missing_return(notebook: Notebook) -> Spot | None:
    """Find where the first failed cell got a None: the result of a function of the notebook that returns nothing."""
    failed = notebook.case.evidence.run.summary.failed_cells
    if not failed or not IS_NONE.search(failed[0].message):
        return None
    code = notebook.code
    raising = next((s for s in code.steps if s.cell == failed[0].index and not code.ran(s)), None)
    if raising is None:
        return None
    earlier = code.steps[: code.steps.index(raising)]
    made = {name: step for step in earlier for name in step.assigned}  # by the last statement that did
    steps = (made[name] for name in sorted(raising.names & set(made)))
    return next((step for step in steps if _assigns_nothing(code, step)), None)


def _assigns_nothing(code: Code, step: Step) -> bool:
    """Return True for `model = freeze(model)` where the function has no `return` with a value."""
    call = getattr(step.node, "value", None)
    function = code.definitions.get(name_of(call.func)) if isinstance(call, ast.Call) else None
    if function is None or not isinstance(function.node, FUNCTIONS):
        return False
    return not function.find(lambda node: isinstance(node, (ast.Return, ast.Yield)) and node.value is not None)


def find_stop_before(method: Method) -> Finder:
    """Return how to find the line that raised and kept statements about a step's model from running."""

    def find(notebook: Notebook) -> Spot | None:
        stopped = _find_stopping_cell(notebook, method)
        return _find_raised(notebook, stopped) if stopped else None

    return find


def find_cell_before(case: Case, method: Method) -> int | None:
    """Return the index of the cell that raised and kept statements about a step's model from running."""
    stopped = _find_stopping_cell(Notebook(case), method)
    return stopped.index if stopped else None


def _find_stopping_cell(notebook: Notebook, method: Method) -> FailedCell | None:
    """Return the failed cell with a statement about a model; where it lacks a name, the one that was to define it.

    Not where such statements only look at the model: an assertion that raises has found the mistake.
    """
    history = notebook.find_history(method)
    steps = (s for s in history.linked if s != history.start and not notebook.code.ran(s)) if history else ()
    steps = (s for s in steps if not _only_looks(s.node))
    failed = {cell.index: cell for cell in notebook.case.evidence.run.summary.failed_cells}
    stopped = next((failed[step.cell] for step in steps if step.cell in failed), None)
    undefined = UNDEFINED.match(stopped.message) if stopped else None
    definition = notebook.code.definitions.get(undefined[1]) if undefined else None
    return failed.get(definition.cell, stopped) if definition else stopped


def _only_looks(node: ast.AST) -> bool:
    """Return True for an assertion, and for what shows something."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(node, ast.Assert) or isinstance(value, ast.Name) or calls("print", "display")(value or node)


def find_first_failure(notebook: Notebook) -> Spot | None:
    """Find the line of the first cell that failed."""
    if (nothing := find_missing_return(notebook)) is not None:
        return nothing
    failed = notebook.case.evidence.run.summary.failed_cells
    return _find_raised(notebook, failed[0]) if failed else None


def _find_frame(notebook: Notebook, cell: int) -> Spot | None:
    """Return the line of the notebook that raised; where a library did, the line of the failed cell that led there."""
    frames = notebook.list_frames(cell)
    if not frames:
        return None
    own = "\nFile " not in notebook.read_traceback(cell).rpartition("Cell In[")[2]
    count, line = frames[-1] if own else frames[0]
    codes = list(notebook.code.sources)
    position = codes.index(cell) + count - frames[0][0] if cell in codes else -1
    return make_spot(codes[position], line) if 0 <= position < len(codes) else make_spot(cell, frames[0][1])


def find_untrained(notebook: Notebook, method: Method) -> Spot | None:
    """Find the `Trainer` that trains nothing, for a method without a training."""
    placed = notebook.case.placed
    known = [h.start for other in Method if other in placed and (h := notebook.find_history(other))]
    untrained = notebook.trainings.list_untrained(known)
    missing = [other for other in Method if other not in placed]
    return untrained[missing.index(method)] if len(untrained) == len(missing) and method in missing else None
