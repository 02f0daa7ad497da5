"""Keeps what is done: evidence and results under names that say what they depend on, whole or not at all.

    STORE/
        lock                one batch at a time
        upload.lock         one upload to Canvas at a time
        uploads/            what was handed in, by SHA-256
        incoming/           being written; worthless after a crash
        evidence/KEY/       evidence/ as an execution left it, and ledger.json
        results/KEY.json    a judgement
        export-DIGEST.csv   the gradebook export, by its path (`teacher_export.py`)

A folder is written in `incoming`, forced to the disk and then renamed, so that it is never found incomplete. A
file is replaced the same way. A process that is killed leaves rubbish in `incoming`, which the next batch removes.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from grader.batch.messages import StoredJudgement
from grader.errors import GraderError

PRESENT = (errno.ENOTEMPTY, errno.EEXIST)


class Store:
    """The store of one class, for many processes at once, on one machine or over a shared file system."""

    def __init__(self, folder: Path) -> None:
        """Make nothing: `folder` is made when something is written."""
        self.folder = folder

    @property
    def uploads(self) -> Path:
        """The folder of what was handed in."""
        return self.folder / "uploads"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other batches out, and remove what a crash left. Raises GraderError when another batch runs here."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / "lock", timeout=0):
                shutil.rmtree(self.folder / "incoming", ignore_errors=True)
                yield
        except Timeout as error:
            raise GraderError(
                f"Another batch runs in {self.folder.parent}; wait until it ends, or choose another folder with --out."
            ) from error

    @contextmanager
    def lock_upload(self) -> Iterator[None]:
        """Keep other uploads out. Raises GraderError when another one sends from here."""
        try:
            with FileLock(self.folder / "upload.lock", timeout=0):
                yield
        except Timeout as error:
            raise GraderError(
                f"Another upload of {self.folder.parent} sends to Canvas; wait until it ends, then look what is left."
            ) from error

    def evidence(self, key: str) -> Path:
        """Return the folder of an execution's evidence and ledger, which need not exist."""
        return self.folder / "evidence" / key

    @contextmanager
    def open_incoming(self, key: str) -> Iterator[Path]:
        """Make a folder to fill and `publish`; without that it is removed."""
        parent = self.folder / "incoming"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{key[:12]}-", dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, key: str) -> Path:
        """Make a filled folder the evidence `key`, unless another process was faster. Raises OSError."""
        target = self.evidence(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in [*(p for p in folder.rglob("*") if p.is_file()), folder]:
            sync(path)
        try:
            folder.rename(target)
        except OSError as error:
            if error.errno not in PRESENT:
                raise
        sync(target.parent)
        return target

    def read_judgement(self, key: str) -> StoredJudgement | None:
        """Read a stored judgement; None where there is none that can be read."""
        try:
            return StoredJudgement.model_validate_json(self._result(key).read_bytes())
        except (OSError, ValidationError):  # absent, or from a version with other fields: it is judged again
            return None

    def keep(self, key: str, judged: StoredJudgement) -> None:
        """Store a judgement. Raises OSError."""
        write(self._result(key), judged.model_dump_json().encode())

    def _result(self, key: str) -> Path:
        return self.folder / "results" / f"{key}.json"


def write(path: Path, content: bytes) -> Path:
    """Write a file so that readers see the old content or the new, also after a crash. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add lines to a file, all of them or none. What is there stays byte for byte. Raises OSError."""
    written = path.read_bytes() if path.is_file() else b""
    gap = b"\n" if written and not written.endswith(b"\n") else b""
    write(path, written + gap + "".join(f"{line}\n" for line in lines).encode())


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk. Raises OSError."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot do it, and does not need it
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
