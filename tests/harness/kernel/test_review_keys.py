"""Keys and labels of the reviews of any data set that a notebook may train on."""

from typing import Any

import pytest
import torch
from datasets import Dataset

from grader.kernel.training.review_keys import compute_keys
from grader.protocol.row_keys import make_text_key, make_token_key

TEXTS, TOKENS = ["a good film", "a bad one"], [[101, 7, 8, 102, 0], [101, 9, 102, 0, 0]]
TEXT_KEYS, TOKEN_KEYS = tuple(map(make_text_key, TEXTS)), tuple(map(make_token_key, TOKENS))


class Items:
    """A data set of a student's own, read one by one."""

    def __init__(self, *rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index]


def named(label: str, *values: Any) -> Items:
    return Items(*({"input_ids": ids, label: value} for ids, value in zip(TOKENS, values, strict=True)))


@pytest.mark.parametrize(
    ("dataset", "keys", "labels"),
    [
        pytest.param(Dataset.from_dict({"review": TEXTS, "label": [1, 0]}), TEXT_KEYS, (1, 0), id="texts"),
        pytest.param(
            Dataset.from_dict({"input_ids": TOKENS, "labels": [1, 0]}).with_format("torch"),
            TOKEN_KEYS,
            (1, 0),
            id="tokens, as tensors",
        ),
        pytest.param(Dataset.from_dict({"review": TEXTS, "label": ["pos", "neg"]}), TEXT_KEYS, (), id="words"),
        pytest.param(Dataset.from_dict({"review": TEXTS}), TEXT_KEYS, (), id="no labels"),
        pytest.param(named("labels", torch.tensor(1), torch.tensor(0)), TOKEN_KEYS, (1, 0), id="items"),
        pytest.param(named("label", 1.0, 0.0), TOKEN_KEYS, (1, 0), id="items with real numbers"),
        pytest.param(named("label", 0.9, 0.1), TOKEN_KEYS, (), id="items with shares"),
        pytest.param(named("score", 1, 0), TOKEN_KEYS, (), id="items with labels of another name"),
        pytest.param(
            torch.utils.data.TensorDataset(torch.tensor(TOKENS), torch.ones(2, 5), torch.tensor([1, 0])),
            TOKEN_KEYS,
            (1, 0),
            id="tensors",
        ),
    ],
)
def test_keys_and_labels(dataset: Any, keys: tuple[str, ...], labels: tuple[int, ...]) -> None:
    found = compute_keys(dataset)
    assert found is not None
    assert (found.rows, found.keys, found.labels) == (len(TEXTS), keys, labels)


@pytest.mark.parametrize(
    "dataset",
    [None, 3, Items(object()), Items({"text": "a"})],
    ids=["nothing", "a number", "no rows", "rows without labels"],
)
def test_what_cannot_be_read_is_nothing(dataset: Any) -> None:
    assert compute_keys(dataset) is None
