"""The feedback archive: Canvas finds every attachment again, and equal feedback makes equal bytes."""

import io
import re
import zipfile
from pathlib import Path

import pytest

from grader.gradebook.canvas_feedback import build_zip, choose_pages
from grader.intake.archive import read_class

DOWNLOADED = [
    "lovelaceada_12_345_a4.ipynb",
    "rossbob_LATE_13_346_my work (1).ipynb",
    "ångströmåsa_14_347_övning-2.ipynb",
    "teamblue_15_348_a4.ipynb",
    "x_16_349_1_2_3.ipynb",
    "y_17_350_work.zip",
    "z_18_351_report.pdf",
]


def canvas_finds(name: str) -> tuple[int, int] | None:
    """Canvas's rule: the first two parts between underscores that are all digits; names of macOS are left out."""
    numbers = [int(part) for part in name.split("_") if re.fullmatch(r"\d+", part)][:2]
    return None if name.startswith("._") or len(numbers) < 2 else (numbers[0], numbers[1])


def archive(tmp_path: Path, *names: str) -> Path:
    path, inner = tmp_path / "submissions.zip", io.BytesIO()
    with zipfile.ZipFile(inner, "w") as nested:
        nested.writestr("a.ipynb", "{}")
    with zipfile.ZipFile(path, "w") as target:
        for name in names:
            target.writestr(name, inner.getvalue() if name.endswith(".zip") else "{}")
    return path


def test_names_round_trip(tmp_path: Path) -> None:
    found = read_class(archive(tmp_path, *DOWNLOADED), tmp_path / "files")
    answered = [(one.entry, one.student, one.attachment_id) for one in (*found.uploads, *found.refusals)]
    given = {entry: f"<p>feedback {i}</p>".encode() for i, (entry, _, _) in enumerate(answered)}
    with zipfile.ZipFile(io.BytesIO(build_zip(given))) as back:
        assert sorted(back.namelist()) == sorted(DOWNLOADED)
        for entry, student, attachment_id in answered:
            assert back.read(entry) == given[entry]
            assert student is not None
            assert canvas_finds(entry) == (student.canvas_id, attachment_id)


def test_folders_around_the_download_are_left_out_and_equal_feedback_makes_equal_bytes() -> None:
    pages, _ = choose_pages([("submissions/x_1_2_a.ipynb", b"one"), ("y_3_4_a.ipynb", b"two")])
    with zipfile.ZipFile(io.BytesIO(made := build_zip(pages))) as back:
        assert sorted(back.namelist()) == ["x_1_2_a.ipynb", "y_3_4_a.ipynb"]
    assert build_zip(dict(reversed(pages.items()))) == made


@pytest.mark.parametrize(
    ("second", "notes"),
    [
        pytest.param(b"one", (), id="the same page"),
        pytest.param(
            b"two", ("Two pages of feedback answer 'y_3_4_a.pdf'; feedback.zip holds the first one.",), id="2"
        ),
    ],
)
def test_a_file_of_two_downloads_is_answered_once(second: bytes, notes: tuple[str, ...]) -> None:
    assert choose_pages([("a/y_3_4_a.pdf", b"one"), ("b/y_3_4_a.pdf", second)]) == ({"y_3_4_a.pdf": b"one"}, notes)
