"""Looks at objects of the notebook that no check of the suite is about: the data, the models before they are trained.

The handout says what they have to be like, and not what they are called: they are found by what they are.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from grader.assignment import EVAL_ROWS, MAX_TOKENS, TRAIN_ROWS
from grader.reporting.in_notebook import Mark, Row
from grader.student.guards import attempt
from grader.student.placing import read_name

Namespace = Mapping[str, Any]
Splits = Mapping[str, Any]
Look = Callable[[Namespace], Iterator[Row]]
TOKENS: Final = {"input_ids", "attention_mask"}
LABELS: Final = {"label", "labels", "label_ids"}  # what the model's loss may be called with
ROWS: Final = {"train": TRAIN_ROWS, "eval": EVAL_ROWS}
SAMPLE: Final = 200  # reviews that are looked at; about one in eight is longer than the model reads
HEAD: Final = ("pre_classifier", "classifier")
ACCURACIES: Final = ("evaluation_helper", "compute_metrics", "compute_accuracy")  # the first is the template's
RETURN_IT: Final = "Return what the metric's `compute` returns."
IPYTHONS_OWN: Final = ("In", "Out")
MAX_HELD: Final = 50  # what has more holds data
LARGER_LOGIT: Final = "The prediction for a review is the index of its larger logit: `argmax(axis=-1)`."


def look_at_reviews(namespace: Namespace) -> Iterator[Row]:
    """Look at the data set that was read; `reviews = reviews.map(…)` leaves one that has tokens, too."""
    splits = _find_splits(namespace, "review", _holds) or _find_splits(namespace, "review", _still_holds)
    if splits is None:
        yield Row(Mark.NOT_YET, "No data set with the columns `review` and `label` in this kernel yet.")
        return
    title = "The reviews are read into two sections"
    if missing := ROWS.keys() - splits.keys():
        found = ", ".join(f"`{name}`" for name in splits)
        said = f"Expected the sections `train` and `eval`; `{min(missing)}` is missing (found: {found})."
        yield Row(Mark.FAILED, title, said, hint="Give `data_files` a dictionary with the keys `train` and `eval`.")
        return
    rows = {name: len(splits[name]) for name in ROWS}
    swapped = list(rows.values()) == [EVAL_ROWS, TRAIN_ROWS]
    if swapped or splits["train"][0]["review"] == splits["eval"][0]["review"]:
        said = "Expected other reviews in `eval` than in `train`, and fewer; the two files are mixed up."
        yield Row(Mark.FAILED, title, said, hint="Read `train.csv` into `train` and `eval.csv` into `eval`.")
    elif rows != ROWS:
        part = f"`train` has {rows['train']:,} of {TRAIN_ROWS:,} reviews, `eval` {rows['eval']:,} of {EVAL_ROWS:,}."
        yield Row(Mark.NOTE, title, f"{part} That is fine for trying things out; use all for the comparison.")
    else:
        yield Row(Mark.PASSED, title)


def look_at_tokens(namespace: Namespace) -> Iterator[Row]:
    """Look at the data set that a tokenizer was applied to."""
    splits = _find_splits(namespace, "input_ids", _holds)
    if splits is None:
        yield Row(Mark.NOT_YET, "No tokenised data set in this kernel yet.")
        return
    title = "The reviews are token numbers that the model can read"
    for name, split in splits.items():
        held = set(split.column_names)
        if missing := min(TOKENS - held, default="" if LABELS & held else "label"):
            said = f"Expected the columns `input_ids`, `attention_mask` and `label`; `{name}` lacks `{missing}`."
            yield Row(Mark.FAILED, title, said, hint="Return all that the tokenizer returns, and keep the labels.")
            return
        longest = max(map(len, split.select(range(min(SAMPLE, len(split))))["input_ids"]), default=0)
        if longest > MAX_TOKENS:
            said = f"Expected at most {MAX_TOKENS} tokens in a review; one in `{name}` has {longest:,}."
            yield Row(Mark.FAILED, title, said, hint="Call the tokenizer with `truncation=True`.")
            return
    yield Row(Mark.PASSED, title)


def look_at_labels(namespace: Namespace) -> Iterator[Row]:
    """Look at how many labels the models have."""
    title = "The model has two labels"
    models = {name: model.config.num_labels for name, model in find_models(namespace) if hasattr(model, "config")}
    named = {name: labels for name, labels in models.items() if read_name(name)}
    wrong = {name: labels for name, labels in (named or models).items() if labels != 2}
    if not named and len(wrong) < len(models):  # another one may be for something else
        wrong = {}
    if not models:
        yield Row(Mark.NOT_YET, "No model with a classification head in this kernel yet.")
    elif wrong:
        name, labels = next(iter(wrong.items()))
        said = f"Expected two labels; `{name}` has {labels}."
        yield Row(Mark.FAILED, title, said, hint="Load it with `num_labels=2`.")
    else:
        yield Row(Mark.PASSED, title)


def look_at_accuracy(namespace: Namespace) -> Iterator[Row]:
    """Call what measures accuracy with four reviews of which three are right: one function that does it is enough."""
    names = _list_accuracies(namespace)
    if not names:
        yield Row(Mark.NOT_YET, "No function that measures accuracy in this kernel yet.")
        return
    rows = [_judge_accuracy(name, namespace[name]) for name in names]
    yield next((row for row in rows if row.mark is Mark.PASSED), rows[-1])


def _list_accuracies(namespace: Namespace) -> list[str]:
    """Return the names of what may be given to a Trainer: called with one thing, the predictions with their labels.

    A student's own `compute_accuracy(model, loader)` is another function.
    """
    if ACCURACIES[0] in namespace:
        return [ACCURACIES[0]]
    return [name for name in namespace if name in ACCURACIES and _takes_one(namespace[name])]


def _takes_one(function: Any) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:  # it takes another number, or is nothing to call
        return False
    except ValueError:  # it does not say
        return True
    return True


def _judge_accuracy(name: str, function: Any) -> Row:
    import numpy as np
    from transformers import EvalPrediction

    title = f"`{name}` measures accuracy"
    given = EvalPrediction(np.eye(2)[[0, 1, 1, 0]] * 3 - 1, np.array([0, 1, 1, 1]))
    try:
        answer = function(given)
    except NotImplementedError:
        return Row(Mark.NOT_YET, f"`{name}` still raises `NotImplementedError`: it is not written yet.")
    except (Exception, SystemExit) as error:  # a student's function may raise anything
        said = f"Expected a dictionary with the key `accuracy`; it raises `{type(error).__name__}`: {str(error)[:200]}"
        return Row(Mark.FAILED, title, said, hint=f"{LARGER_LOGIT} {RETURN_IT}")
    return _judge_answer(title, answer)


def _judge_answer(title: str, answer: Any) -> Row:
    """Judge what an accuracy function returns for four reviews of which three are right."""
    named = {str(key): attempt(float, value) for key, value in answer.items()} if _is_mapping(answer) else {}
    accuracy = named.get("accuracy")
    if accuracy is not None:
        said = f"Expected 0.75 for four reviews of which three are right; found {accuracy:.3g}."
        return Row(Mark.PASSED, title) if _is_right(accuracy) else Row(Mark.FAILED, title, said, hint=LARGER_LOGIT)
    returned = f"it returns {_describe_answer(answer, named)}."
    if any(map(_is_right, [*named.values(), None if named else attempt(float, answer)])):
        return Row(Mark.NOTE, title, f"The number is right; the handout asks for the key `accuracy`, and {returned}")
    return Row(Mark.FAILED, title, f"Expected a dictionary with the key `accuracy`; {returned}", hint=RETURN_IT)


def _is_mapping(answer: Any) -> bool:
    return issubclass(type(answer), Mapping)


def _is_right(accuracy: float | None) -> bool:
    return accuracy is not None and abs(accuracy - 0.75) < 1e-6


def _describe_answer(answer: Any, named: Mapping[str, Any]) -> str:
    """Say what was returned in place of a dictionary with the accuracy in it."""
    if "accuracy" in named:
        return "no number under it"
    if named:
        return f"a dictionary with {', '.join(f'`{name}`' for name in named)}"
    return "an empty dictionary" if _is_mapping(answer) else f"an object of type `{type(answer).__name__}`"


def find_models(namespace: Namespace) -> list[tuple[str, Any]]:
    """Return the models with the assignment's head, by what holds them: `model`, `models['head']`. Each once.

    Of several names, the last one that speaks of a step counts, else the last one.
    """
    if "torch" not in sys.modules:
        return []
    found: dict[int, tuple[str, Any]] = {}
    for name, value in list_held(namespace):
        if not attempt(_has_head, value):
            continue
        if id(value) not in found or read_name(name) or not read_name(found[id(value)][0]):
            found[id(value)] = name, value
    return list(found.values())


def _has_head(value: Any) -> bool:
    """Return True for a model with the assignment's head. A proxy may raise when it is asked for its class."""
    return issubclass(type(value), sys.modules["torch"].nn.Module) and all(hasattr(value, part) for part in HEAD)


