"""Which reviews a training saw: a short key per row, so that the host can tell the training file from the other one."""

from typing import Any, Literal

from grader.protocol.records import RowKeys
from grader.protocol.row_keys import make_text_key, make_token_key

MAX_ROWS = 3_000

Keys = tuple[Literal["text", "tokens"], list[str]]


def compute_keys(dataset: Any) -> RowKeys | None:
    """Keys of the first reviews, or None where nothing can be read."""
    try:
        rows = len(dataset)
        kind, values = _columns(dataset) or _items(dataset)
    except Exception:  # a student's dataset may be anything
        return None
    return RowKeys(rows, kind, tuple(values))


def find_least_shared(found: list[RowKeys | None], learned: RowKeys | None) -> RowKeys | None:
    """Of several data sets that a model is judged on, the one that it has learned least of; None if none can be read.

    The others are there to see how much it overfits. Of equals, the first.
    """
    known = frozenset(learned.keys if learned else ())
    readable = [part for part in found if part and part.keys]
    return min(readable, key=lambda part: sum(key in known for key in part.keys) / len(part.keys), default=None)


def _columns(dataset: Any) -> Keys | None:
    names = getattr(dataset, "column_names", None)
    if not isinstance(names, list):
        return None
    plain = dataset.with_format(None)
    for name in ("review", "text", "sentence"):
        if name in names:
            return "text", [make_text_key(text) for text in plain[:MAX_ROWS][name]]
    return "tokens", [make_token_key(ids) for ids in plain[:MAX_ROWS]["input_ids"]]


def _items(dataset: Any) -> Keys:
    rows = (dataset[i] for i in range(min(len(dataset), MAX_ROWS)))
    return "tokens", [make_token_key(_ids(row)) for row in rows]


def _ids(row: Any) -> Any:
    """Token ids of one item: by name, or the first of several tensors."""
    return row[0] if isinstance(row, (tuple, list)) else row["input_ids"]
