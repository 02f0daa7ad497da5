"""A notebook that is known to be right, graded before anybody's: is this machine fit to grade?

What a library asks of a machine while it is imported, what a sandbox keeps from it, limits that a shell passes on:
nobody can list them all, and each would look like a student's mistake. So once per machine, environment and sandbox a
small notebook goes the way that every submission goes, and has to get its points. If it does not, nobody gets a
verdict. That it did is remembered for a day, under everything that it may depend on.

Students have this file too: the notebook solves none of their exercises. Its layer has no adapter, and is asked only
for what holds without one.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import nbformat
import platformdirs
from filelock import FileLock, Timeout
from nbformat.v4 import new_code_cell, new_notebook

from grader.assets.cache import locate_cache
from grader.errors import GraderError
from grader.execution.job import Setup
from grader.execution.progress import Listener
from grader.execution.run import execute
from grader.intake.notebook import Submission
from grader.judging.case import Case
from grader.judging.runner import Judgement, run_suite
from grader.machine.limits import read_limits
from grader.model import FailedCell, Profile, RunStatus, Verdict
from grader.paths import PUBLIC_TESTS, ROOT
from grader.sandbox.folders import open_temporary_folder

FIT_S: Final = 24 * 3600.0  # how long a machine is believed to be as it was
WAIT_S: Final = 600.0  # for another process that tries the same
LONGEST: Final = 300  # characters of what a cell said
LOCK: Final = ".lock"
STAGE: Final = "trying this machine with a small notebook"
CELLS: Final = (
    """\
import json, math, os, random, time

import evaluate
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sklearn.metrics
import torch
from datasets import Dataset, DatasetDict, load_dataset
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments""",
    """\
reviews = load_dataset("csv", data_files={"train": "train.csv", "eval": "eval.csv"})
reviews = DatasetDict({name: split.select(range(32)) for name, split in reviews.items()})
tokenizer = AutoTokenizer.from_pretrained("distilbert-base-uncased")
tokenized = reviews.map(lambda batch: tokenizer(batch["review"], truncation=True), batched=True)
assert len(pd.read_csv("train.csv")) >= 32""",
    """\
metric = evaluate.load("accuracy")
model = AutoModelForSequenceClassification.from_pretrained("distilbert-base-uncased", num_labels=2)
trainer = Trainer(
    model,
    TrainingArguments("output", num_train_epochs=1, eval_strategy="epoch"),
    train_dataset=tokenized["train"],
    eval_dataset=tokenized["eval"],
    processing_class=tokenizer,
    compute_metrics=lambda p: metric.compute(predictions=np.argmax(p.predictions, axis=1), references=p.label_ids),
)
trainer.train()
plt.plot([1, 2])
plt.show()""",
    """\
class LoRALayer(nn.Module):
    def __init__(self, W, rank=12, alpha=24):
        super().__init__()
        self.W = W

    def forward(self, x):
        return self.W(x)""",
)
# What it has to pass, besides running without an error: a training with its weights, and the questions to a class.
REQUIRED: Final = ("step1.trainable_parameters", "step3.lora_construct", "step3.lora_fresh")
UNFIT: Final = (
    "This machine cannot grade: a small notebook that is known to be right lost points here, in sandbox `{sandbox}`. "
    "No student's notebook was graded."
)
ADVICE: Final = "Run `make doctor`, fix what it reports, and give the same command again."
MakeCase = Callable[[Path, Setup], Case]


@dataclass(frozen=True)
class Difference:
    """What the notebook should have got, and got."""

    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


def require_fit(used: Setup, make_case: MakeCase, listener: Listener | None = None) -> None:
    """Have the notebook graded, unless it was on this machine today. Raises GraderError where it loses points.

    make_case: evidence in a folder beside the oracle for it.
    """
    name = f"{fingerprint(used)}.json"
    if any(_is_fresh(folder / name) for folder in _list_folders()):
        return
    place = next(filter(_may_write, _list_folders()), None)
    if place is None:  # an installation that is only read, for a user without a home: tried each time
        return _require_points(used, make_case, listener)
    try:
        with FileLock(place / LOCK, timeout=WAIT_S):
            if not _is_fresh(place / name):
                _require_points(used, make_case, listener)
                _remember(place / name)
    except Timeout as error:
        raise GraderError(f"Another process has been trying this machine for {WAIT_S:.0f} s; stop it.") from error


def _remember(note: Path) -> None:
    """For a day; what is older goes. Where the disk is full it is tried again."""
    with contextlib.suppress(OSError):
        for old in note.parent.glob("*.json"):
            if not _is_fresh(old):
                old.unlink(missing_ok=True)
        note.write_text(json.dumps({"at": time.time()}), encoding="utf-8")


def _list_folders() -> tuple[Path, ...]:
    """Where it may be remembered: beside the other prepared things, or with this user's caches."""
    return locate_cache(ROOT, os.environ) / "fit", platformdirs.user_cache_path("finetuning-grader") / "fit"


