"""Where the cause lies in how the model of step 3 gets its adapters."""

import ast
from math import prod

from grader import assignment
from grader.judging.places.code import Spot, calls, root_of
from grader.judging.places.functions import find_choice, find_extraction, find_names, find_replacement
from grader.judging.places.lora_code import ACTIVATIONS, list_gradient_values
from grader.judging.places.lora_layer import find_base, find_class, find_error, find_matrices
from grader.judging.places.notebook import Notebook
from grader.judging.places.redefinitions import find_redefinition
from grader.judging.places.training_code import History
from grader.judging.places.trainings import find_gradients, find_origin, find_trainable
from grader.model import Method
from grader.oracle.methods import infer_rank
from grader.protocol.records import Training


def find_wrapping(notebook: Notebook) -> Spot | None:
    """Find why the model of step 3 holds no `LoRALayer`: the class, the functions, or how they are used."""
    answers = notebook.case.evidence.lora
    if notebook.list_errors("lora", "construct") or not (answers and answers.found):
        return find_class(notebook)
    if unfit := _find_unfit(notebook):
        return unfit
    history = notebook.find_history(Method.LORA)
    if history is None:
        return find_class(notebook) if notebook.code.failed else None
    if history.origin is None:
        return history.builder
    replaced = history.list_calling(*assignment.REPLACE_NAMES, "setattr")
    made = history.list_calling(*assignment.LORA_NAMES)
    otherwise = history.origin if _was_wrapped_before(notebook, history) else history.start
    return next(iter([*reversed(replaced), *reversed(made)]), otherwise)


def _was_wrapped_before(notebook: Notebook, history: History) -> bool:
    """Return True if layers were replaced in a model of this name, before the line that makes the one that trains."""
    steps = notebook.code.steps
    earlier = steps[: steps.index(history.origin)] if history.origin in steps else ()
    name = root_of(history.model) if history.model is not None else ""
    return any(name in step.names and step.find(calls(*assignment.REPLACE_NAMES)) for step in earlier)


def _find_unfit(notebook: Notebook) -> Spot | None:
    """Return the line of the function that does not do what it is asked for: extraction first, then replacement."""
    wanted = set(assignment.QV_LAYER_NAMES)
    extract, replace = notebook.case.evidence.extract, notebook.case.evidence.replace
    if extract and extract.found and any({e.name for e in item.entries} != wanted for item in extract.items):
        return find_names(notebook)
    if replace and replace.found and any(len(item.placed) != len(wanted) for item in replace.items):
        return find_replacement(notebook)
    return None


def find_adapted(notebook: Notebook) -> Spot | None:
    """Find why the model of step 3 has another number of trainable parameters than its head and adapters."""
    training, history = notebook.case.training(Method.LORA), notebook.find_history(Method.LORA)
    if training is None or not training.entry.wrapped:
        return find_trainable(Method.LORA)(notebook) if training is None else find_wrapping(notebook)
    if history is None:
        return None
    names = training.entry.trainable_names
    wrapped = tuple(f"{path}." for path in training.entry.wrapped)
    if not all(any(n.startswith(module) for n in names) for module in assignment.HEAD_MODULES):
        return find_gradients(notebook, history, too_many=False)
    if any(n.startswith("distilbert.") and not n.startswith(wrapped) for n in names):
        return _find_unfrozen(notebook, history)
    return _find_adapter_count(notebook, training, history)


def _find_unfrozen(notebook: Notebook, history: History) -> Spot | None:
    """Return the line that leaves the encoder trainable; where nothing freezes it, the line before which it should."""
    if history.gradient_lines:
        return find_gradients(notebook, history, too_many=True)
    made = history.list_calling(*assignment.LORA_NAMES)
    return made[0] if made else history.origin


def _find_adapter_count(notebook: Notebook, training: Training, history: History) -> Spot | None:
    """Return the line behind too many or too few trainable numbers in the wrapped layers."""
    shapes = {shape for adapter in training.entry.adapters.values() for shape in adapter}
    made = history.list_calling(*assignment.LORA_NAMES)
    later = history.linked[history.linked.index(made[0]) + 1 :] if made else ()
    changed = [(step, line) for step in later for line in history.find_gradient_lines(step)]
    if (assignment.WIDTH, assignment.WIDTH) in shapes:
        unfrozen = [line for _, line in changed if True in list_gradient_values(line.node)]
        whole = find_base(notebook) if (assignment.WIDTH,) in shapes else find_matrices(notebook)
        return unfrozen[0] if unfrozen else whole
    if changed and not any(training.entry.adapters.values()):
        return changed[-1][0]  # a function that freezes is right; calling it so late is not
    if set(training.entry.wrapped) != set(assignment.QV_LAYER_NAMES):
        return _find_unfit(notebook) or _find_earlier_names(notebook) or next(reversed(made), None)
    if assignment.count_surplus_labels(training.entry.trainable, _count_wanted(training)) and history.pretrained:
        return history.pretrained
    return find_matrices(notebook) if _is_registered_wrongly(notebook) else next(reversed(made), None)


def _find_earlier_names(notebook: Notebook) -> Spot | None:
    """Return what chooses by name in an extraction that the model was made with, and that a cell below mends."""
    again = find_redefinition(notebook, Method.LORA)
    return find_choice(again.earlier) if again and again.name in assignment.EXTRACT_NAMES else None


def _count_wanted(training: Training) -> int:
    return assignment.count_lora_parameters(infer_rank(training.entry))


def _is_registered_wrongly(notebook: Notebook) -> bool:
    """Return True if a layer on its own has another number of trainable numbers than A and B have."""
    lora = notebook.case.evidence.lora
    items = {item.key: item for item in lora.items if not item.error} if lora else {}
    asked = [c for c in notebook.case.challenges.lora if c.graded and c.key in items]
    return any(sum(map(prod, items[c.key].shapes)) != c.rank * (c.in_features + c.out_features) for c in asked)


def find_wrapped_layers(notebook: Notebook) -> Spot | None:
    """Find where the layers come from that step 3 wraps: another model in the extraction, or its call."""
    full, lora = notebook.find_history(Method.FULL), notebook.find_history(Method.LORA)
    if full is None or full.model is None or lora is None:
        return None
    name = root_of(full.model)
    function = notebook.find_definition("extract")
    inside = function.find(lambda node: isinstance(node, ast.Name) and node.id == name) if function else None
    steps = notebook.code.steps[: notebook.code.steps.index(lora.start)]
    called = calls(*assignment.EXTRACT_NAMES)
    calling = next((step for step in reversed(steps) if name in step.names and step.find(called)), None)
    made = lora.list_calling(*assignment.LORA_NAMES)
    return inside or calling or next(iter(made), None)


def find_certified(notebook: Notebook) -> Spot | None:
    """Find why step 3 changes more than low-rank updates: what the layer computes, or the model that it starts from."""
    lora = notebook.lora
    training = notebook.case.training(Method.LORA)
    if training and training.entry.changed:
        return find_origin(Method.LORA)(notebook)
    if training and set(training.entry.wrapped) - set(assignment.QV_LAYER_NAMES):
        return find_extraction(notebook)
    if lora is None:
        return None
    raised = find_error(notebook, "fresh", "filled")
    return raised or lora.writes or lora.compute_with(*ACTIVATIONS) or lora.substitute or lora.output
