"""What crosses the border as files: a copy of the job goes in, evidence comes out.

Evidence was written by the student's process, so each entry is opened without following links and without waiting
(a FIFO would block), must be a regular file with one name, and is copied with a cap on bytes, files and depth. This
happens when every process of the sandbox is dead: nothing changes under the copier's hands.
"""

import contextlib
import itertools
import math
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
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
    """Paths relative to the evidence folder: copied, and refused with the reason."""

    copied: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def collect(source: Path, target: Path, *, total_mib: int, files: int) -> CollectedFiles:
    """Copy regular files below `source` into `target`, a folder of the caller's. Holes count as zeros."""
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
    """A private copy of the job for one kernel. Its content comes from the grader and is trusted."""
    shutil.copytree(job, target, symlinks=True)


def remove(folder: Path) -> None:
    """Remove a folder in which a student's process could write; nothing may be running there any more.

    Folders may be nested more deeply than any recursion, path or table of descriptors allows: what lies too deep is
    first moved up. Raises OSError.
    """
    prefix, serial = secrets.token_hex(8), itertools.count()  # names that nobody could foresee
    top = os.open(folder, FOLDER)
    try:
        while _clear(top, 0, lambda name, parent: _move(name, parent, f"{prefix}-{next(serial)}", top)):
            pass
    finally:
        os.close(top)
    folder.rmdir()


def _clear(folder: int, depth: int, move_up: Callable[[str, int], None]) -> bool:
    """Remove what is in an open folder. True when some of it was moved up instead."""
    status = os.fstat(folder)
    if status.st_mode & 0o700 != 0o700:  # moving a folder changes its entry "..", which needs the right to write
        os.fchmod(folder, 0o700)
    moved = False
    with os.scandir(folder) as listing:
        entries = list(listing)
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
        elif depth == DEEPEST_OPEN:
            os.chmod(entry.name, 0o700, dir_fd=folder)
            move_up(entry.name, folder)
            moved = True
        else:
            moved |= _remove_entry(entry.name, folder, depth, move_up)
    return moved


def _remove_entry(name: str, parent: int, depth: int, move_up: Callable[[str, int], None]) -> bool:
    """Remove one folder, named in an open one."""
    inner = _open(name, parent)
    try:
        moved = _clear(inner, depth + 1, move_up)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=parent)
    return moved


def _move(name: str, parent: int, new_name: str, new_parent: int) -> None:
    os.rename(name, new_name, src_dir_fd=parent, dst_dir_fd=new_parent)


def _open(name: str, parent: int) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        return os.open(name, FOLDER, dir_fd=parent)


def measure_usage(folder: Path) -> tuple[float, int]:
    """Disk in use below `folder` in MiB, and the number of entries. Races with its writer are harmless.

    Folders nested too deeply are not looked into but count as infinitely large, so that every limit is passed.
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


def _entries(source: Path) -> Iterator[Path]:
    """Relative paths of everything that is no folder, links to folders included, in a fixed order."""
    for parent, folders, names in os.walk(source):
        here = Path(parent).relative_to(source)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        folders[:] = sorted(folders) if len(here.parts) < DEEPEST else []
        yield from (here / name for name in sorted([*names, *links]))


def _copy(source: Path, target: Path, left: int) -> int:
    """Copy one file of at most `left` bytes; returns its size. Raises OSError with the reason for a refusal."""
    if len(source.name) > LONGEST_NAME or not source.name.isprintable():
        raise OSError(0, "unsuitable name")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(source, flags)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise OSError(0, "not a plain file")
        if status.st_size > left:
            raise OSError(0, "larger than what is left of the limit")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as copy:
            shutil.copyfileobj(stream, copy, CHUNK)
    return status.st_size