def _may_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _require_points(used: Setup, make_case: MakeCase, listener: Listener | None) -> None:
    if listener:
        listener.stage(STAGE)
    if found := attempt(used, make_case):
        lines = (f"- {difference}" for difference in found)
        raise GraderError("\n".join((UNFIT.format(sandbox=used.sandbox.backend), *lines, ADVICE)))


def attempt(used: Setup, make_case: MakeCase) -> tuple[Difference, ...]:
    """Have the notebook graded now; what it did not get. Raises GraderError where it cannot even be run."""
    with open_temporary_folder("a4-fit-") as folder:
        plain = replace(used, profile=Profile.STRUCTURE, bfloat16=False, tf32=False, gpu_pool=None)
        execute(load_notebook(), plain, folder / "evidence")
        return tuple(find_differences(make_case(folder / "evidence", plain)))


def load_notebook() -> Submission:
    """The notebook, as if it had been handed in."""
    made = new_notebook(cells=[new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(CELLS)])
    digest = hashlib.sha256(nbformat.writes(made).encode()).hexdigest()
    return Submission("canary", Path("canary.ipynb"), digest, made, made)


def find_differences(case: Case) -> Iterator[Difference]:
    """Where the notebook did not get what it has to get; first what explains the rest."""
    summary = case.evidence.run.summary
    if summary.status not in (RunStatus.OK, RunStatus.STUDENT_ERROR):
        reason = case.evidence.run.reason
        yield Difference("its run", RunStatus.OK, summary.status + (f" ({reason})" if reason else ""))
    yield from (Difference(f"its cell {cell.index + 1}", "no error", _words(cell)) for cell in summary.failed_cells)
    judged = {judgement.id: judgement for judgement in run_suite(case, [PUBLIC_TESTS])}
    for judgement in (judged[name] for name in REQUIRED if name in judged):  # a course may leave a check out
        if judgement.verdict is not Verdict.PASSED:
            yield Difference(f"“{judgement.title}”", Verdict.PASSED, _explain(judgement))


def _words(cell: FailedCell) -> str:
    return f"{cell.error}: {cell.message}"[:LONGEST]


def _explain(judgement: Judgement) -> str:
    return f"{judgement.verdict} ({judgement.fault or judgement.rationale})"[:LONGEST]


def _is_fresh(note: Path) -> bool:
    try:
        age_s = time.time() - float(json.loads(note.read_text(encoding="utf-8"))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return 0 <= age_s < FIT_S


def fingerprint(used: Setup) -> str:
    """Everything that the outcome may depend on: machine, environment, limits, sandbox, code and data."""
    facts = {
        "machine": [platform.node(), platform.release(), platform.machine(), _boot()],
        "python": [sys.executable, sys.version, _packages()],
        "user": getattr(os, "geteuid", lambda: 0)(),
        "environment": {name: os.environ.get(name) for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "LANG")},
        "limits": [str(limit) for limit in read_limits()],
        "sandbox": [used.sandbox.backend, used.sandbox.policy.gpus],
        "checkpoint": used.checkpoint.sha256,
        "reviews": used.reviews.sha256,
        "code": _code(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _boot() -> str:
    """Changes when the machine starts; empty where it is not told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _packages() -> list[str]:
    return sorted(f"{found.name} {found.version}" for found in importlib.metadata.distributions())


def _code() -> str:
    hasher = hashlib.sha256()
    for path in sorted((ROOT / "grader").rglob("*.py")):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()
