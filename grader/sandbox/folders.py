"""Temporary folders that are always removed: at the end of their run, or by the next run on this machine.

A folder in use holds a file that its process keeps locked; the system releases the lock when that process ends in any
way. A folder with such a file and no lock was left by a killed run. Folders without the file, of other users or of
other machines stay. On Windows nothing is swept.

The path of a unix socket has at most 107 bytes. Where the temporary folder has a longer one (batch systems and macOS
name it after job and user), folders for sockets lie elsewhere.
"""

import atexit
import contextlib
import multiprocessing
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import lock_descriptor

from grader.errors import GraderError
from grader.sandbox.handover import remove

PREFIX: Final = "a4-"
LONGEST_PLACE: Final = 107 - len("/a4-sockets-12345678/listener-12345678")  # the longest path below it
SHORT_PLACES: Final = ("/tmp", "/var/tmp", "/dev/shm")
_OF_THIS_PROCESS: Final = contextlib.ExitStack()
atexit.register(_OF_THIS_PROCESS.close)
HELD: Final = ".held"  # locked, and says on which machine: where folders are shared, locks need not be


@contextmanager
def open_temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a folder and remove it in the end, if it is still there. Call `release` before you rename it to keep it."""
    place = Path(tempfile.gettempdir()) if parent is None else parent
    _sweep(prefix, place)
    with (
        contextlib.ExitStack() as held,
        tempfile.TemporaryDirectory(prefix=prefix, dir=place, ignore_cleanup_errors=True) as name,
    ):
        _hold(Path(name), held)
        yield Path(name)


@contextmanager
def open_socket_folder(kind: str) -> Iterator[Path]:
    """Make a temporary folder for sockets. Raises GraderError where no path is short enough."""
    with open_temporary_folder(f"{PREFIX}{kind}-", find_short_place()) as folder:
        yield folder


def find_short_place() -> Path:
    """Return the temporary folder, or another one where its path is too long for sockets. Raises GraderError."""
    usual = tempfile.gettempdir()
    for place in (usual, *SHORT_PLACES):
        if len(os.fsencode(place)) <= LONGEST_PLACE and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    raise GraderError(
        f"The path of the temporary folder {usual} is too long for sockets, and nothing can be written to "
        f"{', '.join(SHORT_PLACES)}. Set TMPDIR to a folder whose path has at most {LONGEST_PLACE} characters."
    )


def shelter_multiprocessing() -> None:
    """Have multiprocessing put the sockets of this process and its children into such a folder.

    The folder that it makes without this stays forever when this process is killed.
    """
    settings: dict[str, object] = multiprocessing.current_process()._config  # type: ignore[attr-defined]  # multiprocessing itself keeps it there
    if sys.platform != "win32" and not settings.get("tempdir"):
        settings["tempdir"] = str(_OF_THIS_PROCESS.enter_context(open_socket_folder("sockets")))


def release(folder: Path) -> None:
    """Make a temporary folder an ordinary one, which no run removes."""
    (folder / HELD).unlink(missing_ok=True)


def _hold(folder: Path, held: contextlib.ExitStack) -> None:
    """Put the file in the folder once it is locked, so that nobody sees it unlocked while its holder lives."""
    if sys.platform == "win32":
        return
    early = folder / f"{HELD}.new"
    descriptor = os.open(early, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    held.callback(os.close, descriptor)
    os.write(descriptor, socket.gethostname().encode())
    with contextlib.suppress(OSError):  # no locks on this file system: then the next run leaves the folder alone
        if lock_descriptor(descriptor, blocking=False):
            early.rename(folder / HELD)


def _sweep(prefix: str, place: Path) -> None:
    """Remove what killed runs left here. What cannot be removed does not keep this run from starting."""
    if sys.platform == "win32":
        return
    for folder in place.glob(f"{prefix}*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as opened:
            if folder.lstat().st_uid == os.getuid() and not folder.is_symlink():
                descriptor = os.open(folder / HELD, os.O_RDWR | os.O_NOFOLLOW)
                opened.callback(os.close, descriptor)
                here = os.read(descriptor, 256) == socket.gethostname().encode()
                if here and lock_descriptor(descriptor, blocking=False):
                    remove(folder)
