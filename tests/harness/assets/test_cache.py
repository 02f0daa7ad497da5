"""Files of known content: made once, found damaged, repaired, never left half-written."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest
from safetensors import SafetensorError

from grader.assets import cache, tensors
from grader.assets.cache import MANIFEST, Recipe, build_bytes_recipe, is_prepared, prepare
from grader.errors import GraderError

CONTENT = {"one.txt": b"one", "deep/two.txt": b"two"}
ONE = build_bytes_recipe(b"one")


def recipes() -> dict[str, Recipe]:
    return {name: build_bytes_recipe(content) for name, content in CONTENT.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in CONTENT}


def tamper(folder: Path) -> None:
    path = folder / "one.txt"
    later_ns = path.stat().st_mtime_ns + 10**9  # a clock may be too coarse to tell the two writes apart
    path.write_bytes(b"ONE")
    os.utime(path, ns=(later_ns, later_ns))


def shorten(folder: Path, manifest: str = "") -> None:
    (folder / "one.txt").write_bytes(b"o")
    if manifest:
        (folder / MANIFEST).write_text(manifest, encoding="utf-8")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "cut short": shorten,
    "other bytes of the same length": tamper,
    "removed": lambda folder: (folder / "deep" / "two.txt").unlink(),
    "manifest is not JSON": partial(shorten, manifest="{"),
    "manifest of another shape": partial(shorten, manifest="[1, 2]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_repaired(tmp_path: Path, damage: str) -> None:
    prepare(tmp_path, recipes())
    DAMAGE[damage](tmp_path)
    expected = {name: recipe.sha256 for name, recipe in recipes().items()}
    assert cache.find_damaged(tmp_path, expected) == ("deep/two.txt" if damage == "removed" else "one.txt",)
    assert not is_prepared(tmp_path, recipes())
    prepare(tmp_path, recipes())
    assert is_prepared(tmp_path, recipes())
    assert contents(tmp_path) == CONTENT


def test_a_whole_folder_without_manifest_is_taken_as_it_is(tmp_path: Path) -> None:
    prepare(tmp_path, recipes())
    (tmp_path / MANIFEST).unlink()
    write = Mock(side_effect=AssertionError("made again"))
    prepare(tmp_path, {name: Recipe(recipe.sha256, write) for name, recipe in recipes().items()})
    assert contents(tmp_path) == CONTENT


def write_half(path: Path) -> None:
    path.write_bytes(b"on")
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        pytest.param(lambda path: path.write_bytes(b"wrong"), "make setup", id="comes out wrong"),
        pytest.param(write_half, "No space left on device.*A4_CACHE", id="disk full"),
    ],
)
def test_a_failed_write_leaves_nothing(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    with pytest.raises(GraderError, match=message):
        prepare(tmp_path, {"one.txt": Recipe(ONE.sha256, write)})
    assert not [path for path in tmp_path.iterdir() if path.name != ".lock"]


def test_a_folder_that_cannot_be_made_is_a_fault_of_the_set_up(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GraderError, match="A4_CACHE"):
        prepare(tmp_path / "file" / "cache", recipes())


def test_two_at_once_make_each_file_once(tmp_path: Path) -> None:
    write, together = Mock(side_effect=lambda path: path.write_bytes(b"one")), threading.Barrier(2)

    def run(_: int) -> None:
        together.wait()
        prepare(tmp_path, {"one.txt": Recipe(ONE.sha256, write)})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))
    assert write.call_count == 1
    assert (tmp_path / "one.txt").read_bytes() == b"one"


@pytest.mark.parametrize("links_work", [True, False])
def test_a_second_name_has_the_same_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links_work: bool) -> None:
    if not links_work:
        monkeypatch.setattr(Path, "hardlink_to", Mock(side_effect=OSError(95, "Operation not supported")))
    prepare(tmp_path, {"first": ONE, "second": cache.build_link_recipe(tmp_path / "first", ONE.sha256)})
    assert (tmp_path / "second").read_bytes() == b"one"
    assert (tmp_path / "second").samefile(tmp_path / "first") == links_work


@pytest.mark.parametrize("environ", [{}, {"A4_CACHE": ""}, {"A4_CACHE": "elsewhere"}], ids=str)
def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    expected = environ.get("A4_CACHE") or "project/data/cache"
    assert cache.locate_cache(tmp_path / "project", environ) == tmp_path / expected


def test_a_full_disk_is_an_os_error_for_tensors_too() -> None:
    """safetensors raises an error of its own kind."""
    with pytest.raises(OSError, match="No space left") as error:
        tensors.write(Mock(side_effect=SafetensorError("I/O error: No space left on device (os error 28)")))
    assert error.value.errno == errno.ENOSPC
    with pytest.raises(SafetensorError, match="shared"):
        tensors.write(Mock(side_effect=SafetensorError("tensors that are shared")))


@pytest.mark.skipif(os.name == "nt", reason="rights are another matter there")
def test_what_is_prepared_can_be_read_by_kernels(tmp_path: Path) -> None:
    """Whatever the umask of whoever prepares it."""
    before = os.umask(0o077)
    try:
        prepare(tmp_path / "new" / "cache", {"deep/file": build_bytes_recipe(b"content")})
        (tmp_path / "private").touch()
    finally:
        os.umask(before)
    made = [tmp_path / "new", tmp_path / "new" / "cache" / "deep", tmp_path / "new" / "cache" / "deep" / "file"]
    assert [path.stat().st_mode & 0o077 for path in made] == [0o055, 0o055, 0o044]
    assert (tmp_path / "private").stat().st_mode & 0o077 == 0
