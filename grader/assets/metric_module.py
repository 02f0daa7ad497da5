"""A metric of the Hugging Face hub, without the hub. The name of the file tells which: evaluate copies it to `f1.py`.

evaluate reads the imports line by line: one per line.
"""

from typing import Any

import datasets
import evaluate
import numpy as np

NAME = __name__.rpartition(".")[2]
# What the metric measures, and its function in scikit-learn, which takes a second to import and is seldom needed.
ABOUT = {
    "accuracy": ("The share of predictions that equal their references.", ""),
    "precision": ("The share of predicted positives that are positive.", "precision_score"),
    "recall": ("The share of positives that are predicted.", "recall_score"),
    "f1": ("The harmonic mean of precision and recall.", "f1_score"),
    "glue": ("The metrics of the GLUE benchmark.", ""),
    "matthews_correlation": ("The correlation between predictions and references.", "matthews_corrcoef"),
    "roc_auc": ("The area under the receiver operating characteristic.", "roc_auc_score"),
}
# The columns that hold a list in each row, by configuration.
LISTS = {"multilabel": ("predictions", "references", "prediction_scores"), "multiclass": ("prediction_scores",)}


class Metric(evaluate.Metric):
    """The metric of this name."""

    def _info(self) -> evaluate.MetricInfo:
        label = "int32" if NAME != "glue" else "float32" if self.config_name == "stsb" else "int64"
        types = {"prediction_scores": "float"} if NAME == "roc_auc" else {"predictions": label}
        lists = LISTS.get(self.config_name, ())
        values = {name: datasets.Value(kind) for name, kind in (types | {"references": label}).items()}
        columns = {name: datasets.Sequence(value) if name in lists else value for name, value in values.items()}
        description, function = ABOUT.get(NAME, ("", ""))
        options = f"options as in scikit-learn's {function}" if function else "for accuracy: normalize, sample_weight"
        usage = f"{', '.join(columns)}; {options}."
        features = datasets.Features(columns)
        return evaluate.MetricInfo(description=description, citation="", inputs_description=usage, features=features)

    def _compute(self, references: list[Any], **given: Any) -> dict[str, Any]:
        predictions = given.pop("prediction_scores" if NAME == "roc_auc" else "predictions")
        if NAME == "accuracy":
            return {NAME: _measure_accuracy(references, predictions, **given)}
        if NAME == "glue":
            return _measure_glue(self.config_name, references, predictions, **given)
        return {NAME: _score(ABOUT[NAME][1], references, predictions, **given)}


Metric.__name__ = NAME  # by which evaluate calls the metric


def _score(function: str, references: list[Any], predictions: list[Any], **options: Any) -> Any:
    import sklearn.metrics

    score = getattr(sklearn.metrics, function)(references, predictions, **options)
    return score if getattr(score, "size", 1) > 1 else float(score)


def _measure_accuracy(
    references: list[Any], predictions: list[Any], normalize: bool = True, sample_weight: list[float] | None = None
) -> float:
    hits = np.equal(predictions, references)
    if hits.ndim > 1:
        hits = hits.all(axis=1)
    weights = np.ones(len(hits)) if sample_weight is None else np.asarray(sample_weight)
    return float(hits @ weights / (weights.sum() if normalize else 1))


def _measure_glue(task: str, references: list[Any], predictions: list[Any]) -> dict[str, float]:
    if task == "cola":
        return {"matthews_correlation": _score("matthews_corrcoef", references, predictions)}
    f1 = {"f1": _score("f1_score", references, predictions)} if task in ("mrpc", "qqp") else {}
    return {"accuracy": _measure_accuracy(references, predictions), **f1}
