"""A notebook loads everything without a network and without patches. One process for all: imports take seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grader.assets.hub import Checkpoint
from grader.assets.metrics import METRICS, locate_metrics
from grader.assignment import FULL_PARAMETERS, HEAD_PARAMETERS, MODEL_NAMES
from grader.execution.variables import build_variables
from grader.paths import ROOT


def listing(*folders: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for folder in folders for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def report(prepared: Path, standin: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The findings of offline_probe.py, with `unchanged`: it left the prepared folders alone."""
    scratch, evaluate_cache = tmp_path_factory.mktemp("scratch"), locate_metrics(prepared)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    variables = build_variables(standin.hub_cache, evaluate_cache, scratch)
    before = listing(standin.hub_cache, evaluate_cache)
    command = [sys.executable, str(Path(__file__).with_name("offline_probe.py"))]
    options = {"env": {**kept, **variables, "PYTHONPATH": str(ROOT)}, "cwd": scratch, "encoding": "utf-8"}
    # more than 300 s are a hang, not slowness: it takes ten
    process = subprocess.run(command, capture_output=True, timeout=300, check=False, **options)
    assert process.returncode == 0, process.stderr
    unchanged = listing(standin.hub_cache, evaluate_cache) == before
    return {**json.loads(process.stdout.splitlines()[-1]), "unchanged": unchanged}


# predictions 1 1 0 1, references 1 0 0 1: three hits of four, two true of three positives, no positive missed
SCORES = {"accuracy": 0.75, "precision": 2 / 3, "recall": 1.0, "f1": 0.8, "matthews_correlation": 3**-0.5}
METRICS_OF_ONE = {name: {name: pytest.approx(score)} for name, score in SCORES.items()}
EXPECTED: dict[str, object] = {
    "parameters": {name: {"all": FULL_PARAMETERS, "head": HEAD_PARAMETERS} for name in MODEL_NAMES},
    "hidden": [[1, 2, 768]] * len(MODEL_NAMES),
    "dropout": [0.2] * len(MODEL_NAMES),
    "explicit_class": "DistilBertForSequenceClassification",
    # [CLS] a dull mess . [SEP] in BERT's vocabulary; 600 words with [CLS] and [SEP], cut to 512 tokens or not at all
    "tokens": [[[101, 1037, 10634, 6752, 1012, 102], [512, 602]]] * 2 * len(MODEL_NAMES),
    "metrics": {
        **METRICS_OF_ONE,
        "roc_auc": {"roc_auc": 0.75},
        "glue": {"accuracy": 0.75, "f1": pytest.approx(0.8)},  # as for its task mrpc
    },
    "names": list(METRICS),
    "lists": {"f1": pytest.approx(2 / 3)},
    "combined": {"accuracy": 0.5, "f1": pytest.approx(2 / 3)},
    "rows": [0, 1],  # of a CSV file
    "attempts": [],  # to reach a network
    "unchanged": True,
}


@pytest.mark.parametrize("what", EXPECTED)
def test_findings(report: dict[str, Any], what: str) -> None:
    assert report[what] == EXPECTED[what]


def test_the_only_warning_is_that_the_head_is_new(report: dict[str, Any]) -> None:
    too_long = "Token indices sequence length is longer"  # the 600 words that the probe did not ask to be cut
    expected = ("newly initialized", too_long)
    assert [message for message in report["warnings"] if not any(part in message for part in expected)] == []
