"""Precision, used like the metric of this name on the Hugging Face hub. evaluate reads the imports: one per line."""

from typing import Any

import datasets
import evaluate


class PrecisionMetric(evaluate.Metric):
    """The share of predicted positives that are positive."""

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("int32")
        feature = datasets.Sequence(label) if self.config_name == "multilabel" else label
        return evaluate.MetricInfo(
            description="The share of predicted positives that are positive.",
            citation="",
            inputs_description="predictions, references: labels; options as in scikit-learn's precision_score.",
            features=datasets.Features({"predictions": feature, "references": feature}),
        )

    def _compute(self, predictions: list[int], references: list[int], **options: Any) -> dict[str, Any]:
        from sklearn.metrics import precision_score  # takes a second to import; hardly any notebook asks for it

        score = precision_score(references, predictions, **options)
        return {"precision": score if getattr(score, "size", 1) > 1 else float(score)}
