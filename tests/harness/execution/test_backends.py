"""The first steps of every notebook of the assignment work in every sandbox: data, tokens, a model, a metric."""

from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from grader import pipeline
from grader.execution.run import execute
from grader.execution.setup import SandboxOptions
from grader.intake.notebook import Submission
from grader.model import Profile, RunStatus
from grader.sandbox import Backend
from tests.harness import needs

CELLS = (
    'from datasets import load_dataset\ndata = load_dataset("csv", data_files={"train": "train.csv"})["train"]',
    "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
    'tokenizer = AutoTokenizer.from_pretrained("distilbert-base-uncased")\n'
    'tokens = data.select(range(20)).map(lambda rows: tokenizer(rows["review"], truncation=True), batched=True)',
    "from torch.utils.data import DataLoader\n"
    'several = data.select(range(20)).map(lambda row: {"n": len(row["review"])}, num_proc=2)\n'
    "loader = DataLoader(several, batch_size=4, num_workers=2, prefetch_factor=2, persistent_workers=True)\n"
    'assert sum(len(rows["n"]) for rows in loader) == 20',
    'model = AutoModelForSequenceClassification.from_pretrained("distilbert-base-uncased", num_labels=2)\n'
    'model.save_pretrained("/content/drive/MyDrive/model")',
    'import evaluate\nprint(evaluate.load("accuracy").compute(predictions=[1], references=[1]))',
    "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.savefig('/content/loss.png')",
)


@pytest.mark.parametrize("backend", list(Backend))
def test_a_notebook_of_the_assignment_runs(backend: Backend, tmp_path: Path) -> None:
    if backend is not Backend.NONE:
        needs.require_backend(backend)
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in CELLS])
    with pipeline.open_setup(Profile.STRUCTURE, 0, SandboxOptions(backend)) as setup:
        submission = Submission("work", tmp_path / "work.ipynb", "0" * 64, notebook, notebook)
        record = execute(submission, setup, tmp_path / "evidence")
    assert record.summary.failed_cells == ()
    assert record.summary.status is RunStatus.OK
