"""Looks at data and models of a notebook, whatever they are called; and the exercises by the notebook's numbers."""

import re
import sys
from collections.abc import Callable
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from torch import nn

from grader.assignment import EVAL_ROWS, TRAIN_ROWS
from grader.errors import SubmissionError
from grader.kernel.probes.toys import build_distilbert
from grader.paths import REFERENCE
from grader.student import live, looks
from grader.student.exercises import EXERCISES, select


def build(train: int = TRAIN_ROWS, evaluation: int = EVAL_ROWS, tokens: int = 0, **renamed: str) -> dict[str, Any]:
    """A namespace with one data set."""
    splits = {"train": ("a", train), "eval": ("b", evaluation)}
    made = {}
    for name, (text, rows) in splits.items():
        columns: dict[str, list[Any]] = {"review": [text] * rows, "label": [0] * rows}
        if tokens:
            columns |= {"input_ids": [[1] * tokens] * rows, "attention_mask": [[1] * tokens] * rows}
        made[renamed.get(name, name)] = Dataset.from_dict(columns)
    return {"data": DatasetDict(made)}


def rename(namespace: dict[str, Any], label: str) -> dict[str, Any]:
    return {"data": namespace["data"].rename_column("label", label)}


def cut(namespace: dict[str, Any]) -> dict[str, Any]:
    """With a later dictionary that has a part of the first section alone."""
    return {**namespace, "small": DatasetDict({"train": namespace["data"]["train"].select(range(4))})}


def see(look: looks.Look, namespace: dict[str, Any]) -> tuple[str, str]:
    (row,) = look(namespace)
    return row.mark.value, row.rationale


def returns(answer: Any) -> Callable[[Any], Any]:
    return lambda prediction: answer


WITHOUT_MASK = {"data": DatasetDict({"train": Dataset.from_dict({"input_ids": [[1]], "label": [0]})})}
TWICE = {"data": DatasetDict(dict.fromkeys(("train", "eval"), build()["data"]["train"]))}
ACCURACY = {"evaluation_helper": lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())}}
THREE = nn.Sequential()
THREE.pre_classifier, THREE.classifier, THREE.config = (
    nn.Linear(2, 2),
    nn.Linear(2, 3),
    type("C", (), {"num_labels": 3}),
)


