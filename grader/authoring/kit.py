"""The zip that students get: template, handout, public tests, and as much of the grader as these need.

Which modules go in, and which of their templates, follows from what students start (`grader.closure`). Two guards stand
behind that, so that an import, a link or a stray file cannot give away what only staff may read: staff folders are
refused wherever a path leads there, and so are kinds of files that have no business in the kit.
"""

import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from grader.authoring.course import fill_places, read_course
from grader.authoring.kit_lock import LOCK, derive_kit_lock
from grader.closure import Tree, closure
from grader.errors import GraderError

FOLDER: Final = "finetuning-kit"  # the one folder at the top of the zip
README: Final = f"{FOLDER}/README.md"

# Name in the kit → path in the repository.
RENAMED: Final = {
    "assignment.ipynb": "student_template/assignment.ipynb",
    "README.md": "student_template/README.md",
}

# Files that keep their names, and are read by others than our modules, or by a path that is put together.
TEXTS: Final = (
    "LICENSE",
    "Makefile",
    "autograder",
    "pyproject.toml",
    "requirements.lock",
    "data/rubric.toml",
    "data/calibration.json",
)

# What students start: the commands, `check` in a notebook, `make setup`, plain pytest.
STARTED: Final = (
    *("grader.__main__", "grader.student", "grader.assets.__main__", "grader.packages"),
    *("tests/conftest.py", "tests/public"),
)

# The command line has these where there is a grader/batch, and does without them where there is none.
FOR_CLASSES: Final = ("grader/batch", "grader/cli/batch.py")

STAFF_FOLDERS: Final = tuple(
    PurePosixPath(folder)
    for folder in ("reference", "tests/hidden", "tests/harness", "tests/corpus", "data/cache", "data/imdb", "results")
)
STAFF_NAME: Final = "hidden"  # of a folder or, up to the first dot, of a file, wherever it is

SUFFIXES: Final = frozenset({"", ".css", ".html", ".ipynb", ".j2", ".json", ".lock", ".md", ".py", ".toml", ".typed"})
TENSORS: Final = ("data/tilt.safetensors",)  # no other weights

EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold, for every file
REGULAR_FILE: Final = 0o100644 << 16
PROGRAM: Final = 0o100755 << 16
PROGRAMS: Final = (f"{FOLDER}/autograder",)
UNIX: Final = 3


def build_kit(root: Path, out: Path) -> tuple[str, ...]:
    """Writes the kit of the repository `root` to `out` and returns the names in it, sorted.

    The same files give the same bytes. Raises GraderError when a part is missing or must not get into the kit.
    """
    contents = {name: path.read_bytes() for name, path in list_kit_files(root).items()}
    contents[f"{FOLDER}/{LOCK}"] = derive_kit_lock(root).encode()
    contents[README] = fill_places(contents[README].decode(), read_course(root)).encode()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _write_zip(out, contents)
    except OSError as error:
        raise GraderError(f"Cannot write {out}: {error.strerror}; name another file.") from error
    return tuple(contents)


def list_kit_files(root: Path) -> dict[str, Path]:
    """Names in the kit, sorted, with the files behind them. Raises GraderError as `build_kit` does."""
    modules = closure(Tree(root), STARTED, without=FOR_CLASSES)
    files = {**RENAMED, **{name: name for name in (*TEXTS, *modules)}}
    for name in files.values():
        _admit(root, root / name)
    return {f"{FOLDER}/{name}": root / files[name] for name in sorted(files)}


def _admit(root: Path, path: Path) -> None:
    """Raises GraderError unless students may have the file at `path`, and the file that a link there leads to."""
    if not path.is_file():
        raise GraderError(f"The kit needs {path.relative_to(root).as_posix()}; run make template or restore the file.")
    for base, real in ((root, path), (root.resolve(), path.resolve())):
        if not real.is_relative_to(base):
            raise GraderError(f"{path} leads out of the repository to {real}; replace the link by a file.")
        relative = PurePosixPath(real.relative_to(base).as_posix())
        if _is_staff_only(relative):
            raise GraderError(f"{relative} is for staff only and must not get into the kit; remove it from the kit.")
    if path.suffix not in SUFFIXES and path.relative_to(root).as_posix() not in TENSORS:
        raise GraderError(f"{path} is not of a kind that belongs in the kit; move it out of this folder.")


def _is_staff_only(path: PurePosixPath) -> bool:
    named = any(part.partition(".")[0] == STAFF_NAME for part in path.parts)
    return named or any(path.is_relative_to(folder) for folder in STAFF_FOLDERS)


def _write_zip(out: Path, contents: dict[str, bytes]) -> None:
    """Stores without compression: what zlib makes of the same bytes differs between its versions."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = PROGRAM if name in PROGRAMS else REGULAR_FILE
            entry.create_system = UNIX
            archive.writestr(entry, content)
