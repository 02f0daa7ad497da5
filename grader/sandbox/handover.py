"""Files that enter and leave a sandbox: a copy of the job goes in, evidence comes out.

The student's process wrote the evidence, so each entry is opened without following links and without waiting (a FIFO
would block), must be a regular file with one name, and is copied with a cap on bytes, files and depth. Every process of
the sandbox is dead by then, so nothing changes while it is copied.
"""

import contextlib
import itertools
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from grader.sandbox.policy import MIB

CHUNK: Final = 1 << 20
DEEPEST: Final = 4  # folders of evidence
DEEPEST_WORK: Final = 100  # folders of the kernel's own
DEEPEST_OPEN: Final = 64  # folders open at the same time while they are removed
LONGEST_NAME: Final = 200
FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


@dataclass
class CollectedFiles:
    """Paths relative to the evidence folder: those copied, and those refused with the reason."""

    copied: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def collect(source: Path, target: Path, *, total_mib: int, files: int) -> CollectedFiles:
    """Copy the regular files below `source` to `target`, a folder of the caller. Holes count as zeros."""
    collected = CollectedFiles()
    left = total_mib * MIB
    for number, relative in enumerate(_entries(source)):
        if number >= files:
            collected.refused.append(f"{relative}: more than {files} files")
            break
        try:
            left -= _copy(source / relative, target / relative, left)
            collected.copied.append(str(relative))
        except OSError as error:
            collected.refused.append(f"{relative}: {error.strerror or error}")
    return collected


def copy_in(job: Path, target: Path) -> None:
    """Copy the job for one kernel. Its content comes from the grader and is trusted."""
    shutil.copytree(job, target, symlinks=True)


def remove(folder: Path) -> None:
    """Remove a folder in which a student's process could write. No such process may run any more.

    Folders may be nested more deeply than recursion, paths or the table of descriptors allow: what lies too deep is
    first moved to the top. Raises OSError.
    """
    prefix = secrets.token_hex(8)
    new_names = (f"{prefix}-{number}" for number in itertools.count())  # nobody could foresee them
    top = os.open(folder, FOLDER)
    try:
        while _clear(top, 0, top, new_names):
            pass
    finally:
        os.close(top)
    folder.rmdir()


def _clear(folder: int, depth: int, top: int, new_names: Iterator[str]) -> bool:
    """Remove the content of an open folder. Return True if some of it was moved to the top instead."""
    status = os.fstat(folder)
    if status.st_mode & 0o700 != 0o700:  # moving a folder changes its entry "..", which needs the right to write
        os.fchmod(folder, 0o700)
    moved = False
    for entry in list(os.scandir(folder)):
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
        elif depth == DEEPEST_OPEN:
            os.chmod(entry.name, 0o700, dir_fd=folder)
            os.rename(entry.name, next(new_names), src_dir_fd=folder, dst_dir_fd=top)
            moved = True
        else:
            inner = _open(entry.name, folder)
            try:
                moved |= _clear(inner, depth + 1, top, new_names)
            finally:
                os.close(inner)
            os.rmdir(entry.name, dir_fd=folder)
    return moved


def _open(name: str, parent: int) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, FOLDER, dir_fd=parent)


def measure_usage(folder: Path) -> tuple[float, int]:
    """Return the disk in use below `folder` in MiB, and the number of entries. Races with its writer are harmless.

    A folder nested too deeply is not read and counts as infinitely large, above every limit.
    """
    blocks, entries, waiting = 0, 0, [(str(folder), 0)]
    while waiting:
        path, depth = waiting.pop()
        if depth > DEEPEST_WORK:
            return math.inf, entries
        with contextlib.suppress(OSError), os.scandir(path) as listing:
            for entry in listing:
                entries += 1
                blocks += entry.stat(follow_symlinks=False).st_blocks
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))
    return blocks * 512 / MIB, entries


def is_full(folder: Path) -> bool:
    """Return True if the file system of `folder` has no room for another file."""
    there = os.statvfs(folder)
    return there.f_bfree == 0 or there.f_ffree == 0


def _entries(source: Path) -> Iterator[Path]:
    """Yield the relative paths of all that are no folders, links to folders included, in a fixed order."""
    for parent, folders, names in os.walk(source):
        here = Path(parent).relative_to(source)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        folders[:] = sorted(folders) if len(here.parts) < DEEPEST else []
        yield from (here / name for name in sorted([*names, *links]))


def _copy(source: Path, target: Path, left: int) -> int:
    """Copy one file of at most `left` bytes and return its size. Raises OSError with the reason for a refusal."""
    if len(source.name) > LONGEST_NAME or not source.name.isprintable():
        raise OSError(0, "unsuitable name")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(source, flags), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(0, "not a plain file")
        if status.st_size > left:
            raise OSError(0, "larger than what is left of the limit")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as copy:
            shutil.copyfileobj(stream, copy, CHUNK)
    return status.st_size
