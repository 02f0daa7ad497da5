"""Matthews' correlation, used like the metric of this name on the Hugging Face hub. One import per line."""

from typing import Any

import datasets
import evaluate


class MatthewsCorrelation(evaluate.Metric):
    """The correlation between predictions and references."""

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("int32")
        return evaluate.MetricInfo(
            description="The correlation between predictions and references.",
            citation="",
            inputs_description="predictions, references: labels; options as in scikit-learn's matthews_corrcoef.",
            features=datasets.Features({"predictions": label, "references": label}),
        )

    def _compute(self, predictions: list[int], references: list[int], **options: Any) -> dict[str, float]:
        from sklearn.metrics import matthews_corrcoef

        return {"matthews_correlation": float(matthews_corrcoef(references, predictions, **options))}
