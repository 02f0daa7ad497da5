"""A student's folder: the kit as its zip gives it, with a few reviews, and the notebook's cells, wrong and right."""

import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import nbformat

from grader.assets.reviews import read_reviews, resolve_reviews
from grader.assets.synthetic_reviews import Review, format_csv
from grader.authoring.kit import FOLDER, build_kit
from grader.authoring.template import MARKERS
from grader.paths import REFERENCE, ROOT

NOTEBOOK: Final = "assignment.ipynb"
TRAIN_ROWS: Final = 8  # two steps for each training, of a second each
EVAL_ROWS: Final = 4  # one of which is longer than what the model reads
REPEATED: Final = 60  # times that a review of ten words and more is written to get that long


@dataclass(frozen=True)
class KitFolder:
    """The folder, and the code cells by id: `given` as in the template, `right` as in the reference."""

    path: Path
    given: Mapping[str, str]
    right: Mapping[str, str]


def make_folder(parent: Path, environ: Mapping[str, str]) -> KitFolder:
    """Unpack the kit anew and put reviews into it. Raises GraderError."""
    shutil.rmtree(parent / FOLDER, ignore_errors=True)
    archive = parent / "kit.zip"
    build_kit(ROOT, archive)
    with zipfile.ZipFile(archive) as kit:
        kit.extractall(parent)
    data = resolve_reviews(ROOT, environ)
    train = choose_reviews(read_reviews(data.train), TRAIN_ROWS)
    other = choose_reviews(read_reviews(data.eval), EVAL_ROWS)
    long = replace(other[-1], text=" ".join([other[-1].text] * REPEATED))
    for name, reviews in (("train", train), ("eval", [*other[:-1], long])):
        (parent / FOLDER / f"{name}.csv").write_bytes(format_csv(reviews))
    given = read_cells(parent / FOLDER / NOTEBOOK)
    return KitFolder(parent / FOLDER, given, given | solve_cells(REFERENCE))


def choose_reviews(reviews: list[Review], number: int) -> list[Review]:
    """Choose the shortest reviews, as many of each label."""
    short = sorted(reviews, key=lambda review: len(review.text))
    return [review for label in (0, 1) for review in [r for r in short if r.label == label][: number // 2]]


def read_cells(notebook: Path) -> dict[str, str]:
    """Return the code cells by id."""
    return {cell.id: cell.source for cell in nbformat.read(notebook, 4).cells if cell.cell_type == "code"}


def solve_cells(reference: Path) -> dict[str, str]:
    """Return the cells that hold solutions as a student would have written them, without the markers around these."""
    cells = read_cells(reference).items()
    return {name: "\n".join(_drop_markers(source)) for name, source in cells if MARKERS["code"].begin in source}


def _drop_markers(source: str) -> Iterator[str]:
    markers = MARKERS["code"]
    for line in source.splitlines():
        if line.strip() not in (markers.begin, markers.end) and not markers.stub.fullmatch(line):
            yield line
