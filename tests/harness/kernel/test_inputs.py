"""What a training would read, of whatever data set and collator."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, default_data_collator

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
    assert describe_batch(make_trainer(dataset, collator)) == seen


def make_trainer(dataset: Any, collator: Any, batch_size: int = 4, kind: type[Trainer] = Trainer) -> Trainer:
    trainer = kind.__new__(kind)
    trainer.train_dataset, trainer.data_collator = dataset, collator
    trainer.args = SimpleNamespace(train_batch_size=batch_size)
    trainer._remove_unused_columns = lambda rows, description: rows
    return trainer


class Batched(Trainer):
    def get_train_dataloader(self) -> Any: ...


MANY = [{"input_ids": [5] * n, "attention_mask": [1] * n} for n in range(1, 40)]
BLOCKS = [{"input_ids": [5] * n, "attention_mask": [1] * n} for n in (30, 40, 20) for _ in range(20)]
WHOLE = BatchSeen(39, masked=True)


@pytest.mark.parametrize(
    ("trainer", "seen"),
    [
        pytest.param(make_trainer(MANY, default_data_collator), BatchSeen(39, True, unequal=True), id="never padded"),
        pytest.param(
            make_trainer(Dataset.from_list(MANY), default_data_collator),
            BatchSeen(39, True, unequal=True),
            id="of the library",
        ),
        pytest.param(make_trainer(MANY, pad), WHOLE, id="padded in batches"),
        pytest.param(make_trainer(MANY, default_data_collator, batch_size=1), None, id="one at a time"),
        pytest.param(make_trainer(BLOCKS, default_data_collator), None, id="padded in blocks"),
        pytest.param(make_trainer(MANY, default_data_collator, kind=Batched), None, id="batches of its own"),
        pytest.param(make_trainer(MANY, fail), None, id="a collator that raises"),
    ],
)
def test_rows_of_different_length(trainer: Trainer, seen: BatchSeen | None) -> None:
    assert describe_batch(trainer) == seen
