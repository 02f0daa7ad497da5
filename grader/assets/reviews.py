"""The film reviews that students train on and the hidden ones that measure them.

Taken from the first of: the folder that A4_DATA names, `data/imdb/` of the project, reviews made by the project itself
(`synthetic`). A folder holds `train.csv`, `eval.csv` and, if there is one, `heldout.csv`, with the columns `review` and
`label` (0 negative, 1 positive) and perhaps others. Held-out labels stay on the host: only `train` and `eval` may be
copied to a kernel. Students know the labels in eval.csv, and a notebook can train on them, so that file never measures:
a folder without `heldout.csv` has a part of its training reviews held out, and the kernel gets the rest.
"""

import csv
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from grader.assets import synthetic_reviews
from grader.assets.cache import Recipe, build_bytes_recipe, hash_file, locate_cache, prepare
from grader.assets.synthetic_reviews import Review, SeededRandom, format_csv
from grader.assignment import EVAL_ROWS, TRAIN_ROWS
from grader.errors import GraderError, explain_refusal

SEED: Final = 20_011  # of samples, splits and synthetic reviews: part of what a calibration stands for
HELDOUT_ROWS: Final = 500
HELDOUT_SHARE: Final = 0.25  # at most, of training reviews, where a folder has no held-out ones
FILES: Final = ("train.csv", "eval.csv", "heldout.csv")
SYNTHETIC_SHA256: Final = {
    "train.csv": "f75b5a87761dec12df693e3d473266457fdca82d96d0243fedd2b2368c2bb507",
    "eval.csv": "921a2b545bb83546b38539dfb9f88970a6a4bc2d4e0cc5b19928aa824a01234a",
    "heldout.csv": "883f538e557ca3e69eef8a31be30a0c8222991cee171dfd396e34a8424d6e2c5",
}
HUB_DATASET: Final = "stanfordnlp/imdb"


class Source(StrEnum):
    """The origin of reviews, as results name it."""

    GIVEN = "reviews of A4_DATA"
    IMDB = "Large Movie Review Dataset (data/imdb)"
    SYNTHETIC = "synthetic reviews"


@dataclass(frozen=True)
class ReviewData:
    """Three CSV files. `sha256` stands for the bytes of all three; `notes` is for staff, empty or one sentence."""

    name: str
    train: Path
    eval: Path
    heldout: Path
    synthetic: bool
    sha256: str
    notes: str = ""


def locate(root: Path, environ: Mapping[str, str]) -> tuple[Source, Path]:
    """Return the source that `resolve_reviews` takes, and its folder. Raises GraderError if A4_DATA names no folder."""
    if given := environ.get("A4_DATA"):
        folder = Path(given).expanduser().absolute()
        if not folder.is_dir():
            raise GraderError(f"A4_DATA names {folder}, which is no folder; name one with train.csv and eval.csv.")
        return Source.GIVEN, folder
    imdb = root / "data" / "imdb"
    if any((imdb / name).exists() for name in FILES):
        return Source.IMDB, imdb
    return Source.SYNTHETIC, locate_cache(root, environ) / "reviews-synthetic"


def resolve_reviews(root: Path, environ: Mapping[str, str]) -> ReviewData:
    """Return the reviews to use, checked. Raises GraderError for a broken source, which is never passed over."""
    source, folder = locate(root, environ)
    if source is Source.SYNTHETIC:
        return _prepare_synthetic(folder)
    if (folder / "heldout.csv").is_file():
        return _check_files(source, folder)
    return _split(source, folder, locate_cache(root, environ))


def read_reviews(path: Path) -> list[Review]:
    """Return the reviews in a CSV file (UTF-8, columns `review` and `label`). Raises GraderError when it is broken."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := {"review", "label"} - set(rows.fieldnames or ()):
                raise GraderError(f"{path} has no column {' or '.join(sorted(missing))}; add it.")
            reviews = [_parse_review(row, f"Review {i} in {path}") for i, row in enumerate(rows, start=1)]
    except OSError as error:
        raise explain_refusal(f"read {path}", error, "put the file there") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise GraderError(f"{path} is not a CSV file in UTF-8 ({error}); save it as one.") from error
    if not reviews:
        raise GraderError(f"{path} holds no reviews; replace it.")
    return reviews


def download_reviews(folder: Path, fetch: Callable[[str], Sequence[Review]] | None = None) -> None:
    """Write a sample of the Large Movie Review Dataset (Maas et al. 2011) to `folder`: 2,000, 500 and 500 reviews.

    `fetch` returns all reviews of the dataset's split `train` or `test`, by default from the hub. Raises GraderError,
    within seconds when offline, and then leaves nothing behind.
    """
    fetch = fetch or fetch_split  # when called: tests replace it
    dice = SeededRandom(SEED)
    train = _drop_duplicates(fetch("train"))
    test = _drop_duplicates(fetch("test"), unless=train)
    if len(train) < TRAIN_ROWS or len(test) < EVAL_ROWS + HELDOUT_ROWS:
        raise GraderError(f"{HUB_DATASET} has fewer reviews than expected; copy CSV files into {folder} by hand.")
    hidden = dice.shuffle(test)[: EVAL_ROWS + HELDOUT_ROWS]
    samples = (dice.shuffle(train)[:TRAIN_ROWS], hidden[:EVAL_ROWS], hidden[EVAL_ROWS:])
    prepare(folder, {name: build_bytes_recipe(format_csv(rows)) for name, rows in zip(FILES, samples, strict=True)})


def fetch_split(split: str) -> list[Review]:
    """Return all reviews of one split of the Large Movie Review Dataset, from the hub or this user's hub cache."""
    import pandas as pd
    from huggingface_hub import snapshot_download

    pattern, reach_s = f"plain_text/{split}-*.parquet", 5  # to reach the hub, not for the transfer
    try:
        folder = snapshot_download(HUB_DATASET, repo_type="dataset", allow_patterns=pattern, etag_timeout=reach_s)
        rows = pd.concat(pd.read_parquet(file) for file in sorted(Path(folder).glob(pattern)))
        return [Review(text, int(label)) for text, label in zip(rows["text"], rows["label"], strict=True)]
    except (OSError, ValueError, KeyError) as error:  # no network; no such file; a file of another kind
        hint = "connect to the network, or copy CSV files into data/imdb by hand"
        raise GraderError(f"Cannot download {HUB_DATASET}; {hint}.") from error


