"""Looks at what a training would read: the longest review and the shortest, in one batch, as the model gets them."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute
import torch
from transformers import Trainer

from grader.protocol.records import BatchSeen

MAX_ITEMS = 200  # of a data set that is read one by one
# Different lengths of rows that are not padded at all. Rows that are padded in blocks, as `map` does with a tokenizer's
# `padding=True`, have as many as there are blocks; whether those fit together depends on the reviews.
MANY_LENGTHS = 10


def describe_batch(trainer: Any) -> BatchSeen | None:
    """Return facts about a batch of the training data, uncut; None where none can be made of it."""
    try:
        dataset = trainer.train_dataset
        lengths = _count_tokens(dataset)
        if hasattr(dataset, "column_names"):  # of the datasets library: the Trainer takes away what no model reads
            dataset = trainer._remove_unused_columns(dataset, description="training")
        longest, shortest = dataset[int(np.argmax(lengths))], dataset[int(np.argmin(lengths))]
        if len(set(lengths)) > MANY_LENGTHS and _is_stopped(trainer, longest, shortest):
            return BatchSeen(tokens=int(max(lengths)), masked=True, unequal=True)
        batch = _collate(trainer, longest, shortest)
        ids, mask = batch["input_ids"], batch.get("attention_mask")
        padding = ids == 0
        masked = not bool(padding.any()) or (mask is not None and not bool(mask[padding].any()))
        return BatchSeen(tokens=int(ids.shape[-1]), masked=masked)
    except Exception:  # a student's data set and collator may be anything
        return None


def _collate(trainer: Any, *rows: Any) -> Any:
    with torch.random.fork_rng(devices=[]):  # a collator of the student's own may draw random numbers
        return trainer.data_collator([copy.copy(row) for row in rows])  # and may change what it gets


def _is_stopped(trainer: Any, longest: Any, shortest: Any) -> bool:
    """Return True if rows of different length stop a training: its batches mix them, and they do not fit into one."""
    if trainer.args.train_batch_size == 1 or type(trainer).get_train_dataloader is not Trainer.get_train_dataloader:
        return False
    _collate(trainer, longest, longest)
    try:
        _collate(trainer, longest, shortest)
    except Exception:  # whatever a collator raises
        return True
    return False


def _count_tokens(dataset: Any) -> Sequence[int]:
    """Return the number of tokens of each row: without padding, where all rows were padded to one length."""
    if not hasattr(dataset, "column_names"):
        rows = [dataset[i]["input_ids"] for i in range(min(len(dataset), MAX_ITEMS))]
        return [int(np.count_nonzero(row)) for row in rows] if len(set(map(len, rows))) == 1 else [*map(len, rows)]
    counts = _count_column(dataset.data.column("input_ids"))
    chosen = dataset._indices  # of a selection or a shuffled copy
    return counts if chosen is None else counts[chosen.column(0).to_numpy()]


def _count_column(ids: Any) -> Any:
    """Count the tokens of each row of a column of lists."""
    lengths = pyarrow.compute.list_value_length(ids).to_numpy()
    if len(lengths) == 0 or lengths.min() != lengths.max():
        return lengths
    return np.count_nonzero(pyarrow.compute.list_flatten(ids).to_numpy().reshape(len(lengths), -1), axis=1)
