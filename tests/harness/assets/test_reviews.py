"""Sources of reviews, refusals, and hidden labels that stay hidden."""

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import huggingface_hub
import pandas as pd
import pytest

from grader.assets.reviews import ReviewData, Source, download_reviews, fetch_split, read_reviews, resolve_reviews
from grader.assets.synthetic_reviews import Review
from grader.errors import GraderError

SAMPLE = {"train.csv": 40, "eval.csv": 10, "heldout.csv": 10}


def rows(prefix: str, count: int) -> list[Review]:
    return [Review(f"{prefix} review, number {i}", i % 2) for i in range(count)]


def write(path: Path, reviews: Sequence[Review]) -> None:
    """Write a CSV file like those that courses hand out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([{"review": r.text, "label": r.label} for r in reviews]).to_csv(path, index_label="index")


def sample(folder: Path, heldout: bool = True) -> Path:
    for name, count in list(SAMPLE.items())[: 3 if heldout else 2]:
        write(folder / name, rows(f"{folder.name} {name}", count))
    return folder


def texts(path: Path) -> set[str]:
    return {review.text for review in read_reviews(path)}


def disjoint(data: ReviewData) -> bool:
    return not (texts(data.heldout) & (texts(data.train) | texts(data.eval)))


def resolve(folder: Path) -> ReviewData:
    """The reviews of a folder that A4_DATA names, for a project beside it."""
    return resolve_reviews(folder.parent / "project", {"A4_DATA": str(folder)})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    return sample(tmp_path / "course")


@pytest.fixture
def without_heldout(tmp_path: Path) -> Path:
    return sample(tmp_path / "course", heldout=False)


@pytest.mark.parametrize("given", [True, False], ids=["A4_DATA", "no A4_DATA"])
@pytest.mark.parametrize("imdb", ["whole", "empty", "none"])
def test_order(root: Path, course: Path, given: bool, imdb: str) -> None:
    folder = root / "data" / "imdb"
    if imdb == "whole":
        sample(folder)
    elif imdb == "empty":
        folder.mkdir(parents=True)
    source = Source.GIVEN if given else Source.IMDB if imdb == "whole" else Source.SYNTHETIC
    environ = {"A4_DATA": str(course)} if given else {}
    data = resolve_reviews(root, environ)
    assert (data.name, data.synthetic) == (source.value, source is Source.SYNTHETIC)
    assert disjoint(data)
    assert resolve_reviews(root, environ) == data


def test_synthetic_reviews_go_to_the_cache_and_are_repaired(root: Path, tmp_path: Path) -> None:
    environ = {"A4_CACHE": str(tmp_path / "cache")}
    data = resolve_reviews(root, environ)
    assert data.heldout.is_relative_to(tmp_path / "cache")
    data.heldout.write_bytes(b"review,label\n")
    assert resolve_reviews(root, environ) == data
    assert len(read_reviews(data.heldout)) == 500


@pytest.mark.parametrize("changed", list(SAMPLE))
def test_files_are_used_as_they_are_and_the_hash_stands_for_all_three(course: Path, changed: str) -> None:
    data = resolve(course)
    assert (data.train, data.eval, data.heldout, data.notes) == (*(course / name for name in SAMPLE), "")
    write(course / changed, rows("new", 20))
    assert resolve(course).sha256 != data.sha256


def test_without_heldout_a_part_of_the_training_reviews_is_hidden(without_heldout: Path) -> None:
    """Not the evaluation file: students know its labels, and their notebooks may train on it."""
    data = resolve(without_heldout)
    assert data.eval == without_heldout / "eval.csv"
    assert disjoint(data)
    assert texts(data.train) | texts(data.heldout) == texts(without_heldout / "train.csv")
    assert len(texts(data.heldout)) == SAMPLE["train.csv"] // 4
    told = "course has no heldout.csv: 10 of its training reviews are held out, and notebooks train on the other 30."
    assert data.notes == told


def test_a_review_that_occurs_twice_is_not_hidden_and_shown(without_heldout: Path) -> None:
    write(without_heldout / "train.csv", rows("same", 20) * 2)
    write(without_heldout / "eval.csv", rows("same", 4))
    assert disjoint(resolve(without_heldout))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("train.csv", "text,label\na,1\n", "no column review", id="no review column"),
        pytest.param("train.csv", "review\na\n", "no column label", id="no label column"),
        pytest.param("train.csv", "", "no column label or review", id="empty file"),
        pytest.param("eval.csv", "review,label\n", "holds no reviews", id="no rows"),
        pytest.param("eval.csv", "review,label\na,2\n", "Review 1 .* label '2'", id="label 2"),
        pytest.param("eval.csv", "review,label\na,1\nb,pos\n", "Review 2 .* label 'pos'", id="label in words"),
        pytest.param("eval.csv", "review,label\na\n", "Review 1 .* label ''", id="label missing"),
        pytest.param("eval.csv", 'review,label\n" ",1\n', "Review 1 .* is empty", id="empty review"),
        pytest.param("heldout.csv", "review,label\na,1\nb,1\n", "one label only", id="held-out reviews of one label"),
        pytest.param("heldout.csv", "review,label\ncourse train.csv review; number 1,1\n", "one label", id="one row"),
        pytest.param("heldout.csv", b"review,label\n\xff\xfe,1\n", "not a CSV file in UTF-8", id="not UTF-8"),
        pytest.param("train.csv", None, r"Cannot read .*train\.csv \(No such file", id="no train.csv"),
        pytest.param("eval.csv", None, r"Cannot read .*eval\.csv \(No such file", id="no eval.csv"),
    ],
)
@pytest.mark.parametrize("place", ["A4_DATA", "data/imdb"])
def test_broken_data_is_refused_in_one_sentence(
    root: Path, tmp_path: Path, place: str, name: str, content: str | bytes | None, message: str
) -> None:
    folder = sample(root / "data" / "imdb" if place == "data/imdb" else tmp_path / "course")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    with pytest.raises(GraderError, match=message) as caught:
        resolve_reviews(root, {} if place == "data/imdb" else {"A4_DATA": str(folder)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("known", ["train.csv", "eval.csv"])
def test_hidden_reviews_that_students_hold_are_refused(course: Path, known: str) -> None:
    write(course / "heldout.csv", [*rows("hidden", 4), *rows(f"course {known}", 3)])
    with pytest.raises(GraderError, match=r"^3 reviews of .*heldout\.csv"):
        resolve(course)


def test_a4_data_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "nowhere"):
        with pytest.raises(GraderError, match=rf"A4_DATA names .*{name}, which is no folder"):
            resolve(tmp_path / name)


def test_too_few_training_reviews_to_hold_some_out(without_heldout: Path) -> None:
    write(without_heldout / "train.csv", rows("train", 4))
    with pytest.raises(GraderError, match=r"add a heldout\.csv"):
        resolve(without_heldout)


FORMS = {
    "byte order mark and CRLF": "\ufeffreview,label\r\nfine,1\r\n",
    "index column": "index,review,label\n7,fine,1\n",
    "index without a name": ",review,label\n0,fine,1\n",
    "other order": 'label,review\n1,"fine"\n',
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_forms_of_csv(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.csv").write_bytes(text.encode("utf-8"))
    assert read_reviews(tmp_path / "train.csv") == [Review("fine", 1)]


def test_download_takes_disjoint_samples(tmp_path: Path) -> None:
    """Two texts of the test split are also in the training split, as in the real dataset, and one occurs twice."""
    splits = {"train": rows("train", 2_100), "test": [*rows("test", 1_100), *rows("train", 2), *rows("test", 1)]}
    download_reviews(tmp_path / "data" / "imdb", splits.__getitem__)
    data = resolve_reviews(tmp_path, {})
    parts = [read_reviews(path) for path in (data.train, data.eval, data.heldout)]
    assert [len(part) for part in parts] == [2_000, 500, 500]
    assert len({review.text for part in parts for review in part}) == 3_000
    download_reviews(tmp_path / "data" / "imdb", splits.__getitem__)
    assert resolve_reviews(tmp_path, {}).sha256 == data.sha256


def test_a_small_dataset_and_a_failed_download_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GraderError, match="fewer reviews"):
        download_reviews(tmp_path / "imdb", lambda split: rows(split, 100))
    for found in (str(tmp_path), OSError("no network in this test")):  # a folder without the files asked for
        monkeypatch.setattr(huggingface_hub, "snapshot_download", Mock(side_effect=[found]))
        with pytest.raises(GraderError, match="Cannot download stanfordnlp/imdb"):
            download_reviews(tmp_path / "imdb")
    assert not (tmp_path / "imdb").exists()


def test_a_split_is_read_from_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain_text").mkdir()
    good = rows("good", 8)
    frame = pd.DataFrame([{"text": review.text, "label": review.label} for review in good])
    frame.to_parquet(tmp_path / "plain_text" / "test-00000-of-00001.parquet")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    assert fetch_split("test") == good
