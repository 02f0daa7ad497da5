"""A short key for each review that a training saw, so that the host can tell the training file from the other one."""

from typing import Any, Literal

from grader.protocol.records import RowKeys
from grader.protocol.row_keys import make_text_key, make_token_key

MAX_ROWS = 3_000

Keys = tuple[Literal["text", "tokens"], list[str]]


def compute_keys(dataset: Any) -> RowKeys | None:
    """Compute the keys of the first reviews, or None where nothing can be read."""
    try:
        rows = len(dataset)
        kind, values = _read_columns(dataset) or _read_items(dataset)
    except Exception:  # a student's dataset may be anything
        return None
    return RowKeys(rows, kind, tuple(values))


def find_least_shared(found: list[RowKeys | None], learned: RowKeys | None) -> RowKeys | None:
    """Return that one of several evaluation sets that a model has learned least of; None if none can be read.

    The others are there to see how much it overfits. Of equals, the first.
    """
    known = frozenset(learned.keys if learned else ())
    readable = [part for part in found if part and part.keys]
    return min(readable, key=lambda part: sum(key in known for key in part.keys) / len(part.keys), default=None)


def _read_columns(dataset: Any) -> Keys | None:
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list):
        return None
    plain = dataset.with_format(None)
    for name in ("review", "text", "sentence"):
        if name in names:
            return "text", [make_text_key(text) for text in plain[:MAX_ROWS][name]]
    return "tokens", [make_token_key(ids) for ids in plain[:MAX_ROWS]["input_ids"]]


def _read_items(dataset: Any) -> Keys:
    """Read the token ids of items: by name, or the first of several tensors."""
    rows = (dataset[i] for i in range(min(len(dataset), MAX_ROWS)))
    ids = (row[0] if isinstance(row, (tuple, list)) else row["input_ids"] for row in rows)
    return "tokens", [make_token_key(part) for part in ids]
