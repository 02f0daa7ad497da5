"""Where the cause lies in the class of the LoRA layer."""

import ast
import re
from typing import Final

from grader.judging.places.code import FUNCTIONS, Spot, make_spot
from grader.judging.places.error_code import find_error_line
from grader.judging.places.lora_code import ACTIVATIONS, CUTS, RESHAPES
from grader.judging.places.notebook import Notebook
from grader.protocol.records import Raised

OTHER_SIZE: Final = re.compile("shapes cannot be multiplied|mat1|size mismatch|must match")  # PyTorch's words


def find_class(notebook: Notebook) -> Spot | None:
    """Find the line that keeps a `LoRALayer` from being created: in `__init__`, or where the class has another name."""
    if notebook.find_definition("lora") is None:
        return next((s for s in notebook.code.definitions.values() if _resembles_lora(s.node)), None)
    if errors := notebook.list_errors("lora", "construct"):
        return find_raising(notebook, "lora", errors[0])
    definition = notebook.find_definition("lora")
    failing = notebook.code.failed.get(definition.cell, 0) if definition else 0
    return make_spot(definition.cell, failing) if definition and failing else definition


def _resembles_lora(node: ast.AST) -> bool:
    words = {name.arg for n in ast.walk(node) if isinstance(n, FUNCTIONS) for name in n.args.args}
    return isinstance(node, ast.ClassDef) and bool(words & {"rank", "r", "alpha"})


def find_raising(notebook: Notebook, what: str, error: Raised) -> Spot | None:
    """Find the line of a function or class that raises this error."""
    definition = notebook.find_definition(what)
    lora = notebook.lora if what == "lora" else None
    if definition is None or lora is None:
        return find_error_line(definition, error) or definition if definition else None
    if "forward" in error.message and lora.method("forward") is None:
        return lora.misnamed_forward
    if OTHER_SIZE.search(error.message) and lora.fixed_matrix:
        return lora.fixed_matrix
    return find_error_line(definition, error) or lora.output or definition


def find_error(notebook: Notebook, *stages: str) -> Spot | None:
    error = next((e for stage in stages for e in notebook.list_errors("lora", stage)), None)
    return find_raising(notebook, "lora", error) if error else None


def find_fresh_output(notebook: Notebook) -> Spot | None:
    """Find why a fresh layer differs from W: an error, a bias, W replaced, no zero to start from, or the output."""
    lora = notebook.lora
    if lora is None:
        return None
    raised = find_error(notebook, "fresh")
    return raised or lora.biased_matrix or lora.substitute or (lora.output if lora.zeros else find_start(notebook))


def find_dropout(notebook: Notebook) -> Spot | None:
    """Find the first line of `forward` that drops anything."""
    lora = notebook.lora
    return lora.compute_with("dropout", *lora.list_attributes("Dropout")) if lora else None


def find_silent_forward(notebook: Notebook) -> Spot | None:
    """Find the last statement of a `forward` that returns nothing."""
    lora = notebook.lora
    return lora.output if lora and lora.is_silent else None


def find_start(notebook: Notebook) -> Spot | None:
    """Find the line that gives A and B their first values."""
    lora = notebook.lora
    return (lora.uninitialised or next(reversed([*lora.matrices, *lora.starts]), None)) if lora else None


def find_constant_start(notebook: Notebook) -> Spot | None:
    """Find the line that gives A or B one number everywhere that is not zero."""
    lora = notebook.lora
    given = [start for start in lora.starts if start not in lora.zeros] if lora else []
    return given[-1] if given else find_start(notebook)


def find_matrices(notebook: Notebook) -> Spot | None:
    """Find the line that makes A and B otherwise than asked for: frozen, with a bias, not registered, without rank."""
    lora = notebook.lora
    return (lora.set_gradients(False) or lora.moved_parameter or lora.odd_matrix) if lora else None


def find_scale(notebook: Notebook) -> Spot | None:
    """Find the line that computes the factor of the update, or where the update lacks it."""
    return notebook.lora.scale if notebook.lora else None


def find_update(notebook: Notebook) -> Spot | None:
    """Find why the update is not B(A(x)): an error, an activation, a changed shape, a write into W, or the output."""
    lora = notebook.lora
    if lora is None:
        return None
    raised = find_error(notebook, "filled")
    return raised or lora.writes or lora.compute_with(*ACTIVATIONS) or lora.compute_with(*RESHAPES) or lora.output


def find_base(notebook: Notebook) -> Spot | None:
    """Find why W does not stay as it is: made trainable, copied, or written to in `forward`."""
    lora = notebook.lora
    if lora is None:
        return None
    raised = find_error(notebook, "trained")
    return raised or lora.set_gradients(True) or lora.substitute or lora.writes or lora.base


def find_gradient_cut(notebook: Notebook) -> Spot | None:
    """Find what keeps gradients from A and B: `detach` and the like, a way around them, or two zeros to start from."""
    lora = notebook.lora
    if lora is None:
        return None
    raised = find_error(notebook, "filled")
    cut = lora.compute_with(*CUTS) or lora.writes or lora.compute_with("data") or lora.only_evaluated or lora.both_zeros
    return raised or cut or lora.compute_with(*ACTIVATIONS) or lora.output
