"""Which of the course's files a training read: told from short keys of the reviews."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from grader.assets.reviews import ReviewData, read_reviews
from grader.protocol.records import RowKeys
from grader.protocol.row_keys import make_text_key, make_token_key

# Reviews that begin alike are rare; a mixed-up file shares nearly all its keys, the right one nearly none.
FOREIGN_SHARE = 0.05
KNOWN_SHARE = 0.5  # below this the notebook changed the texts beyond recognition, and nothing is said


@dataclass(frozen=True)
class Exposure:
    """Shares of the rows seen that belong to the training and to the evaluation file, and to that one alone."""

    train: float
    eval: float


def is_held_back(learned: RowKeys | None, judged: RowKeys | None) -> bool:
    """Whether a model was judged on reviews that it has not learned from, so far as the keys are complete."""
    if learned is None or judged is None or learned.kind != judged.kind or learned.rows > len(learned.keys):
        return False
    return compute_overlap(learned.keys, judged.keys) <= FOREIGN_SHARE


def compute_overlap(learned: Collection[str], judged: Sequence[str]) -> float:
    """Share of the reviews that a model is judged on which it has also learned from. Keys of the same kind."""
    known = frozenset(learned)
    return sum(key in known for key in judged) / max(1, len(judged))


class Library:
    """Keys of the reviews of both files. Token keys need the checkpoint's tokenizer and are made when asked for."""

    def __init__(self, reviews: ReviewData, tokenizer: object) -> None:
        """Read the texts."""
        self.texts = {"train": _texts(reviews.train), "eval": _texts(reviews.eval)}
        self.tokenizer = tokenizer
        self._keys: dict[tuple[str, str], frozenset[str]] = {}

    def recognise(self, seen: RowKeys | None) -> Exposure | None:
        """How much of a data set is in one file and not in the other; None where most of it is in neither."""
        if seen is None or not seen.keys:
            return None
        found = self.measure_exposure(seen.kind, seen.keys)
        return found if found.train + found.eval >= KNOWN_SHARE else None

    def measure_exposure(self, kind: str, keys: Sequence[str]) -> Exposure:
        """How much of what was seen is in one file and not in the other. `kind` is "text" or "tokens"."""
        rows = max(1, len(keys))
        train, evaluation = self.keys(kind, "train"), self.keys(kind, "eval")
        return Exposure(
            train=sum(key in train and key not in evaluation for key in keys) / rows,
            eval=sum(key in evaluation and key not in train for key in keys) / rows,
        )

    def keys(self, kind: str, name: str) -> frozenset[str]:
        """All keys of one file."""
        if (kind, name) not in self._keys:
            texts = self.texts[name]
            made = (
                [make_text_key(t) for t in texts]
                if kind == "text"
                else [make_token_key(ids) for ids in self._ids(texts)]
            )
            self._keys[kind, name] = frozenset(made)
        return self._keys[kind, name]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, truncation=True, max_length=64)["input_ids"]  # type: ignore[operator]


def _texts(path: object) -> list[str]:
    return [review.text for review in read_reviews(path)]  # type: ignore[arg-type]
