"""Work that was removed because it cost time stays removed, and changes nothing that is written down."""

import subprocess
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from grader.execution import variables
from grader.kernel import writing
from grader.kernel.training import recorder as recording
from grader.paths import ROOT
from grader.protocol.plan import Plan
from grader.protocol.records import RowKeys

ARROW = SimpleNamespace(column_names=["input_ids"])  # looks like a data set of the datasets library


@pytest.fixture
def recorder(tmp_path: Path) -> recording.Recorder:
    save_file({"distilbert.x": torch.zeros(1)}, tmp_path / "base.safetensors")
    return recording.Recorder(Plan(seed=0, inputs={}, base_weights=str(tmp_path / "base.safetensors"), names={}))


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        pytest.param(ARROW, [1, 1, 1], id="Arrow data is read once"),
        pytest.param([1, 2], [1, 2, 3], id="a list may change"),
    ],
)
def test_shared_data_sets(
    dataset: Any, expected: list[int], recorder: recording.Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = count(1)
    monkeypatch.setattr(recording.review_keys, "compute_keys", lambda given: RowKeys(next(reads), "text", ()))
    answers = [recorder.keys(dataset) for _ in range(3)]
    assert [answer.rows for answer in answers if answer] == expected


def test_weights_are_not_copied_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    clone = torch.Tensor.clone
    monkeypatch.setattr(torch.Tensor, "clone", lambda self: copied.append(self.numel()) or clone(self))
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"a": torch.ones(5), "whole": whole, "row": whole[1], "again": whole, "turned": whole.T}
    writing.write_tensors(str(tmp_path), "x.safetensors", tensors)
    written = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(written[name], tensors[name]) for name in tensors)
    assert sorted(copied) == [4, 12], "only what shares its storage"


def test_judging_does_not_load_what_kernels_need() -> None:
    """It takes seconds of every worker's start."""
    heavy = ("datasets", "evaluate", "pandas", "pyarrow", "matplotlib")
    program = f"import sys, grader.batch.worker_tools; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_threads_of_kernels_sleep_while_they_wait() -> None:
    assert variables.CONSTANT["OMP_WAIT_POLICY"] == "passive"
