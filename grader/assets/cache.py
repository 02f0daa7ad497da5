"""Files of known content in a folder: written whole or not at all, made again when damaged, verified without rereading.

A *recipe* is a file's SHA-256 and how to make it. `prepare` makes what is missing or damaged; a manifest beside the
files remembers the size and time at which each was last found correct, so that a second call does not read hundreds of
megabytes again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from grader.errors import GraderError, explain_refusal

MANIFEST = "manifest.json"
LOCK_TIMEOUT_S = 600  # another process preparing the same folder needs seconds; minutes mean that it hangs


@dataclass(frozen=True)
class Recipe:
    """The way to make one file: `write` receives the path to write to; the result must have this SHA-256."""

    sha256: str
    write: Callable[[Path], object]


@dataclass(frozen=True)
class Stamp:
    """A file when its bytes were last read: as long as size and time stay, so does the hash."""

    sha256: str
    size_bytes: int
    mtime_ns: int


def locate_cache(root: Path, environ: Mapping[str, str]) -> Path:
    """Return the folder of prepared assets: A4_CACHE, otherwise `data/cache` of the project at `root`."""
    return Path(environ.get("A4_CACHE") or root / "data" / "cache").expanduser().absolute()


def prepare(folder: Path, recipes: Mapping[str, Recipe]) -> None:
    """Make `folder` hold every file of `recipes` (relative path -> recipe). A recipe may read the files before it.

    Safe when several processes do it at once. Raises GraderError when a file cannot be written or comes out wrong.
    """
    if is_prepared(folder, recipes):
        return
    expected = {name: recipe.sha256 for name, recipe in recipes.items()}
    try:
        with _relax_umask():
            folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S), _relax_umask():
            for name in find_damaged(folder, expected):
                _make(folder / name, recipes[name])
            stamps = {name: asdict(_take_stamp(folder / name, sha256)) for name, sha256 in expected.items()}
            _make(folder / MANIFEST, build_bytes_recipe(json.dumps(stamps, indent=1).encode("utf-8")))
    except Timeout as error:
        waits = f"Another process has been preparing {folder} for {LOCK_TIMEOUT_S} s; stop it and try again."
        raise GraderError(waits) from error
    except OSError as error:
        raise explain_refusal(f"prepare {folder}", error, "set A4_CACHE to another folder") from error


@contextmanager
def _relax_umask() -> Iterator[None]:
    """Let files made meanwhile be read by kernels, which may belong to another user; nothing in them is secret."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def is_prepared(folder: Path, recipes: Mapping[str, Recipe]) -> bool:
    """Return True if every file of `recipes` is there and whole; makes nothing."""
    return not find_damaged(folder, {name: recipe.sha256 for name, recipe in recipes.items()})


def find_damaged(folder: Path, expected: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names in `expected` (relative path -> SHA-256) whose files are missing or hold other bytes."""
    stamps = read_manifest(folder)
    found = {name: _find_current_sha256(folder / name, stamps.get(name)) for name in expected}
    return tuple(name for name, sha256 in expected.items() if found[name] != sha256)


def read_manifest(folder: Path) -> dict[str, Stamp]:
    """Return the stamps in the manifest of `folder` by relative path; empty when there is none that can be read."""
    try:
        entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return {name: Stamp(**entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # absent, not JSON, or JSON of another shape
        return {}


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place_file(path: Path, content: bytes) -> None:
    """Write a file of a cache so that a reader never sees half of it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)


def build_bytes_recipe(content: bytes) -> Recipe:
    """Return the recipe of a file whose content is at hand."""
    return Recipe(hashlib.sha256(content).hexdigest(), lambda path: path.write_bytes(content))


def build_link_recipe(source: Path, sha256: str) -> Recipe:
    """Return the recipe of a second name for `source`: a hard link where the file system has them, else a copy."""

    def write(path: Path) -> None:
        try:
            path.hardlink_to(source)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(source, path)

    return Recipe(sha256, write)


def _take_stamp(path: Path, sha256: str) -> Stamp:
    status = path.stat()
    return Stamp(sha256, status.st_size, status.st_mtime_ns)


def _find_current_sha256(path: Path, stamp: Stamp | None) -> str | None:
    if not path.is_file():
        return None
    return stamp.sha256 if stamp and stamp == _take_stamp(path, stamp.sha256) else hash_file(path)


def _make(path: Path, recipe: Recipe) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        recipe.write(partial)
        if (found := hash_file(partial)) != recipe.sha256:
            wrong = f"{path.name} must have SHA-256 {recipe.sha256[:12]}; what was made has {found[:12]}"
            raise GraderError(f"{wrong}. A package has another version than the pinned one: run `make setup`.")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
