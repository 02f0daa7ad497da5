"""A short key for each review that a training saw, so that the host can tell the training file from the other one."""

from typing import Any, Literal

from grader.protocol.records import RowKeys
from grader.protocol.row_keys import make_text_key, make_token_key

MAX_ROWS = 3_000
LARGEST = 2**53  # of the whole numbers that a float holds

Kind = Literal["text", "tokens"]
LABELS = ("labels", "label")


def compute_keys(dataset: Any) -> RowKeys | None:
    """Compute the keys of the first reviews, or None where nothing can be read."""
    try:
        rows = len(dataset)
        kind, values, labels = _read_columns(dataset) or _read_items(dataset)
    except Exception:  # a student's dataset may be anything
        return None
    return RowKeys(rows, kind, tuple(values), _make_whole(labels))


def find_least_shared(found: list[RowKeys | None], learned: RowKeys | None) -> RowKeys | None:
    """Return that one of several evaluation sets that a model has learned least of; None if none can be read.

    The others are there to see how much it overfits. Of equals, the first.
    """
    known = frozenset(learned.keys if learned else ())
    readable = [part for part in found if part and part.keys]
    return min(readable, key=lambda part: sum(key in known for key in part.keys) / len(part.keys), default=None)


def _read_columns(dataset: Any) -> tuple[Kind, list[str], list[Any]] | None:
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list):
        return None
    plain = dataset.with_format(None)[:MAX_ROWS]
    labels: list[Any] = next((plain[name] for name in LABELS if name in names), [])
    for name in ("review", "text", "sentence"):
        if name in names:
            return "text", [make_text_key(text) for text in plain[name]], labels
    return "tokens", [make_token_key(ids) for ids in plain["input_ids"]], labels


def _read_items(dataset: Any) -> tuple[Kind, list[str], list[Any]]:
    """Read token ids and label of items: by name, or the first and the last of several tensors."""
    pairs = [_read_item(dataset[i]) for i in range(min(len(dataset), MAX_ROWS))]
    return "tokens", [make_token_key(ids) for ids, _ in pairs], [label for _, label in pairs]


def _read_item(row: Any) -> tuple[Any, Any]:
    if isinstance(row, (tuple, list)):
        return row[0], row[-1]
    return row["input_ids"], next((row[name] for name in LABELS if name in row), None)


def _make_whole(labels: list[Any]) -> tuple[int, ...]:
    """Return labels as whole numbers; empty if one of them is none."""
    try:
        numbers = [float(label) for label in labels]
    except Exception:  # words, tensors of several numbers, numbers that no float holds, and whatever raises
        return ()
    whole = all(number.is_integer() and abs(number) <= LARGEST for number in numbers)
    return tuple(map(int, numbers)) if whole else ()
