"""Files that cross the border."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from grader.sandbox.handover import collect, measure_usage, remove


def _write_sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(lambda path: path.symlink_to("/etc/passwd"), "x", id="symlink to a file"),
        pytest.param(lambda path: path.symlink_to("/etc"), "x", id="symlink to a folder"),
        pytest.param(os.mkfifo, "x", id="fifo"),
        pytest.param(_write_sparse, "x", id="sparse file"),
        pytest.param(Path.touch, "x\x1b[2J", id="control characters in the name"),
        pytest.param(Path.touch, "x" * 220, id="long name"),
    ],
)
def test_what_is_no_plain_small_file_stays(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "good.json").write_text("{}", encoding="utf-8")
    make(source / name)
    collected = collect(source, target, total_mib=1, files=10)
    assert (collected.copied, len(collected.refused)) == (["good.json"], 1)
    assert [path.name for path in target.iterdir()] == ["good.json"]


def test_two_names_of_one_file_stay(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "good.json").write_text("{}", encoding="utf-8")
    os.link(source / "good.json", source / "other.json")
    assert collect(source, target, total_mib=1, files=10).copied == []


def test_caps(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    for number in range(4):
        (source / "deep" / f"{number}").write_bytes(bytes(400_000))
    collected = collect(source, target, total_mib=1, files=10)
    assert (collected.copied, len(collected.refused)) == (["deep/0", "deep/1"], 2)
    assert len(collect(source, tmp_path / "other", total_mib=9, files=3).copied) == 3


def test_existing_files_are_not_overwritten(tmp_path: Path) -> None:
    for part in ("source", "target"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "x").write_text(part, encoding="utf-8")
    assert collect(tmp_path / "source", tmp_path / "target", total_mib=1, files=9).copied == []
    assert (tmp_path / "target" / "x").read_text(encoding="utf-8") == "target"


def test_usage_counts_blocks_and_entries(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(os.urandom(1 << 20))
    used_mib, entries = measure_usage(tmp_path)
    assert (entries, 1 <= used_mib < 1.2) == (2, True)  # a folder takes a few blocks too


def test_deep_folders(tmp_path: Path) -> None:
    """More deeply nested than Python's recursion and the longest path go."""
    top = tmp_path / "top"
    top.mkdir()
    here = os.getcwd()  # noqa: PTH109
    os.chdir(top)
    for _ in range(1100):
        os.mkdir("d")  # noqa: PTH102  relative to a folder that has no usable path
        os.chdir("d")
    os.chdir(here)
    assert measure_usage(top)[0] == math.inf
    remove(top)
    assert not top.exists()


def test_closed_folders_and_links(tmp_path: Path) -> None:
    """A notebook may close folders to itself; links in them are not followed."""
    top, outside = tmp_path / "top", tmp_path / "outside"
    inner = top / "closed" / "inner"
    inner.mkdir(parents=True)
    outside.mkdir()
    for file in (outside / "kept", inner / "file"):
        file.touch()
    for folder in (top, inner):
        (folder / "link").symlink_to(outside)
    for folder in (inner, top / "closed"):
        folder.chmod(0o000)
    remove(top)
    assert not top.exists()
    assert (outside / "kept").exists()
