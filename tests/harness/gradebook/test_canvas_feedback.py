"""The feedback archive: Canvas finds every attachment again, and equal feedback makes equal bytes."""

import io
import re
import zipfile
from pathlib import Path

import pytest

from grader.errors import GraderError
from grader.gradebook.canvas_feedback import feedback_zip
from grader.intake.archive import read_class

from .classes import upload

DOWNLOADED = [
    "lovelaceada_12_345_a4.ipynb",
    "rossbob_LATE_13_346_my work (1).ipynb",
    "ångströmåsa_14_347_övning-2.ipynb",
    "teamblue_15_348_a4.ipynb",
    "x_16_349_1_2_3.ipynb",
    "y_17_350_work.zip",
]


def canvas_finds(name: str) -> tuple[int, int] | None:
    """Canvas's rule: the first two parts between underscores that are all digits; names of macOS are left out."""
    numbers = [int(part) for part in name.split("_") if re.fullmatch(r"\d+", part)][:2]
    return None if name.startswith("._") or len(numbers) < 2 else (numbers[0], numbers[1])


def archive(tmp_path: Path, *names: str) -> Path:
    path = tmp_path / "submissions.zip"
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as nested:
        nested.writestr("a.ipynb", "{}")
    with zipfile.ZipFile(path, "w") as target:
        for name in names:
            target.writestr(name, inner.getvalue() if name.endswith(".zip") else "{}")
    return path


def pages(tmp_path: Path, count: int) -> list[Path]:
    found = [tmp_path / f"{i}.html" for i in range(count)]
    for i, page in enumerate(found):
        page.write_text(f"<p>feedback {i}</p>")
    return found


def test_names_round_trip(tmp_path: Path) -> None:
    uploads = read_class(archive(tmp_path, *DOWNLOADED), tmp_path / "files").uploads
    given = dict(zip(uploads, pages(tmp_path, len(uploads)), strict=True))
    with zipfile.ZipFile(io.BytesIO(feedback_zip(given))) as back:
        assert sorted(back.namelist()) == sorted(DOWNLOADED)
        for one, page in given.items():
            assert back.read(one.entry) == page.read_bytes()
            assert canvas_finds(one.entry) == (one.student.canvas_id, one.attachment_id)


def test_folders_around_the_download_are_left_out(tmp_path: Path) -> None:
    (page,) = pages(tmp_path, 1)
    with zipfile.ZipFile(io.BytesIO(feedback_zip({upload("submissions/x_1_2_a.ipynb"): page}))) as back:
        assert back.namelist() == ["x_1_2_a.ipynb"]


def test_equal_feedback_makes_equal_bytes(tmp_path: Path) -> None:
    first, second = pages(tmp_path, 2)
    one, two = upload("x_1_2_a.ipynb"), upload("y_3_4_a.ipynb")
    before = feedback_zip({one: first, two: second})
    first.write_text(first.read_text())  # another time of change
    assert feedback_zip({two: second, one: first}) == before


def test_two_files_for_one_entry(tmp_path: Path) -> None:
    first, second = pages(tmp_path, 2)
    other = upload("y_3_4_work.zip").model_copy(update={"id": "another"})
    with pytest.raises(GraderError, match=r"Two files of feedback are meant for 'y_3_4_work\.zip'"):
        feedback_zip({upload("y_3_4_work.zip"): first, other: second})


def test_feedback_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(GraderError, match="Cannot read the feedback"):
        feedback_zip({upload("x_1_2_a.ipynb"): tmp_path / "gone.html"})