@pytest.mark.parametrize(
    ("look", "namespace", "mark", "said"),
    [
        pytest.param(looks.look_at_reviews, {"x": 1}, "not yet", "", id="no reviews"),
        pytest.param(looks.look_at_reviews, build(), "passed", "", id="all reviews"),
        pytest.param(looks.look_at_reviews, build(64, 16), "note", "64 of 2,000", id="a part of the reviews"),
        pytest.param(looks.look_at_reviews, build(eval="test"), "failed", "`eval` is missing", id="another section"),
        pytest.param(looks.look_at_reviews, build(EVAL_ROWS, TRAIN_ROWS), "failed", "mixed up", id="mixed up"),
        pytest.param(looks.look_at_reviews, TWICE, "failed", "mixed up", id="one file twice"),
        pytest.param(looks.look_at_reviews, build(train=64), "note", "64 of 2,000", id="a part of one section"),
        pytest.param(looks.look_at_reviews, rename(build(), "labels"), "passed", "", id="labels of another name"),
        pytest.param(looks.look_at_reviews, cut(build()), "passed", "", id="one section by itself, later"),
        pytest.param(
            looks.look_at_reviews, {"data": build()["data"].remove_columns("label")}, "not yet", "", id="no labels"
        ),
        pytest.param(
            *(looks.look_at_reviews, build(64, 16) | {"_5": build()["data"]}, "note", "64 of"), id="outputs of cells"
        ),
        pytest.param(looks.look_at_reviews, build(tokens=4), "passed", "", id="tokens in place of the raw reviews"),
        pytest.param(looks.look_at_reviews, build(64, 16, tokens=4), "note", "64 of", id="tokens of a part of them"),
        pytest.param(
            *(looks.look_at_reviews, build() | {"tokens": build(64, 16, tokens=4)["data"]}, "passed", ""),
            id="tokens beside the raw reviews",
        ),
        pytest.param(looks.look_at_tokens, build(), "not yet", "", id="no tokens"),
        pytest.param(looks.look_at_tokens, build(tokens=512), "passed", "", id="tokens"),
        pytest.param(looks.look_at_tokens, build(4, 2, tokens=600), "failed", "has 600", id="not truncated"),
        pytest.param(looks.look_at_tokens, WITHOUT_MASK, "failed", "lacks `attention_mask`", id="no mask"),
        *(
            pytest.param(looks.look_at_tokens, rename(build(4, 2, tokens=8), name), mark, said, id=f"tokens, {name}")
            for name, mark, said in (
                *(("labels", "passed", ""), ("label_ids", "passed", "")),
                ("target", "failed", "lacks `label`"),
            )
        ),
        pytest.param(
            *(looks.look_at_tokens, cut(build(4, 2, tokens=8)) | {"more": WITHOUT_MASK["data"]}, "passed", ""),
            id="tokens of one section, later",
        ),
        pytest.param(looks.look_at_labels, {}, "not yet", "", id="no model"),
        pytest.param(looks.look_at_labels, {"m": build_distilbert(8, 0)}, "passed", "", id="two labels"),
        pytest.param(looks.look_at_labels, {"m": THREE}, "failed", "`m` has 3", id="three labels"),
        pytest.param(
            looks.look_at_labels,
            {"full_model": build_distilbert(8, 0), "x": THREE},
            "passed",
            "",
            id="a helper of three",
        ),
        pytest.param(looks.look_at_labels, {"m": THREE, "n": build_distilbert(8, 0)}, "passed", "", id="one has two"),
        pytest.param(
            *(looks.look_at_labels, {"full_model": THREE, "m": build_distilbert(8, 0)}, "failed", "`full_model` has 3"),
            id="three in the one that is named",
        ),
        pytest.param(
            looks.look_at_labels, {"models": {"full": THREE}}, "failed", "`models['full']` has 3", id="in a dict"
        ),
        pytest.param(looks.look_at_accuracy, {}, "not yet", "", id="no function"),
        pytest.param(looks.look_at_accuracy, ACCURACY, "passed", "", id="accuracy"),
        pytest.param(
            looks.look_at_accuracy,
            {"compute_metrics": lambda p: {"accuracy": float((p.predictions.argmax(0) == p.label_ids[:2]).mean())}},
            "failed",
            "found",
            id="another accuracy",
        ),
        pytest.param(
            looks.look_at_accuracy, {"compute_metrics": lambda p: p.nothing}, "failed", "raises", id="an error"
        ),
        pytest.param(
            *(looks.look_at_accuracy, {**ACCURACY, "compute_accuracy": lambda model, loader: 1}, "passed", ""),
            id="an own function that takes something else",
        ),
        pytest.param(
            *(looks.look_at_accuracy, {**ACCURACY, "compute_metrics": lambda p: p.nothing}, "passed", ""),
            id="the template's function counts",
        ),
        pytest.param(
            *(looks.look_at_accuracy, {"compute_accuracy": lambda model, loader: 1}, "not yet", ""),
            id="only a function that takes something else",
        ),
        pytest.param(
            looks.look_at_accuracy,
            {"compute_metrics": ACCURACY["evaluation_helper"], "compute_accuracy": lambda right: right / 2},
            *("passed", ""),
            id="one of two is right",
        ),
        pytest.param(looks.look_at_accuracy, {"compute_metrics": 5}, "not yet", "", id="nothing to call"),
        *(
            pytest.param(looks.look_at_accuracy, {"evaluation_helper": returns(answer)}, mark, said, id=name)
            for name, answer, mark, said in (
                ("a number", 0.75, "note", "it returns an object of type `float`."),
                ("a number of numpy", np.float64(0.75), "note", "of type `float64`."),
                ("another key", {"acc": 0.75, "f1": 0.8}, "note", "a dictionary with `acc`, `f1`."),
                ("a wrong number", 0.5, "failed", "it returns an object of type `float`."),
                ("a wrong number, another key", {"acc": 0.5}, "failed", "it returns a dictionary with `acc`."),
                ("nothing", None, "failed", "it returns an object of type `NoneType`."),
                ("an empty dictionary", {}, "failed", "it returns an empty dictionary."),
                ("no number", {"accuracy": "high"}, "failed", "it returns no number under it."),
                ("more than accuracy", {"accuracy": 0.75, "f1": 0.5}, "passed", ""),
            )
        ),
        pytest.param(
            *(looks.look_at_accuracy, {"evaluation_helper": lambda p: sys.exit()}, "failed", "raises `SystemExit`"),
            id="an exit",
        ),
    ],
)
def test_what_is_seen(look: looks.Look, namespace: dict[str, Any], mark: str, said: str) -> None:
    found, rationale = see(look, namespace)
    assert (found, said in rationale) == (mark, True)


