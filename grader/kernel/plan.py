"""What the host asks of the kernel: one JSON file, readable by the student, hence free of secrets."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Budget:
    """How much training the harness allows, whatever the notebook asks for. Learning rates are per method."""

    max_steps: int
    batch_size: int
    max_tokens: int
    train_rows: int
    eval_rows: int
    learning_rates: dict[str, float]
    bfloat16: bool = False  # autocast, where the processor has matrix units for it


@dataclass(frozen=True)
class Plan:
    """Everything that the kernel is told. `budget` is None when the notebook trains as submitted."""

    seed: int
    evidence: str  # folder that the kernel writes to
    inputs: dict[str, str]  # base name -> path of a data file
    base_weights: str  # safetensors of the pretrained checkpoint
    names: dict[str, tuple[str, ...]]  # what to look for -> accepted names, best first
    budget: Budget | None = None
    threads: int | None = None
    cuda_as_cpu: bool = False  # the notebook asks for a GPU that this machine lacks
    accelerator: bool = False  # a GPU may be used
    modules: tuple[str, ...] = field(default=())  # imported before the first cell, so that recording covers them

    def save(self, path: Path) -> None:
        """Write the plan for the kernel to read."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(path: str) -> "Plan":
        """Read a plan back."""
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
        budget = Budget(**raw["budget"]) if raw["budget"] else None
        names = {key: tuple(value) for key, value in raw["names"].items()}
        return Plan(**{**raw, "names": names, "budget": budget, "modules": tuple(raw["modules"])})