def _prepare_synthetic(folder: Path) -> ReviewData:
    def build_recipe(name: str) -> Recipe:
        return Recipe(SYNTHETIC_SHA256[name], lambda path: path.write_bytes(build_synthetic_files()[name]))

    prepare(folder, {name: build_recipe(name) for name in FILES})
    return _hash_files(Source.SYNTHETIC, [folder / name for name in FILES])


@functools.cache
def build_synthetic_files() -> Mapping[str, bytes]:
    """Return the synthetic reviews: file name -> content. Always the same bytes."""
    rows = synthetic_reviews.generate_reviews(TRAIN_ROWS + EVAL_ROWS + HELDOUT_ROWS, SeededRandom(SEED))
    parts = (rows[:TRAIN_ROWS], rows[TRAIN_ROWS : TRAIN_ROWS + EVAL_ROWS], rows[TRAIN_ROWS + EVAL_ROWS :])
    return {name: format_csv(part) for name, part in zip(FILES, parts, strict=True)}


def _check_files(source: Source, folder: Path) -> ReviewData:
    """Refuse files of `folder` that would make a measured accuracy meaningless."""
    paths = [folder / name for name in FILES]
    train, evaluation, heldout = map(read_reviews, paths)
    known = {review.text for review in (*train, *evaluation)}
    if shared := sum(review.text in known for review in heldout):
        raise GraderError(f"{shared} reviews of {paths[2]} are also in train.csv or eval.csv; remove them there.")
    if {review.label for review in heldout} != {0, 1}:
        raise GraderError(f"{paths[2]} holds reviews of one label only; accuracy needs reviews of both.")
    return _hash_files(source, paths)


def _split(source: Source, folder: Path, cache_dir: Path) -> ReviewData:
    """Hold out a part of the training reviews of a folder that has no held-out ones; notebooks train on the rest."""
    train, evaluation = read_reviews(folder / FILES[0]), read_reviews(folder / FILES[1])
    count = min(HELDOUT_ROWS, int(HELDOUT_SHARE * len(train)))
    heldout = SeededRandom(SEED).shuffle(_drop_duplicates(train, unless=evaluation))[:count]
    if {review.label for review in heldout} != {0, 1}:
        raise GraderError(f"{folder} has too few training reviews to hold some out; add a heldout.csv.")
    hidden = {review.text for review in heldout}
    kept = [review for review in train if review.text not in hidden]
    own = cache_dir / f"reviews-split-{hash_file(folder / FILES[0])[:16]}"
    prepare(own, {FILES[0]: build_bytes_recipe(format_csv(kept)), FILES[2]: build_bytes_recipe(format_csv(heldout))})
    notes = f"{folder.name} has no heldout.csv: {len(heldout)} of its training reviews are held out, and notebooks "
    notes += f"train on the other {len(kept)}."
    return _hash_files(source, [own / FILES[0], folder / FILES[1], own / FILES[2]], notes)


def _hash_files(source: Source, paths: Sequence[Path], notes: str = "") -> ReviewData:
    train, evaluation, heldout = paths
    sha256 = hashlib.sha256("".join(map(hash_file, paths)).encode("ascii")).hexdigest()
    return ReviewData(source.value, train, evaluation, heldout, source is Source.SYNTHETIC, sha256, notes)


def _drop_duplicates(reviews: Sequence[Review], unless: Sequence[Review] = ()) -> list[Review]:
    """Keep the reviews in order, each text once, without the texts in `unless`."""
    seen = {review.text for review in unless}
    return [review for review in {review.text: review for review in reviews}.values() if review.text not in seen]


def _parse_review(row: Mapping[str, str | None], name: str) -> Review:
    text, label = row["review"] or "", (row["label"] or "").strip()
    if label not in ("0", "1"):
        raise GraderError(f"{name} has the label {label[:20]!r}; write 0 (negative) or 1 (positive).")
    if not text.strip():
        raise GraderError(f"{name} is empty; remove it.")
    return Review(text, int(label))
