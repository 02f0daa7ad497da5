"""The cost of grading when nothing is trained, beside that of running the notebook.

One notebook of imports, the assignment's functions and a tiny model is graded end to end: read, executed in a fresh
sandboxed kernel, probed, judged by the whole suite, result.json and both pages written. In turns with that, the same
notebook is run by nbclient alone, in a kernel that nothing has prepared.

- executed: from the request for a kernel until the last cell is done
- graded: from the file to the reports
- bare: nbclient.NotebookClient(notebook).execute(), in a process that has imported nbclient already
"""

import tempfile
from pathlib import Path
from typing import Any, Final

import nbformat
from nbclient import NotebookClient

from grader import pipeline
from grader.execution.job import Setup
from grader.execution.setup import SandboxOptions
from grader.intake import read_submission
from grader.model import Profile, Result
from grader.reporting.files import write_reports
from grader.sandbox import Backend
from tests.proof.security.cases import DEFINITIONS
from tests.proof.speed.outcome import compute_medians, measure_time

CELLS: Final = (
    "import evaluate\nimport numpy as np\nimport pandas as pd\nimport torch\nfrom datasets import Dataset\n"
    "from torch import nn\nfrom transformers import (AutoModelForSequenceClassification, AutoTokenizer, Trainer,\n"
    "    TrainingArguments)",
    DEFINITIONS,
    "from transformers import DistilBertConfig, DistilBertForSequenceClassification\n"
    "config = DistilBertConfig(vocab_size=100, dim=24, hidden_dim=48, n_heads=2, n_layers=6)\n"
    "model = DistilBertForSequenceClassification(config)",
    "layers = extract_qv_layers(model)\n"
    "replace_layers(model, {name: LoRALayer(layer, rank=2, alpha=4) for name, layer in layers.items()})",
    "print(count_trainable_parameters(model), model(torch.ones(1, 5, dtype=torch.long)).logits.shape)",
)


def build_notebook() -> Any:
    """The notebook that is measured."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])


def grade(path: Path, used: Setup, folder: Path) -> tuple[dict[str, float], Result]:
    """Grade it once; seconds per stage."""
    judged_s, found = measure_time(lambda: pipeline.grade(read_submission(path), used, folder))
    reports_s, _ = measure_time(lambda: write_reports(found.result, found.details, folder))
    stages = found.result.timings
    executed = stages["kernel start"] + stages["bootstrap"] + stages["cells"]
    return {**stages, "reports": reports_s, "executed": executed, "graded": judged_s + reports_s}, found.result


def run_bare() -> float:
    """Seconds of nbclient alone."""
    return measure_time(NotebookClient(build_notebook(), kernel_name="python3", timeout=300).execute)[0]


def measure(rounds: int, backend: Backend | None) -> dict[str, Any]:
    """All figures; in `stages_s` medians over the rounds."""
    options = SandboxOptions(backend)
    with tempfile.TemporaryDirectory() as name, pipeline.open_setup(Profile.STRUCTURE, 0, options) as used:
        folder, path = Path(name), Path(name) / "notebook.ipynb"
        nbformat.write(build_notebook(), path)
        used.sandbox.wait()
        first, result = grade(path, used, folder)  # what is imported at first use is no part of a fixed cost
        stages = compute_medians([{**grade(path, used, folder)[0], "bare": run_bare()} for _ in range(rounds)])
    return {
        "backend": used.sandbox.backend.value, "rounds": rounds, "first_graded_s": round(first["graded"], 3),
        "stages_s": stages, "ratio": round(stages["graded"] / stages["bare"], 3), "points": result.score.points,
        "run": result.run.status.value,
    }  # fmt: skip
