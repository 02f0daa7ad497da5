"""The plan that the host gives the kernel: one JSON file, readable by the student, hence free of secrets."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

EVIDENCE = "SANDBOX_EVIDENCE"  # environment variable: the folder that evidence is written to


@dataclass(frozen=True)
class Budget:
    """The amount of training, whatever the notebook says. Learning rates are per method."""

    max_steps: int
    batch_size: int
    max_tokens: int
    train_rows: int
    eval_rows: int
    learning_rates: dict[str, float]
    bfloat16: bool = False  # autocast, where the processor has matrix units for it


@dataclass(frozen=True)
class GradientQuestion:
    """A small batch, and the pretrained tensors whose gradients are asked for where a model trains them.

    `input_ids` and `attention_mask` are rows of tokens of equal length; `labels` has one number for each row.
    """

    input_ids: list[list[int]]
    attention_mask: list[list[int]]
    labels: list[int]
    names: list[str]


@dataclass(frozen=True)
class Plan:
    """Everything that the kernel is told. `budget` is None when the notebook trains as submitted."""

    seed: int  # of trainings; that of the questions is secret
    inputs: dict[str, str]  # base name -> path of a data file, relative to the job folder
    base_weights: str  # safetensors of the pretrained checkpoint
    names: dict[str, tuple[str, ...]]  # what to look for -> accepted names, best first
    budget: Budget | None = None
    question: GradientQuestion | None = None  # for each model at the start of its training
    threads: int | None = None
    tf32: bool = False  # a GPU may round what it multiplies to ten bits, where the notebook says nothing of it
    gpu_named: bool = False  # the notebook names a GPU, of a kind that this machine may lack
    uploads: int = 0  # calls in the notebook that ask its reader for files, as Colab does
    folder: str = ""  # the job folder, in which the notebook starts; known in the kernel only
    evidence: str = ""  # the folder that the kernel writes to; the same

    def save(self, path: Path) -> None:
        """Write the plan for the kernel to read."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(path: str) -> "Plan":
        """Read a plan back, in the kernel: paths become absolute, since notebooks change their working directory."""
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        raw["budget"] = Budget(**raw["budget"]) if raw["budget"] else None
        raw["question"] = GradientQuestion(**raw["question"]) if raw["question"] else None
        raw["names"] = {key: tuple(value) for key, value in raw["names"].items()}
        folder = Path(path).absolute().parents[1]  # JOB/.grading/plan.json
        raw["inputs"] = {name: str(folder / file) for name, file in raw["inputs"].items()}
        raw["folder"], raw["evidence"] = str(folder), os.environ.get(EVIDENCE) or raw["evidence"]
        return Plan(**raw)
