"""What a training would read, of whatever data set and collator."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset

from grader.kernel.training.inputs import describe_batch
from grader.protocol.records import BatchSeen

LENGTHS = (5, 700, 9, 3)
ROWS = [{"input_ids": [7] * n, "attention_mask": [1] * n, "review": "good", "label": 1} for n in LENGTHS]
PADDED = [{"input_ids": [7] * n + [0] * (700 - n)} for n in (700, 700, 9)]  # to one length, and without a mask


def pad(features: list[dict[str, Any]], mask: bool = True) -> dict[str, torch.Tensor]:
    width = max(len(row["input_ids"]) for row in features)
    names = ("input_ids", "attention_mask") if mask else ("input_ids",)
    return {n: torch.tensor([row[n] + [0] * (width - len(row[n])) for row in features]) for n in names}


def cut(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    return {name: tensor[:, :512] for name, tensor in pad(features).items()}


def fail(features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    raise ValueError("no features")


@pytest.mark.parametrize(
    ("dataset", "collator", "seen"),
    [
        pytest.param(Dataset.from_list(ROWS), pad, BatchSeen(700, masked=True), id="of the library"),
        pytest.param(ROWS, pad, BatchSeen(700, masked=True), id="a list"),
        pytest.param(Dataset.from_list(ROWS), cut, BatchSeen(512, masked=True), id="cut by the collator"),
        pytest.param(Dataset.from_list(ROWS).select([0, 2, 3]), pad, BatchSeen(9, masked=True), id="a selection"),
        pytest.param(ROWS, lambda rows: pad(rows, mask=False), BatchSeen(700, masked=False), id="no mask"),
        pytest.param(ROWS[:1], lambda rows: pad(rows, mask=False), BatchSeen(5, masked=True), id="nothing to mask"),
        pytest.param(PADDED, lambda rows: pad(rows, mask=False), BatchSeen(700, masked=False), id="padded before"),
        pytest.param(
            Dataset.from_list(PADDED).select([1, 2]),
            lambda rows: pad(rows, mask=False),
            BatchSeen(700, masked=False),
            id="padded before, of the library",
        ),
        pytest.param(ROWS, fail, None, id="a collator that raises"),
        pytest.param(iter(ROWS), pad, None, id="a stream"),
        pytest.param(None, pad, None, id="nothing"),
    ],
)
def test_describe_batch(dataset: Any, collator: Any, seen: BatchSeen | None) -> None:
    trainer = SimpleNamespace(
        train_dataset=dataset, data_collator=collator, _remove_unused_columns=lambda rows, description: rows
    )
    assert describe_batch(trainer) == seen
