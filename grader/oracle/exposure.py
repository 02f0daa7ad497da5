"""Tells from short keys of the reviews which of the course's files a training read."""

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.assets.cache import place_file
from grader.assets.reviews import ReviewData, read_reviews
from grader.assets.synthetic_reviews import Review
from grader.protocol.records import RowKeys, Training
from grader.protocol.row_keys import make_text_key, make_token_key

# Reviews that begin alike are rare; a mixed-up file shares nearly all its keys, the right one nearly none.
FOREIGN_SHARE = 0.05
# What is left when a part is held back is more of a file than this; what is taken to try things out is less.
ENOUGH_SHARE = 0.5
OWN_LABELS = 0.9  # of reviews, at least: nobody exchanges a few labels
KNOWN_SHARE = 0.5  # below this the notebook changed the texts beyond recognition, and nothing is said


def count_epochs(training: Training) -> float | None:
    """Return how many times a training reads its reviews, by the arguments of its `Trainer`; None where none say so."""
    asked = training.arguments
    if (steps := asked.get("max_steps") or 0) <= 0:
        return asked.get("num_train_epochs")
    batch, accumulated = asked.get("per_device_train_batch_size"), asked.get("gradient_accumulation_steps")
    rows = training.data.train.rows if training.data.train else 0
    return steps * batch * accumulated / rows if batch and accumulated and rows else None


def is_whole(training: Training, trainings: Iterable[Training]) -> bool:
    """Return True if a training is to read its reviews, and of these about as many as any other of the notebook."""
    most = max((other.data.train.rows for other in trainings if other.data.train), default=0)
    rows, epochs = training.data.train.rows if training.data.train else most, count_epochs(training)
    return rows >= ENOUGH_SHARE * most and (epochs is None or epochs >= ENOUGH_SHARE)


@dataclass(frozen=True)
class Exposure:
    """Shares of the rows of a data set that are in the training file only, and in the evaluation file only."""

    train: float
    eval: float


def is_held_back(learned: RowKeys | None, judged: RowKeys | None) -> bool:
    """Return True if a model is evaluated on reviews that it has not learned from; False where the keys cannot tell."""
    if learned is None or judged is None or learned.kind != judged.kind or learned.rows > len(learned.keys):
        return False
    known = frozenset(learned.keys)
    return sum(key in known for key in judged.keys) / max(1, len(judged.keys)) <= FOREIGN_SHARE


class Library:
    """Keys of the reviews of both files, which are made when needed."""

    def __init__(self, reviews: ReviewData, make_tokenizer: Callable[[], Any], kept: Path | None = None) -> None:
        """`make_tokenizer`: of the checkpoint; takes seconds. `kept`: a folder for the keys of these reviews by it."""
        self.files = {"train": reviews.train, "eval": reviews.eval}
        self.make_tokenizer, self.kept = make_tokenizer, kept
        self._labels: dict[tuple[str, str], Mapping[str, int | None]] = {}
        self._reviews: dict[str, Sequence[Review]] = {}

    def recognise(self, seen: RowKeys | None) -> Exposure | None:
        """Measure a data set's exposure; None where most of it is in neither file."""
        if seen is None or not seen.keys:
            return None
        found = self.measure_exposure(seen.kind, seen.keys)
        return found if found.train + found.eval >= KNOWN_SHARE else None

    def measure_exposure(self, kind: str, keys: Sequence[str]) -> Exposure:
        """Measure how much of a data set is in one file and not in the other. `kind` is "text" or "tokens"."""
        rows = max(1, len(keys))
        train, evaluation = self.labels(kind, "train"), self.labels(kind, "eval")
        return Exposure(
            train=sum(key in train and key not in evaluation for key in keys) / rows,
            eval=sum(key in evaluation and key not in train for key in keys) / rows,
        )

    def measure_own_labels(self, seen: RowKeys | None) -> float | None:
        """Measure the share of training reviews that have the label of the file; None where that cannot be told."""
        if seen is None or len(seen.labels) != len(seen.keys):
            return None
        known = self.labels(seen.kind, "train")
        own = [(known[key], label) for key, label in zip(seen.keys, seen.labels, strict=True) if key in known]
        told = [given == label for given, label in own if given is not None]
        return sum(told) / len(told) if told and len(told) >= KNOWN_SHARE * len(seen.keys) else None

    def labels(self, kind: str, name: str) -> Mapping[str, int | None]:
        """Return the label of each review of one file, by its key; None where reviews with one key differ in it."""
        if (kind, name) not in self._labels:
            self._labels[kind, name] = self._read_kept(kind, name) or self._compute(kind, name)
        return self._labels[kind, name]

    def read_file(self, name: str) -> Sequence[Review]:
        """Return the reviews of one file, which is read once."""
        if name not in self._reviews:
            self._reviews[name] = read_reviews(self.files[name])
        return self._reviews[name]

    def count_rows(self) -> dict[str, int]:
        """Return how many reviews each file holds."""
        return {name: len(self.read_file(name)) for name in self.files}

    def _compute(self, kind: str, name: str) -> Mapping[str, int | None]:
        texts = [review.text for review in self.read_file(name)]
        labels = [review.label for review in self.read_file(name)]
        if kind == "text":
            return collect_labels(map(make_text_key, texts), labels)
        ids = self.make_tokenizer()(texts, truncation=True, max_length=64)["input_ids"]
        found = collect_labels(map(make_token_key, ids), labels)
        if self.kept is not None:
            with contextlib.suppress(OSError):  # an installation that is only read
                place_file(self._locate_kept(name), json.dumps(found, sort_keys=True).encode())
        return found

    def _read_kept(self, kind: str, name: str) -> Mapping[str, int | None] | None:
        """Return labels by token keys that were computed before; None where there are none, or they are damaged."""
        if kind == "text" or self.kept is None:
            return None
        with contextlib.suppress(OSError, ValueError, TypeError):
            return dict(json.loads(self._locate_kept(name).read_text(encoding="utf-8")))
        return None

    def _locate_kept(self, name: str) -> Path:
        assert self.kept is not None
        return self.kept / f"{name}-labels.json"


def collect_labels(keys: Iterable[str], labels: Iterable[int]) -> Mapping[str, int | None]:
    """Return each key's label; None for a key that comes with several."""
    found: dict[str, int | None] = {}
    for key, label in zip(keys, labels, strict=True):
        found[key] = label if found.get(key, label) == label else None
    return found