def list_held(namespace: Namespace) -> Iterator[tuple[str, Any]]:
    """Yield what the notebook's variables hold, and what their dictionaries and lists hold; no outputs of cells."""
    for name, value in list(namespace.items()):
        if name.startswith("_") or name in IPYTHONS_OWN:
            continue
        yield name, value
        if issubclass(type(value), dict) and len(value) <= MAX_HELD:
            yield from ((f"{name}[{key!r}]", one) for key, one in list(value.items()) if type(key) in (str, int))
        elif issubclass(type(value), list | tuple) and len(value) <= MAX_HELD:
            yield from ((f"{name}[{index}]", one) for index, one in enumerate(list(value)))


def find_attribute(model: Any) -> str | None:
    """Return the path of a module on which `requires_grad` was set, which has no effect; None where there is none."""
    return next((path or "model" for path, module in model.named_modules() if "requires_grad" in vars(module)), None)


def _find_splits(namespace: Namespace, column: str, holds: Callable[[Any, str], bool]) -> Splits | None:
    """Return the last dictionary of data sets that all have this column; one with both sections before others."""
    named = ((name, value) for name, value in list(namespace.items()) if not name.startswith("_"))  # outputs of cells
    found = [value for _, value in named if attempt(holds, value, column)]
    return next((value for value in reversed(found) if ROWS.keys() <= value.keys()), found[-1] if found else None)


def _holds(value: Any, column: str) -> bool:
    """Return True for data sets with a column. Raw reviews have labels, too, and no tokens."""
    held = _list_columns(value)
    return column in held and (column == "input_ids" or (bool(LABELS & held) and "input_ids" not in held))


def _still_holds(value: Any, column: str) -> bool:
    """Return True for data sets with a column and labels, and whatever else."""
    held = _list_columns(value)
    return column in held and bool(LABELS & held)


def _list_columns(value: Any) -> set[str]:
    """Return the columns that all data sets of a dictionary have; none for anything else."""
    datasets = sys.modules.get("datasets")
    if datasets is None or not issubclass(type(value), dict) or not value:
        return set()
    if not all(issubclass(type(part), datasets.Dataset) for part in value.values()):
        return set()
    return set.intersection(*(set(part.column_names) for part in value.values()))
