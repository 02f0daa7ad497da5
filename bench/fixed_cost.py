"""What grading costs when nothing is trained: `python bench/fixed_cost.py [--rounds 7] [--backend warm] [--out FILE]`.

One notebook of imports, the assignment's functions and a tiny model is graded end to end: read, executed in a fresh
sandboxed kernel, probed, judged by the whole suite, result.json and both pages written. The same notebook is then run
by nbclient alone, in a kernel that nothing has prepared. Prints medians as JSON, and their ratio. Exit code 1 when a
bound is passed.

- executed: from the request for a kernel until the last cell is done
- graded: from the file to the reports
- bare: nbclient.NotebookClient(notebook).execute(), in a process that has imported nbclient already
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

import nbformat
from nbclient import NotebookClient

from grader import grading
from grader.execution.job import Setup
from grader.hostility.cases import DEFINITIONS
from grader.intake import read_submission
from grader.model import Profile, Result
from grader.reporting.files import write_reports
from grader.sandbox import Backend

MAX_EXECUTED_S: Final = 0.7
MAX_GRADED_S: Final = 1.5
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


def notebook() -> Any:
    """The notebook that is measured."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])


def graded(path: Path, used: Setup, folder: Path) -> tuple[dict[str, float], Result]:
    """Grade it once; seconds per stage."""
    began = time.perf_counter()
    submission = read_submission(path)
    found = grading.grade(submission, used, folder)
    judged = time.perf_counter()
    write_reports(found.result, found.details, folder)
    ended = time.perf_counter()
    stages = found.result.timings
    executed = stages["kernel start"] + stages["bootstrap"] + stages["cells"]
    return {**stages, "reports": ended - judged, "executed": executed, "graded": ended - began}, found.result


def bare() -> float:
    """Seconds of nbclient alone."""
    began = time.perf_counter()
    NotebookClient(notebook(), kernel_name="python3", timeout=300).execute()
    return time.perf_counter() - began


def medians(rounds: int, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Of each figure, in seconds."""
    seen = [measure() for _ in range(rounds)]
    return {name: round(statistics.median(one[name] for one in seen), 3) for name in seen[0]}


def measured(rounds: int, backend: Backend | None) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory() as name, grading.setup(Profile.STRUCTURE, 0, backend) as used:
        folder, path = Path(name), Path(name) / "notebook.ipynb"
        nbformat.write(notebook(), path)
        used.sandbox.wait()
        first, result = graded(path, used, folder)  # what is imported at first use is no part of a fixed cost
        stages = medians(rounds, lambda: graded(path, used, folder)[0])
        bare_s = medians(rounds, lambda: {"bare": bare()})["bare"]
    return {
        "backend": used.sandbox.backend.value,
        "cores": len(os.sched_getaffinity(0)),
        "rounds": rounds,
        "first_graded_s": round(first["graded"], 3),
        "stages_s": stages,
        "bare_s": bare_s,
        "ratio": round(stages["graded"] / bare_s, 3),
        "points": result.score.points,
        "run": result.run.status.value,
    }


def main() -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(description="What grading costs when nothing is trained.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--backend", type=Backend)
    parser.add_argument("--out", type=Path, help="a file for the JSON")
    asked = parser.parse_args()
    found = measured(asked.rounds, asked.backend)
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n", encoding="utf-8")
    stages = found["stages_s"]
    print(f"graded in {found['ratio']:.2f} of the time that nbclient alone takes", file=sys.stderr)
    return int(stages["executed"] > MAX_EXECUTED_S or stages["graded"] > MAX_GRADED_S)


if __name__ == "__main__":
    raise SystemExit(main())
