"""Film reviews made by a grammar, for a machine that has no real ones. Synthetic, and called so wherever they are used.

A review tells some plot, which says nothing about its label, and weighs several aspects of the film: more of them are
praised than blamed in a positive review, fewer in a negative one. Many judgements are worded by what the film is *not*
or by what others thought of it, so that counting words alone does not separate the labels. The same seed gives the same
bytes on every machine: of `random` only `random()` is used, whose sequence Python guarantees.
"""

import csv
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from grader.assets.phrases import (
    ADVERBS,
    ASPECTS,
    CONTRASTS,
    EVENTS,
    GENRES,
    JUDGEMENTS,
    LINKS,
    NAMES,
    OPENINGS,
    PLACES,
    PLOTS,
    PRAISE_OR_BLAME,
    ROLES,
    VERDICT_WORDS,
    VERDICTS,
)

T = TypeVar("T")

MIN_WORDS: Final = 15
MAX_WORDS: Final = 60  # short, so that a fresh machine without a GPU grades its first notebook in minutes
MAX_ASPECTS: Final = 4
CONTRAST_SHARE: Final = 0.15  # of judgements worded by what they deny; with 0.5 nothing is learned in 64 steps
VERDICT_SHARE: Final = 0.4  # of reviews that end by saying what they think of the whole film


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
        """An integer from 0 to `stop` - 1."""
        return int(self._random.random() * stop)

    def pick(self, options: Sequence[str]) -> str:
        """One of `options`."""
        return options[self.draw_below(len(options))]

    def draw_bool(self, probability: float) -> bool:
        """True with this probability."""
        return self._random.random() < probability

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """The items in random order."""
        return sorted(items, key=lambda _: self._random.random())


def generate_reviews(count: int, dice: SeededRandom) -> list[Review]:
    """`count` reviews, all different, as many positive as negative (one more negative if `count` is odd)."""
    found: dict[str, Review] = {}
    while len(found) < count:
        review = _review(len(found) % 2, dice)
        if MIN_WORDS <= len(review.text.split()) <= MAX_WORDS:
            found.setdefault(review.text, review)
    return dice.shuffle(list(found.values()))


def format_csv(rows: Sequence[Review]) -> bytes:
    """The reviews as a CSV file in UTF-8 with the columns `review` and `label`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("review", "label"))
    writer.writerows((row.text, row.label) for row in rows)
    return text.getvalue().encode("utf-8")


def _review(label: int, dice: SeededRandom) -> Review:
    opening = [_fill(dice.pick(OPENINGS), dice)] if dice.draw_bool(0.7) else []
    opinions = _opinions(label, dice)
    before = dice.draw_below(
        len(opinions) + 1
    )  # opinions before and after the plot, so that cutting a review loses few
    plot = [_fill(dice.pick(PLOTS), dice) for _ in range(_plot_length(dice))]
    verdict = [_verdict(label, dice)] if dice.draw_bool(VERDICT_SHARE) else []
    parts = [*opening, *opinions[:before], *plot, *opinions[before:], *verdict]
    return Review(" ".join(_sentence(part) for part in parts), label)


def _plot_length(dice: SeededRandom) -> int:
    """Sentences of plot: one or two, or none."""
    return dice.draw_below(3)


def _opinions(label: int, dice: SeededRandom) -> list[str]:
    """Judgements of different aspects, the review's own label in the majority."""
    count = 2 + dice.draw_below(MAX_ASPECTS - 1)
    dissenting = dice.draw_below(count // 3 + 1)
    labels = dice.shuffle([1 - label] * dissenting + [label] * (count - dissenting))
    aspects = dice.shuffle(ASPECTS)[:count]
    sentences = [_judgement(aspect, each, dice) for aspect, each in zip(aspects, labels, strict=True)]
    return [_link(sentence, dice) for sentence in sentences]


def _judgement(aspect: str, label: int, dice: SeededRandom) -> str:
    """One sentence. In a contrast the words of the opposite label stand in for what is denied."""
    template = dice.pick(CONTRASTS if dice.draw_bool(CONTRAST_SHARE) else JUDGEMENTS)
    same, opposite = PRAISE_OR_BLAME[label], PRAISE_OR_BLAME[1 - label]
    return template.format(
        aspect=aspect,
        word=dice.pick(same),
        second=dice.pick(same),
        other=dice.pick(opposite),
        adverb=dice.pick(ADVERBS),
    )


def _verdict(label: int, dice: SeededRandom) -> str:
    return dice.pick(VERDICTS[label]).format(word=dice.pick(VERDICT_WORDS[label]), genre=dice.pick(GENRES))


def _link(sentence: str, dice: SeededRandom) -> str:
    return f"{dice.pick(LINKS)} {sentence}" if dice.draw_bool(0.25) else sentence


def _fill(template: str, dice: SeededRandom) -> str:
    return template.format(
        name=dice.pick(NAMES),
        friend=dice.pick(NAMES),
        role=dice.pick(ROLES),
        place=dice.pick(PLACES),
        event=dice.pick(EVENTS),
        genre=dice.pick(GENRES),
        year=1931 + dice.draw_below(80),
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
