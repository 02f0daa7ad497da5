"""Which file a training read, told from the beginnings of its reviews."""

from pathlib import Path

import pytest

from grader.assets.reviews import ReviewData
from grader.kernel.reviews_seen import text_key
from grader.oracle.exposure import Exposure, Library

TRAIN = [f"training review {number}" for number in range(8)]
EVAL = [f"evaluation review {number}" for number in range(8)]
BOTH = "a review that begins alike in both files, word for word, and differs long after its first sixty characters"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    for name, texts in (("train", [*TRAIN, f"{BOTH}: good"]), ("eval", [*EVAL, f"{BOTH}: bad"])):
        rows = "".join(f'"{text}",{index % 2}\n' for index, text in enumerate(texts))
        (tmp_path / f"{name}.csv").write_text(f"review,label\n{rows}", encoding="utf-8")
    return Library(reviews(tmp_path), tokenizer=None)


def reviews(folder: Path) -> ReviewData:
    return ReviewData(
        train=folder / "train.csv", eval=folder / "eval.csv", heldout=folder / "eval.csv", name="", sha256="0" * 64,
        synthetic=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(TRAIN, Exposure(train=1.0, eval=0.0), id="training file"),
        pytest.param(EVAL, Exposure(train=0.0, eval=1.0), id="evaluation file"),
        pytest.param([*TRAIN[:4], *EVAL[:4]], Exposure(train=0.5, eval=0.5), id="both"),
        pytest.param([*TRAIN[:7], BOTH], Exposure(train=0.875, eval=0.0), id="begins alike in both files"),
        pytest.param(["something else"], Exposure(train=0.0, eval=0.0), id="neither"),
        pytest.param([], Exposure(train=0.0, eval=0.0), id="nothing"),
    ],
)
def test_exposure(library: Library, texts: list[str], expected: Exposure) -> None:
    assert library.exposure("text", [text_key(text) for text in texts]) == expected
