"""Area under the ROC curve, used like the metric of this name on the Hugging Face hub. One import per line."""

from typing import Any

import datasets
import evaluate


class RocAuc(evaluate.Metric):
    """The area under the receiver operating characteristic."""

    def _info(self) -> evaluate.MetricInfo:
        score, label = datasets.Value("float"), datasets.Value("int32")
        multiclass, multilabel = self.config_name == "multiclass", self.config_name == "multilabel"
        return evaluate.MetricInfo(
            description="The area under the receiver operating characteristic.",
            citation="",
            inputs_description="references: labels; prediction_scores; options as in scikit-learn's roc_auc_score.",
            features=datasets.Features(
                {
                    "prediction_scores": datasets.Sequence(score) if multiclass or multilabel else score,
                    "references": datasets.Sequence(label) if multilabel else label,
                }
            ),
        )

    def _compute(self, references: list[int], prediction_scores: list[float], **options: Any) -> dict[str, Any]:
        from sklearn.metrics import roc_auc_score

        score = roc_auc_score(references, prediction_scores, **options)
        return {"roc_auc": score if getattr(score, "size", 1) > 1 else float(score)}
