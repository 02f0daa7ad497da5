"""Seconds of a graded run by stage. The notebook gets a first cell with stopwatches and a last one that reads them.

The stopwatches sit on what libraries offer (`from_pretrained`, `map`, `training_step`, `AdamW.step`, `evaluate`), so
the grader itself is measured as it is. A training's rest (`record and export`) is the time between the notebook's call
of `train` and what the recorder says that the training took.
"""

import json
from pathlib import Path
from typing import Any, Final

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from grader import pipeline
from grader.execution.job import Setup
from grader.intake.notebook import Submission, read_submission
from grader.model import Result
from grader.paths import REFERENCE
from grader.reporting.files import write_reports
from tests.proof.speed.outcome import measure_time

MARK: Final = "BENCH:"
LOADS: Final = ("imports", "model loads", "tokeniser loads", "tokenisation")
TRAINING: Final = ("forward and backward", "optimiser")
ARITHMETIC: Final = (*TRAINING, "evaluation")
STOPWATCHES: Final = """\
import functools as _functools, time as _time
_spent = {}

def _timed(owner, name, what):
    original = getattr(owner, name)
    plain = getattr(original, "__func__", original)

    @_functools.wraps(plain)
    def call(*args, **kwargs):
        began = _time.perf_counter()
        try:
            return plain(*args, **kwargs)
        finally:
            _spent[what] = _spent.get(what, 0.0) + _time.perf_counter() - began

    setattr(owner, name, classmethod(call) if plain is not original else call)

_began = _time.perf_counter()
import torch as _torch, transformers as _transformers, datasets as _datasets, evaluate, sklearn.metrics
import pandas, matplotlib.pyplot
_spent["imports"] = _time.perf_counter() - _began
_timed(_transformers.AutoModelForSequenceClassification, "from_pretrained", "model loads")
_timed(_transformers.AutoTokenizer, "from_pretrained", "tokeniser loads")
_timed(_datasets.DatasetDict, "map", "tokenisation")
_timed(_transformers.Trainer, "training_step", "forward and backward")
_timed(_torch.optim.AdamW, "step", "optimiser")
_timed(_transformers.Trainer, "evaluate", "evaluation")
_timed(_transformers.Trainer, "train", "train calls")
"""
READ: Final = f'import json as _json\nprint("{MARK}" + _json.dumps(_spent))'


def add_stopwatches(mark: str) -> Submission:
    """The reference with stopwatches; `mark` makes its content differ from others."""
    submission = read_submission(REFERENCE)
    submission.notebook.cells.insert(0, new_code_cell(f"{STOPWATCHES}# {mark}"))
    submission.notebook.cells.append(new_code_cell(READ))
    return submission


def read(executed: NotebookNode) -> dict[str, float]:
    """Seconds by what was done. Raises ValueError where the notebook did not get to its end."""
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    texts = [output.get("text", "") for output in outputs]
    found = next((text.split(MARK, 1)[1] for text in texts if MARK in text), None)
    if found is None:
        errors = [f"{o['ename']}: {o['evalue'][:200]}" for o in outputs if "ename" in o] or "no error in a cell"
        raise ValueError(f"The notebook that is measured did not come to its last cell: {errors}.")
    spent: dict[str, float] = json.loads(found.splitlines()[0])
    return spent


def grade(used: Setup, folder: Path, mark: str) -> tuple[dict[str, float], Result]:
    """Grade the reference once, from the file to the reports; seconds by stage, which add up to `total`."""
    judged_s, found = measure_time(lambda: pipeline.grade(add_stopwatches(mark), used, folder))
    reporting_s, _ = measure_time(lambda: write_reports(found.result, found.details, folder))
    stages = split(found.result.timings, folder / "evidence")
    rest_s = judged_s - sum(stages.values())
    return {**stages, "reporting": reporting_s, "rest": rest_s, "total": judged_s + reporting_s}, found.result


def split(timings: dict[str, float], evidence: Path) -> dict[str, float]:
    """Seconds by stage: disjoint parts of the run."""
    spent = read(nbformat.read(evidence / "executed.ipynb", as_version=4))
    records: list[dict[str, Any]] = json.loads((evidence / "trainings.json").read_text(encoding="utf-8"))
    training = sum(record.get("seconds", 0.0) for record in records)
    known = {
        **{name: timings[name] for name in ("kernel start", "bootstrap")},
        **{name: spent.get(name, 0.0) for name in (*LOADS, *ARITHMETIC)},
        "record and export": spent.get("train calls", 0.0) - training,
    }
    cells = timings["cells"] - sum(known.values()) + known["kernel start"] + known["bootstrap"]
    return {**known, "rest of cells": cells, "probes": timings["probes"], "judging": timings["judging"]}
