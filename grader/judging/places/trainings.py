"""Where the cause lies in how a model is made, frozen and trained."""

import ast
import re
from collections.abc import Iterable
from typing import Final

from grader import assignment
from grader.judging.places.code import Code, Spot, list_nodes, name_of, root_of
from grader.judging.places.failures import find_first_failure, find_untrained
from grader.judging.places.lora_code import list_gradient_values
from grader.judging.places.lora_layer import find_gradient_cut
from grader.judging.places.notebook import Finder, Notebook
from grader.judging.places.training_code import History
from grader.model import Method

SPELLING: Final = re.compile(r"require[sd]?_?grad\w{0,9}", re.IGNORECASE)


def find_trainable(method: Method) -> Finder:
    """Return how to find what decides which parameters of a step's model are trainable."""

    def find(notebook: Notebook) -> Spot | None:
        training, history = notebook.case.training(method), notebook.find_history(method)
        if training is None:
            return find_untrained(notebook, method) or find_first_failure(notebook)
        if history is None:
            return None
        target = assignment.FULL_PARAMETERS if method is Method.FULL else assignment.HEAD_PARAMETERS
        if assignment.count_surplus_labels(training.entry.trainable, target):
            return history.pretrained
        if _was_trained_before(notebook, method, history):
            return history.builder
        return find_gradients(notebook, history, too_many=training.entry.trainable > target)

    return find


def _was_trained_before(notebook: Notebook, method: Method, history: History) -> bool:
    """Return True if the model of a step is the one that an earlier step made and trained under the same name."""
    trained = [notebook.find_history(other) for other in Method if other is not method]
    earlier = [one for one in trained if one and notebook.precedes(one.start, history.start)]
    return any(one.origin is not None and one.origin == history.origin for one in earlier)


def find_gradients(notebook: Notebook, history: History, too_many: bool) -> Spot | None:
    """Find the line that leaves too many, or too few, parameters of a model trainable."""
    lines = history.gradient_lines
    telling = [line for line in lines if too_many in list_gradient_values(line.node)]
    if telling or lines:
        return (telling or lines)[-1]
    elsewhere = [step for step in history.window if any(history.find_gradient_lines(step))]
    misspelt = (s for step in history.window for spot in history.code.follow(step) if (s := spot.find(_misspells)))
    return elsewhere[-1] if elsewhere else next(misspelt, None) or history.origin or history.start


def _misspells(node: ast.AST) -> bool:
    """Return True for `parameter.require_grad = False` and the like."""
    names = [name_of(target) for target in node.targets] if isinstance(node, ast.Assign) else []
    return any(SPELLING.fullmatch(name) and name != "requires_grad" for name in names)


def find_origin(method: Method) -> Finder:
    """Return how to find the line that makes the model of a step."""

    def find(notebook: Notebook) -> Spot | None:
        history = notebook.find_history(method)
        return (history.origin or history.builder) if history else None

    return find


def find_head(method: Method) -> Finder:
    """Return how to find the line that gives the model of a step what another step trained, or that makes it."""

    def find(notebook: Notebook) -> Spot | None:
        history = notebook.find_history(method)
        if history is None or history.model is None:
            return None
        own = root_of(history.model)
        found = (notebook.find_history(other) for other in Method if other is not method)
        others = {root_of(one.model) for one in found if one and one.model is not None} - {own, ""}
        before = (step for step in history.linked if step not in (history.builder, history.start))
        return next((step for step in before if step.names & others), history.origin or history.builder)

    return find


def find_pretrained(method: Method) -> Finder:
    """Return how to find the call that loads, or makes, the model of a step."""

    def find(notebook: Notebook) -> Spot | None:
        history = notebook.find_history(method)
        return history.pretrained if history else None

    return find


def find_learning(method: Method) -> Finder:
    """Return how to find why a training leaves parts of its model unchanged: its optimiser, or what is frozen."""

    def find(notebook: Notebook) -> Spot | None:
        history = notebook.find_history(method)
        if history is None:
            return None
        cut = find_gradient_cut(notebook) if method is Method.LORA else find_gradients(notebook, history, False)
        return history.optimiser or cut or history.start

    return find


def find_training(method: Method) -> Finder:
    """Return how to find the line that starts the training of a step."""

    def find(notebook: Notebook) -> Spot | None:
        history = notebook.find_history(method)
        return history.start if history else find_untrained(notebook, method)

    return find


def find_trainer(method: Method) -> Finder:
    """Return how to find the call that makes the `Trainer` of a step."""

    def find(notebook: Notebook) -> Spot | None:
        history = notebook.find_history(method)
        return (history.trainer or history.start) if history else None

    return find


def find_data(method: Method, argument: str) -> Finder:
    """Return how to find the reviews that a training gets as this argument of its `Trainer`."""

    def find(notebook: Notebook) -> Spot | None:
        history = notebook.find_history(method)
        misread = _find_misread(notebook.code) or (_find_unread(notebook.code) if argument == "eval_dataset" else None)
        return misread or ((history.find_argument(argument) or history.start) if history else None)

    return find


def find_evaluated(method: Method) -> Finder:
    """Return how to find where a step is evaluated on training reviews: by a `Trainer`, or after it."""
    find_given = find_data(method, "eval_dataset")

    def find(notebook: Notebook) -> Spot | None:
        history = notebook.find_history(method)
        if history is None or history.find_argument("eval_dataset"):
            return find_given(notebook)
        measured = history.find_call_with("train", notebook.code.steps)
        return _find_unread(notebook.code) or measured or find_given(notebook)

    return find


def _find_unread(code: Code) -> Spot | None:
    """Return the line that reads the training reviews, where none reads the evaluation reviews."""
    texts = [Spot(cell, node) for cell, tree in code.trees.items() for node in list_nodes(tree) if _is_text(node)]
    files = [spot for spot in texts if str(spot.node.value).endswith(".csv")]  # type: ignore[attr-defined]
    splits = [_name_split(spot.node.value) for spot in files]  # type: ignore[attr-defined]
    return files[0] if files and set(splits) == {"train"} else None


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _find_misread(code: Code) -> Spot | None:
    """Return the line that reads a file of the other split: `"eval": "train.csv"`."""
    for cell, tree in code.trees.items():
        for node in list_nodes(tree):
            for name, value in _list_named(node):
                if {_name_split(name), _name_split(value.value)} == {"train", "eval"}:
                    return Spot(cell, value)
    return None


def _list_named(node: ast.AST) -> Iterable[tuple[str, ast.Constant]]:
    """Return the file names in a dict, an assignment or a call, with the name that each gets."""
    pairs: list[tuple[str, ast.AST | None]] = []
    if isinstance(node, ast.Dict):
        pairs = [(str(getattr(key, "value", "")), value) for key, value in zip(node.keys, node.values, strict=True)]
    elif isinstance(node, ast.keyword):
        pairs = [(node.arg or "", node.value)]
    elif isinstance(node, ast.Assign) and not isinstance(node.value, (ast.Dict, ast.List, ast.Tuple)):
        texts = [n for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
        pairs = [(name_of(node.targets[0]), text) for text in texts]
    return [(n, v) for n, v in pairs if isinstance(v, ast.Constant) and str(v.value).endswith(".csv")]


def _name_split(name: object) -> str:
    text = str(name).lower()
    train, others = "train" in text, any(word in text for word in ("eval", "valid", "test", "dev"))
    return "train" if train and not others else "eval" if others and not train else ""
