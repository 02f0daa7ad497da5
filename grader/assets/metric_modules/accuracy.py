"""Accuracy, used like the metric of this name on the Hugging Face hub. evaluate reads the imports: one per line."""

import datasets
import evaluate
import numpy as np


class Accuracy(evaluate.Metric):
    """The share of predictions that equal their references."""

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("int32")
        feature = datasets.Sequence(label) if self.config_name == "multilabel" else label
        return evaluate.MetricInfo(
            description="The share of predictions that equal their references.",
            citation="",
            inputs_description="predictions, references: labels; normalize=False counts; sample_weight: one per label.",
            features=datasets.Features({"predictions": feature, "references": feature}),
        )

    def _compute(
        self,
        predictions: list[int],
        references: list[int],
        normalize: bool = True,
        sample_weight: list[float] | None = None,
    ) -> dict[str, float]:
        hits = np.equal(predictions, references)
        if hits.ndim > 1:
            hits = hits.all(axis=1)
        weights = np.ones(len(hits)) if sample_weight is None else np.asarray(sample_weight)
        return {"accuracy": float(hits @ weights / (weights.sum() if normalize else 1))}
