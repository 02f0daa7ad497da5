"""GLUE's metrics, used like the one of this name on the Hugging Face hub. evaluate reads the imports: one per line."""

import datasets
import evaluate
import numpy as np


class Glue(evaluate.Metric):
    """Accuracy, and F1 or Matthews' correlation for the tasks that are measured so."""

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("float32" if self.config_name == "stsb" else "int64")
        return evaluate.MetricInfo(
            description="The metrics of the GLUE benchmark.",
            citation="",
            inputs_description="predictions, references: labels.",
            features=datasets.Features({"predictions": label, "references": label}),
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        from sklearn.metrics import f1_score, matthews_corrcoef

        if self.config_name == "cola":
            return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}
        scores = {"accuracy": float(np.equal(predictions, references).mean())}
        if self.config_name in ("mrpc", "qqp"):
            scores["f1"] = float(f1_score(references, predictions))
        return scores
