"""F1, used like the metric of this name on the Hugging Face hub. evaluate reads the imports: one per line."""

from typing import Any

import datasets
import evaluate


class F1(evaluate.Metric):
    """The harmonic mean of precision and recall."""

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("int32")
        feature = datasets.Sequence(label) if self.config_name == "multilabel" else label
        return evaluate.MetricInfo(
            description="The harmonic mean of precision and recall.",
            citation="",
            inputs_description="predictions, references: labels; options as in scikit-learn's f1_score.",
            features=datasets.Features({"predictions": feature, "references": feature}),
        )

    def _compute(self, predictions: list[int], references: list[int], **options: Any) -> dict[str, Any]:
        from sklearn.metrics import f1_score  # takes a second to import; hardly any notebook asks for it

        score = f1_score(references, predictions, **options)
        return {"f1": score if getattr(score, "size", 1) > 1 else float(score)}
