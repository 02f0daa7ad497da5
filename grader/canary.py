"""A small notebook that is known to be right, graded before anybody's: is this machine fit to grade?

The demands of libraries on a machine, the walls of a sandbox, limits that a shell passes on: nobody can list them all,
and each would look like a student's mistake. So once per machine, environment and sandbox this notebook is graded like
any submission and must get its points. Otherwise nobody gets a verdict. A success is remembered for a day, under
everything that it may depend on.

Students have this file too: the notebook solves none of their exercises. Its layer has no adapter, and only what holds
without one is checked.
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
from dataclasses import replace
from pathlib import Path
from typing import Final

import nbformat
import platformdirs
from filelock import FileLock, Timeout
from nbformat.v4 import new_code_cell, new_notebook
from pydantic import TypeAdapter

from grader.assets.cache import locate_cache
from grader.errors import GraderError
from grader.execution.job import Setup
from grader.execution.progress import Listener
from grader.execution.run import execute
from grader.intake.notebook import Submission
from grader.judging.apart import Bounds, ChildLost, run_apart
from grader.judging.case import Case
from grader.judging.runner import run_suite
from grader.machine.limits import read_limits
from grader.model import Profile, RunStatus, Verdict
from grader.paths import PUBLIC_TESTS, ROOT
from grader.sandbox.folders import open_temporary_folder

FIT_S: Final = 24 * 3600.0  # how long a success counts
WAIT_S: Final = 600.0  # for another process that tries the same
LONGEST: Final = 300  # characters of one reason
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
# The checks that it must pass, besides running without an error: a training with its weights, and a class.
REQUIRED: Final = ("step1.trainable_parameters", "step3.lora_construct", "step3.lora_fresh")
UNFIT: Final = (
    "This machine cannot grade: a small notebook that is known to be right lost points here, in sandbox `{sandbox}`. "
    "No student's notebook was graded."
)
ADVICE: Final = "Run `make doctor`, fix what it reports, and give the same command again."
BOUNDS: Final = Bounds.of(Profile.STRUCTURE)
WORDS: Final = TypeAdapter(tuple[str, ...])
MakeCase = Callable[[Path, Setup], Case]


def require_fit(used: Setup, make_case: MakeCase, listener: Listener | None = None) -> None:
    """Grade the notebook, unless it passed on this machine today. Raises GraderError where it loses points.

    make_case: puts evidence in a folder beside the oracle for it.
    """
    name = f"{_fingerprint(used)}.json"
    if any(_is_fresh(folder / name) for folder in _list_folders()):
        return
    place = next(filter(_may_write, _list_folders()), None)
    if place is None:  # an installation that is only read, for a user without a home: graded each time
        return _require_points(used, make_case, listener)
    try:
        with FileLock(place / ".lock", timeout=WAIT_S):
            if not _is_fresh(place / name):
                _require_points(used, make_case, listener)
                _remember(place / name)
    except Timeout as error:
        raise GraderError(f"Another process has been trying this machine for {WAIT_S:.0f} s; stop it.") from error


def _remember(note: Path) -> None:
    """Write a note and remove old ones; where the disk is full, the notebook is graded again next time."""
    with contextlib.suppress(OSError):
        for old in note.parent.glob("*.json"):
            if not _is_fresh(old):
                old.unlink(missing_ok=True)
        note.write_text(json.dumps({"at": time.time()}), encoding="utf-8")


def _is_fresh(note: Path) -> bool:
    try:
        age_s = time.time() - float(json.loads(note.read_text(encoding="utf-8"))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return 0 <= age_s < FIT_S


def _list_folders() -> tuple[Path, ...]:
    """Return the places for notes: beside the other prepared files, and in this user's caches."""
    return locate_cache(ROOT, os.environ) / "fit", platformdirs.user_cache_path("finetuning-grader") / "fit"


def _may_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _require_points(used: Setup, make_case: MakeCase, listener: Listener | None) -> None:
    if listener:
        listener.stage("trying this machine with a small notebook")
    if found := attempt(used, make_case):
        lines = (f"- {difference}" for difference in found)
        raise GraderError("\n".join((UNFIT.format(sandbox=used.sandbox.backend), *lines, ADVICE)))


def attempt(used: Setup, make_case: MakeCase) -> tuple[str, ...]:
    """Grade the notebook now and return what it did not get. Raises GraderError where it cannot even be run."""
    made = new_notebook(cells=[new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(CELLS)])
    digest = hashlib.sha256(nbformat.writes(made).encode()).hexdigest()
    plain = replace(used, profile=Profile.STRUCTURE, bfloat16=False, tf32=False, gpu_pool=None)
    with open_temporary_folder("a4-fit-") as folder:
        evidence = folder / "evidence"
        execute(Submission("canary", Path("canary.ipynb"), digest, made, made), plain, evidence)
        try:
            return run_apart(lambda begin: tuple(_find_differences(make_case(evidence, plain))), WORDS, BOUNDS)
        except ChildLost as lost:
            return (f"its judging: {lost}",)


def _find_differences(case: Case) -> Iterator[str]:
    """Yield what the notebook did not get; first what explains the rest."""
    summary, reason = case.evidence.run.summary, case.evidence.run.reason
    if summary.status not in (RunStatus.OK, RunStatus.STUDENT_ERROR):
        yield f"its run: expected {RunStatus.OK}, found {summary.status}{f' ({reason})' if reason else ''}"
    for cell in summary.failed_cells:
        yield f"its cell {cell.index + 1}: expected no error, found {f'{cell.error}: {cell.message}'[:LONGEST]}"
    for judgement in run_suite(case, [PUBLIC_TESTS]):  # a course may leave a check out
        if judgement.id in REQUIRED and judgement.verdict is not Verdict.PASSED:
            found = f"{judgement.verdict} ({judgement.fault or judgement.rationale})"[:LONGEST]
            yield f"“{judgement.title}”: expected {Verdict.PASSED}, found {found}"


def _fingerprint(used: Setup) -> str:
    """Digest everything that the outcome may depend on: machine, environment, limits, sandbox, code and data."""
    facts = {
        "machine": [platform.node(), platform.release(), platform.machine(), _read_boot_id()],
        "python": [sys.executable, sys.version],
        "packages": sorted(f"{found.name} {found.version}" for found in importlib.metadata.distributions()),
        "user": getattr(os, "geteuid", lambda: 0)(),
        "environment": {name: os.environ.get(name) for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ", "LANG")},
        "limits": [str(limit) for limit in read_limits()],
        "sandbox": [used.sandbox.backend, used.sandbox.policy.gpus],
        "checkpoint": used.checkpoint.sha256,
        "reviews": used.reviews.sha256,
        "code": _digest_code(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _read_boot_id() -> str:
    """Return what changes when the machine starts; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _digest_code() -> str:
    hasher = hashlib.sha256()
    for path in sorted((ROOT / "grader").rglob("*.py")):
        hasher.update(path.read_bytes())
    return hasher.hexdigest()