def test_the_model_that_would_be_trained_is_found() -> None:
    full, head, attribute, lora = (build_distilbert(8, seed) for seed in range(4))
    for parameter in head.distilbert.parameters():
        parameter.requires_grad_(False)
    attribute.distilbert.requires_grad = False
    lora.distilbert.transformer.layer[0].attention.q_lin = nn.Sequential(nn.Linear(8, 8))
    assert live.prepare("step2", {"a": full}) is None
    assert [live.prepare("step2", {"a": full, "b": m, "c": lora})[0] for m in (head, attribute)] == ["b", "b"]  # type: ignore[index]
    assert live.prepare("step3", {"a": full, "b": head, "c": lora})[0] == "c"  # type: ignore[index]
    assert live.prepare("step3", {"head_model": lora})[0] == "head_model"  # type: ignore[index]
    assert live.prepare("step3", {"head_model": lora, "lora_model": full}) is None
    assert live.prepare("step3", {"c": lora, "lora_model": full})[0] == "c"  # type: ignore[index]
    assert looks.find_attribute(attribute) == "distilbert"
    assert torch.is_grad_enabled()


def make(frozen: str = "", wrapped: bool = False) -> Any:
    """A small model, of which the encoder, everything or nothing is frozen."""
    model = build_distilbert(8, 0)
    if frozen:
        (model if frozen == "all" else model.distilbert).requires_grad_(False)
    if wrapped:
        model.distilbert.transformer.layer[0].attention.q_lin = nn.Sequential(nn.Linear(8, 8))
    return model


FROZEN, BASE, FRESH, WRAPPED = make("encoder"), make("all"), make(), make("all", wrapped=True)


@pytest.mark.parametrize(
    ("step", "namespace", "used", "found"),
    [
        pytest.param(
            "step2", {"head_model": FROZEN, "base_model": BASE}, None, "head_model", id="a frozen helper made later"
        ),
        pytest.param("step2", {"head_model": FRESH, "base_model": BASE}, None, None, id="a frozen helper alone"),
        pytest.param("step2", {"model": FROZEN, "base_model": BASE}, FROZEN, "model", id="the one that was trained"),
        pytest.param(
            "step2", {"head_model": FRESH, "m": FROZEN, "b": BASE}, FROZEN, "m", id="trained, beside a fresh one"
        ),
        pytest.param("step2", {"a": FROZEN, "b": BASE}, None, "b", id="nothing tells them apart"),
        pytest.param("step2", {"head_model": FROZEN, "m": FROZEN}, None, "head_model", id="a name that is left over"),
        pytest.param("step2", {"models": {"full": FRESH, "head": FROZEN}}, None, "models['head']", id="in a dict"),
        pytest.param("step2", {"models": [FRESH, FROZEN]}, None, "models[1]", id="in a list"),
        pytest.param("step2", {"Out": {3: FROZEN}, "_": FROZEN}, None, None, id="outputs of cells"),
        pytest.param("step3", {"lora_model": FRESH, "b": WRAPPED}, None, "b", id="wrapped under another name"),
    ],
)
def test_a_model_for_something_else_is_not_the_one_to_train(
    step: str, namespace: dict[str, Any], used: Any, found: str | None
) -> None:
    prepared = live.prepare(step, namespace, used)
    assert (prepared and prepared[0]) == found


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        (None, [exercise.number for exercise in EXERCISES]),
        ("3.3", ["3.3"]),
        (3.3, ["3.3"]),
        ("step2", ["2.1", "2.2"]),
        ("Step 2", ["2.1", "2.2"]),
        (2, ["2.1", "2.2"]),
        ("step3.lora_forward", ["3.3"]),
        ((), [exercise.number for exercise in EXERCISES]),
        (("3.3", 3.1), ["3.1", "3.3"]),
        ((["step2"], "2.1"), ["2.1", "2.2"]),
    ],
)
def test_exercises_are_asked_for_by_their_numbers(asked: object, numbers: list[str]) -> None:
    assert [exercise.number for exercise in select(asked)] == numbers


@pytest.mark.parametrize("asked", ["4", "", "step", "3.9", object(), ("3.3", "x")])
def test_what_is_no_exercise_is_said(asked: object) -> None:
    with pytest.raises(SubmissionError, match=r"There are 1\.1"):
        select(asked)


def test_the_numbers_are_the_notebooks_own() -> None:
    text = "\n".join(cell.source for cell in nbformat.read(REFERENCE, 4).cells if cell.cell_type == "markdown")
    headings = dict(re.findall(r"^### (\d\.\d) (.+?)(?: \(given\))?$", text, re.MULTILINE))
    assert headings == {exercise.number: exercise.title for exercise in EXERCISES}
