"""Film reviews made by a grammar, for a machine that has no real ones. Results that use them name them synthetic.

A review tells some plot, which says nothing about its label, and weighs several aspects of the film: more of them are
praised than blamed in a positive review, fewer in a negative one. Many judgements are worded by what the film is *not*
or by what others thought of it, so that counting words alone does not separate the labels. The same seed gives the same
bytes on every machine: of `random` only `random()` is used, whose sequence Python guarantees.
"""

import csv
import io
import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")
PHRASES: Final[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8"))
# Word in a template -> the list that it is picked from.
FILLERS: Final = {"name": "names", "friend": "names", "role": "roles", "place": "places", "event": "events"}
BY_LABEL: Final = (PHRASES["negative"], PHRASES["positive"])
MIN_WORDS: Final = 15
MAX_WORDS: Final = 60  # short, so that a fresh machine without a GPU grades its first notebook in minutes
MAX_ASPECTS: Final = 4
# Of judgements, worded by what they deny. At 0.5 the plain stand-in learns nothing in 64 steps.
CONTRAST_SHARE: Final = 0.15
VERDICT_SHARE: Final = 0.4  # of reviews that end with a verdict on the whole film


@dataclass(frozen=True)
class Review:
    """One labelled review: 1 for positive, 0 for negative."""

    text: str
    label: int


class SeededRandom:
    """Random choices that come out the same for the same seed in every version of Python."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def draw_below(self, stop: int) -> int:
        """Return an integer from 0 to `stop` - 1."""
        return int(self._random.random() * stop)

    def pick(self, options: Sequence[str]) -> str:
        """Return one of `options`."""
        return options[self.draw_below(len(options))]

    def draw_bool(self, probability: float) -> bool:
        """Return True with this probability."""
        return self._random.random() < probability

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """Return the items in random order."""
        return sorted(items, key=lambda _: self._random.random())


def generate_reviews(count: int, dice: SeededRandom) -> list[Review]:
    """Return `count` reviews, all different, half of them positive (one fewer than negative if `count` is odd)."""
    found: dict[str, Review] = {}
    while len(found) < count:
        review = _write_review(len(found) % 2, dice)
        if MIN_WORDS <= len(review.text.split()) <= MAX_WORDS:
            found.setdefault(review.text, review)
    return dice.shuffle(list(found.values()))


def format_csv(rows: Sequence[Review]) -> bytes:
    """Return the reviews as a CSV file in UTF-8 with the columns `review` and `label`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("review", "label"))
    writer.writerows((row.text, row.label) for row in rows)
    return text.getvalue().encode("utf-8")


def _write_review(label: int, dice: SeededRandom) -> Review:
    """Write one review: opinions stand before and after the plot, so that cutting it loses few of them."""
    opening = [_fill(PHRASES["openings"], dice)] if dice.draw_bool(0.7) else []
    opinions = _write_opinions(label, dice)
    before = dice.draw_below(len(opinions) + 1)
    plot = [_fill(PHRASES["plots"], dice) for _ in range(dice.draw_below(3))]
    verdict = [_write_verdict(label, dice)] if dice.draw_bool(VERDICT_SHARE) else []
    sentences = [*opening, *opinions[:before], *plot, *opinions[before:], *verdict]
    return Review(" ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences), label)


def _write_opinions(label: int, dice: SeededRandom) -> list[str]:
    """Judge different aspects, most of them as the review's own label does."""
    count = 2 + dice.draw_below(MAX_ASPECTS - 1)
    dissenting = dice.draw_below(count // 3 + 1)
    labels = dice.shuffle([1 - label] * dissenting + [label] * (count - dissenting))
    aspects = dice.shuffle(PHRASES["aspects"])[:count]
    sentences = [_judge(aspect, each, dice) for aspect, each in zip(aspects, labels, strict=True)]
    return [f"{dice.pick(PHRASES['links'])} {text}" if dice.draw_bool(0.25) else text for text in sentences]


def _judge(aspect: str, label: int, dice: SeededRandom) -> str:
    """Write one judgement. In a contrast the words of the opposite label stand in for what is denied."""
    template = dice.pick(PHRASES["contrasts"] if dice.draw_bool(CONTRAST_SHARE) else PHRASES["judgements"])
    same, opposite = BY_LABEL[label]["words"], BY_LABEL[1 - label]["words"]
    words = {"word": dice.pick(same), "second": dice.pick(same), "other": dice.pick(opposite)}
    return template.format(aspect=aspect, **words, adverb=dice.pick(PHRASES["adverbs"]))


def _write_verdict(label: int, dice: SeededRandom) -> str:
    template = dice.pick(BY_LABEL[label]["verdicts"])
    return template.format(word=dice.pick(BY_LABEL[label]["verdict_words"]), genre=dice.pick(PHRASES["genres"]))


def _fill(templates: Sequence[str], dice: SeededRandom) -> str:
    template = dice.pick(templates)
    words = {word: dice.pick(PHRASES[kind]) for word, kind in FILLERS.items()}
    return template.format(**words, genre=dice.pick(PHRASES["genres"]), year=1931 + dice.draw_below(80))
