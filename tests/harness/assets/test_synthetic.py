"""The synthetic reviews: always the same, all different, balanced, and not separable by counting words."""

import csv
import hashlib
import io

import pytest

from grader.assets.reviews import FILES, SEED, SYNTHETIC_SHA256, build_synthetic_files
from grader.assets.synthetic_reviews import MAX_WORDS, MIN_WORDS, Review, SeededRandom, format_csv, generate_reviews
from grader.assignment import EVAL_ROWS, TRAIN_ROWS

ROWS = {"train.csv": TRAIN_ROWS, "eval.csv": EVAL_ROWS, "heldout.csv": 500}


def parsed(name: str) -> list[Review]:
    rows = csv.DictReader(io.StringIO(build_synthetic_files()[name].decode("utf-8"), newline=""))
    return [Review(row["review"], int(row["label"])) for row in rows]


@pytest.mark.parametrize("name", FILES)
def test_bytes_are_those_that_calibrations_stand_for(name: str) -> None:
    """After a wanted change of grammar or vocabulary: new hashes in SYNTHETIC_SHA256, and a new calibration."""
    assert hashlib.sha256(build_synthetic_files()[name]).hexdigest() == SYNTHETIC_SHA256[name]
    found = parsed(name)
    assert len(found) == ROWS[name]
    assert all(MIN_WORDS <= len(review.text.split()) <= MAX_WORDS for review in found)
    share = sum(review.label for review in found) / len(found)
    assert 0.4 < share < 0.6  # halves of all 3,000; 500 of them stray from a half by 0.1 once in 100,000 seeds


def test_all_reviews_are_different_and_the_seed_decides() -> None:
    texts = [review.text for name in FILES for review in parsed(name)]
    assert len(set(texts)) == len(texts)
    first, again, other = (format_csv(generate_reviews(20, SeededRandom(seed))) for seed in (SEED, SEED, SEED + 1))
    assert first == again != other


def test_counting_words_does_not_separate_the_labels() -> None:
    """Well above chance, so that there is something to learn, well below certainty, so that words are not enough."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, held_out = parsed("train.csv"), parsed("heldout.csv")
    words = CountVectorizer()
    model = LogisticRegression(max_iter=1000)
    model.fit(words.fit_transform([review.text for review in train]), [review.label for review in train])
    accuracy = model.score(words.transform([r.text for r in held_out]), [r.label for r in held_out])
    assert 0.6 < accuracy < 0.95
