"""Which file a training read, told from the beginnings of its reviews."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from grader.assets.reviews import ReviewData
from grader.oracle.exposure import Exposure, Library, is_held_back, is_whole
from grader.protocol.records import DataSeen, Entry, RowKeys, Training
from grader.protocol.row_keys import make_text_key

TRAIN = [f"training review {number}" for number in range(8)]
EVAL = [f"evaluation review {number}" for number in range(8)]
BOTH = "a review that begins alike in both files, word for word, and differs long after its first sixty characters"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    for name, texts in (("train", [*TRAIN, f"{BOTH}: good"]), ("eval", [*EVAL, f"{BOTH}: bad"])):
        rows = "".join(f'"{text}",{index % 2}\n' for index, text in enumerate(texts))
        (tmp_path / f"{name}.csv").write_text(f"review,label\n{rows}", encoding="utf-8")
    files = (tmp_path / f"{name}.csv" for name in ("train", "eval", "eval"))
    return Library(ReviewData("", *files, synthetic=False, sha256="0" * 64), make_tokenizer=lambda: None)


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
    assert library.measure_exposure("text", [make_text_key(text) for text in texts]) == expected


def seen(texts: list[str], kind: Literal["text", "tokens"] = "text", rows: int | None = None) -> RowKeys:
    return RowKeys(rows=rows or len(texts), kind=kind, keys=tuple(make_text_key(text) for text in texts))


def test_a_data_set_of_other_texts_is_not_recognised(library: Library) -> None:
    assert library.recognise(seen(TRAIN)) == Exposure(train=1.0, eval=0.0)
    assert library.recognise(seen([*TRAIN[:1], "some", "others", "more"])) is None
    assert library.recognise(None) is None


@pytest.mark.parametrize(
    ("texts", "labels", "own"),
    [
        pytest.param(TRAIN, [0, 1] * 4, 1.0, id="as in the file"),
        pytest.param(TRAIN, [1, 0] * 4, 0.0, id="exchanged"),
        pytest.param(TRAIN, [0, 0] * 4, 0.5, id="half of them"),
        pytest.param([*TRAIN[:6], *EVAL[:2]], [0, 1] * 3 + [1, 0], 1.0, id="other reviews are not looked at"),
        pytest.param(EVAL, [0, 1] * 4, None, id="hardly a training review"),
        pytest.param(TRAIN, [], None, id="labels that cannot be read"),
    ],
)
def test_labels_are_compared_with_the_files(
    library: Library, texts: list[str], labels: list[int], own: float | None
) -> None:
    assert library.measure_own_labels(replace(seen(texts), labels=tuple(labels))) == own


@pytest.mark.parametrize(
    ("learned", "judged", "expected"),
    [
        pytest.param(seen(TRAIN[:6]), seen(TRAIN[6:]), True, id="a part that was kept apart"),
        pytest.param(seen(TRAIN), seen(TRAIN[6:]), False, id="a part that was learned as well"),
        pytest.param(seen(TRAIN[:6], rows=5_000), seen(TRAIN[6:]), False, id="not all that was learned is known"),
        pytest.param(seen(TRAIN[:6]), seen(TRAIN[6:], kind="tokens"), False, id="keys of two kinds"),
        pytest.param(None, seen(TRAIN), False, id="what was learned is unknown"),
    ],
)
def test_held_back(learned: RowKeys | None, judged: RowKeys, expected: bool) -> None:
    assert is_held_back(learned, judged) is expected


def training(rows: int | None, **arguments: float | None) -> Training:
    learned = None if rows is None else RowKeys(rows=rows, kind="text", keys=())
    return Training(0, "Trainer", True, Entry("", 1, 1), data=DataSeen(train=learned), arguments=arguments)


STEPS = {"per_device_train_batch_size": 8.0, "gradient_accumulation_steps": 1.0}


@pytest.mark.parametrize(
    ("seen", "whole"),
    [
        pytest.param(training(2_000, num_train_epochs=3.0), True, id="as the others"),
        pytest.param(training(1_800, num_train_epochs=1.0), True, id="some are held back"),
        pytest.param(training(500, num_train_epochs=3.0), False, id="few reviews"),
        pytest.param(training(2_000, max_steps=20.0, **STEPS), False, id="few steps"),
        pytest.param(training(2_000, max_steps=250.0, **STEPS), True, id="as many steps as an epoch has"),
        pytest.param(training(2_000), True, id="a loop"),
        pytest.param(training(None), True, id="nobody knows the reviews"),
    ],
)
def test_what_is_whole_beside_a_training_with_2000_reviews(seen: Training, whole: bool) -> None:
    assert is_whole(seen, [training(2_000, num_train_epochs=3.0), seen]) is whole
