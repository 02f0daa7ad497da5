"""The files in an archive or a folder, looked at one by one, and their bytes stored under their hash.

Theory of operation. Nothing is ever written under a name that an archive chose: a file is copied, counted byte by byte,
to a temporary file, and moved to `<sha256>.ipynb` when it is whole. A name that would leave a folder is therefore
harmless, and refused all the same, since no honest program makes one. Sizes that an archive declares are not believed.
Links, devices, encrypted and damaged entries are refused one at a time; the rest of the archive is still read.
"""

import hashlib
import lzma
import mmap
import os
import re
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Final

from grader.errors import ANOTHER_FOLDER, GraderError, explain_refusal

MAX_FILE_BYTES: Final = 300 * 2**20  # of a notebook
CLEAR: Final = "clear the outputs and save it again"
CHUNK_BYTES: Final = 2**20
KINDS: Final = {stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
CENTRAL_RECORD: Final = b"PK\x01\x02"  # before each entry in an archive's table of contents
JUNK_PARTS: Final = {"__MACOSX", ".ipynb_checkpoints", ".DS_Store", "Thumbs.db", "desktop.ini"}
# Without these, opening could follow a link to another file, or wait for a writer.
CAREFUL: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

# What reading a damaged or unusual archive raises: structure, checksums, methods of compression, encodings of names.
DAMAGE: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


class RejectionError(Exception):
    """A refused file; the message is a sentence without its subject, the file, and without the full stop."""


@dataclass(frozen=True)
class Bounds:
    """The largest contents that an archive or a folder may have."""

    entries: int = 50_000
    entry_bytes: int = MAX_FILE_BYTES
    total_bytes: int = 20 * 2**30  # unpacked, over all entries
    ratio: int = 200  # unpacked to packed; honest notebooks reach 20
    ratio_from_bytes: int = 8 * 2**20  # smaller files may be as repetitive as they like
    nested_entries: int = 2_000
    nested_bytes: int = 100 * 2**20  # of an archive inside the archive
    student_bytes: int = 2**30  # unpacked, so that nobody uses up what is there for all
    student_notebooks: int = 20  # each is executed

    def limit_unpacked(self, packed_bytes: int | None, bytes_max: int) -> int:
        """Return how many bytes a file may have that has so many packed (None: it is not packed)."""
        allowed = bytes_max if packed_bytes is None else max(self.ratio_from_bytes, packed_bytes * self.ratio)
        return min(bytes_max, allowed)


@dataclass(frozen=True)
class FoundEntry:
    """One file, not read yet. `entry` is its path as the source has it, `parts` the same in NFC and split."""

    entry: str
    parts: tuple[str, ...]
    open: Callable[[], IO[bytes]]
    packed_bytes: int | None  # None: it is not packed


@dataclass(frozen=True)
class RejectedEntry:
    """An entry that is refused before it is read."""

    entry: str
    parts: tuple[str, ...]
    reason: str


SourceEntry = FoundEntry | RejectedEntry


def is_junk(parts: tuple[str, ...]) -> bool:
    """Return True for a file that an operating system or Jupyter made, which nobody handed in."""
    return not JUNK_PARTS.isdisjoint(parts) or parts[-1].startswith("._")


def list_folder(folder: Path, bounds: Bounds, apart_from: Path) -> Iterator[SourceEntry]:
    """Yield the files below a folder, sorted. Links are not followed. Raises GraderError."""
    for count, path in enumerate(_walk(folder, apart_from), 1):
        if count > bounds.entries:
            advice = "name the folder that holds only the submissions"
            raise GraderError(f"{folder} holds more than {bounds.entries:,} files; {advice}.")
        entry = os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")
        kind = stat.S_IFMT(path.lstat().st_mode)
        if kind == stat.S_IFREG:
            yield FoundEntry(entry, _split(entry), partial(_open_file, path), packed_bytes=None)
        else:
            yield RejectedEntry(entry, _split(entry), _explain_kind(kind))


def _walk(folder: Path, apart_from: Path) -> Iterator[Path]:
    """Yield every path below that is not a folder, junk left out."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise GraderError(f"Cannot list {folder} ({error.strerror}); check its permissions.") from error
    for path in inside:
        if is_junk((path.name,)) or path == apart_from:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path, apart_from)
        else:
            yield path


def _open_file(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, CAREFUL), "rb")


@contextmanager
def open_archive(stream: IO[bytes], entries_max: int, of_student: bool = False) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive of at most `entries_max` entries. Raises RejectionError.

    Args:
        of_student: a student packed it and may have filled it with records for entries, so count these before parsing:
            zipfile keeps an object of a kilobyte for each record of 46 bytes. In the archive of a class, students
            choose only the contents of files, and a file full of such records must not have the class refused.
    """
    if os.fstat(stream.fileno()).st_size == 0:
        raise RejectionError("is empty")
    if of_student and _has_more_records(stream, entries_max):
        raise RejectionError(f"holds more than {entries_max:,} files")
    try:
        archive = zipfile.ZipFile(stream)
    except DAMAGE as error:
        raise RejectionError("is damaged or no zip archive") from error
    with archive:
        if len(archive.infolist()) > entries_max:
            raise RejectionError(f"holds more than {entries_max:,} files")
        yield archive


def _has_more_records(archive: IO[bytes], records_max: int) -> bool:
    with mmap.mmap(archive.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # No name for the iterator: the map could not be closed.
        return sum(1 for _ in islice(re.finditer(CENTRAL_RECORD, content), records_max + 1)) > records_max


def list_archive(archive: zipfile.ZipFile) -> Iterator[SourceEntry]:
    """Yield the files in a zip archive, in its order, junk and folders left out."""
    for info in archive.infolist():
        entry = _read_name(info)
        parts = _split(entry)
        if entry.endswith("/") or not parts or is_junk(parts):
            continue
        if reason := _explain_rejection(info, entry):
            yield RejectedEntry(entry, (re.split(r"[/\\]", entry)[-1] or "?",), reason)
        else:
            yield FoundEntry(entry, parts, partial(archive.open, info), info.compress_size)


def _read_name(info: zipfile.ZipInfo) -> str:
    """Read a name as its maker meant it: many programs write UTF-8 unmarked, which zipfile reads as cp437."""
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        with suppress(UnicodeError):  # where it is not UTF-8 it is cp437, or near enough
            name = name.encode("cp437").decode("utf-8")
    return name.encode("utf-8", "replace").decode("utf-8")


def _explain_rejection(info: zipfile.ZipInfo, entry: str) -> str | None:
    """Judge by what the archive says of an entry why it may not be read."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if "\0" in entry or "\\" in entry or ".." in entry.split("/") or re.match(r"/|[A-Za-z]:", entry):
        return "has a name that would lead out of its folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):  # 0: made by a system without file types
        return _explain_kind(kind)
    return "is encrypted" if info.flag_bits & 0x1 else None


def _explain_kind(kind: int) -> str:
    return f"is {KINDS.get(kind, 'a device')}, not a file"


def _split(entry: str) -> tuple[str, ...]:
    return tuple(part for part in unicodedata.normalize("NFC", entry).split("/") if part not in ("", "."))


class HashedFiles:
    """A folder of files under their hashes, with the bytes that may still be unpacked: each student gets a share."""

    def __init__(self, files: Path, bounds: Bounds) -> None:
        self.files = files
        self.bounds = bounds
        self._left = bounds.total_bytes
        self._left_of: defaultdict[str, int] = defaultdict(lambda: bounds.student_bytes)

    def keep(self, found: FoundEntry, student: str, bytes_max: int | None = None) -> str:
        """Copy one file to `<sha256>.ipynb`, whole or not at all, and return the hash.

        The same content is the same file, however often it was handed in. Raises RejectionError, GraderError.
        """
        with self._open_temporary_file() as target:
            digest = self._copy(found, target, student, min(bytes_max or MAX_FILE_BYTES, self.bounds.entry_bytes))
            target.close()
            Path(target.name).replace(self.files / f"{digest}.ipynb")
        return digest

    @contextmanager
    def open_nested(self, found: FoundEntry, student: str) -> Iterator[zipfile.ZipFile]:
        """Open an archive that a student handed in. Raises RejectionError, GraderError."""
        with self._open_temporary_file() as packed:
            self._copy(found, packed, student, self.bounds.nested_bytes)
            packed.flush()
            with open_archive(packed, self.bounds.nested_entries, of_student=True) as archive:
                yield archive

    @contextmanager
    def _open_temporary_file(self) -> Iterator[IO[bytes]]:
        """Open a file in the folder that is removed afterwards, unless it was moved. Raises GraderError."""
        try:
            self.files.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.files, prefix=".incoming-", delete=False) as target:
                try:
                    yield target
                finally:
                    Path(target.name).unlink(missing_ok=True)
        except OSError as error:
            raise explain_refusal(f"write to {self.files}", error, ANOTHER_FOLDER) from error

    def _copy(self, found: FoundEntry, target: IO[bytes], student: str, bytes_max: int) -> str:
        """Copy the content, counting it for a student, and return its SHA-256. Raises RejectionError."""
        digest = hashlib.sha256()
        for chunk in _read_within(found, bytes_max, self.bounds):
            self._spend(student, len(chunk))
            digest.update(chunk)
            target.write(chunk)
        return digest.hexdigest()

    def _spend(self, student: str, count: int) -> None:
        self._left_of[student] -= count
        if self._left_of[student] < 0:
            limit = _format_mib(self.bounds.student_bytes)
            raise RejectionError(f"was not unpacked: its author's files have more than {limit} together")
        self._left -= count
        if self._left < 0:
            limit = _format_mib(self.bounds.total_bytes)
            raise RejectionError(f"was not unpacked: all files of the class have more than {limit} together")


def read_entry(found: FoundEntry, bytes_max: int, bounds: Bounds) -> bytes:
    """Read one file into memory. Raises RejectionError."""
    return b"".join(_read_within(found, bytes_max, bounds))


def read_head(found: FoundEntry, count: int) -> bytes:
    """Read the first `count` bytes of a file, or what there is of them. Raises RejectionError."""
    return b"".join(islice(_read_chunks(found, count), 1))


def _read_within(found: FoundEntry, bytes_max: int, bounds: Bounds) -> Iterator[bytes]:
    """Yield the content as long as it keeps to the bounds. Raises RejectionError."""
    count, unpacked_max = 0, bounds.limit_unpacked(found.packed_bytes, bytes_max)
    for chunk in _read_chunks(found):
        count += len(chunk)
        if count > bytes_max:
            raise RejectionError(f"has more than {_format_mib(bytes_max)}; {CLEAR}")
        if count > unpacked_max:
            raise RejectionError(f"unpacks to more than {bounds.ratio} times its size; {CLEAR}")
        yield chunk


def _read_chunks(found: FoundEntry, chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield the content. Errors of reading are the source's fault; those of writing, in the caller, are not."""
    try:
        with found.open() as stream:
            while chunk := stream.read(chunk_bytes):
                yield chunk
    except NotImplementedError as error:
        raise RejectionError("cannot be read (packed in an unknown way)") from error
    except DAMAGE as error:
        raise RejectionError("cannot be read (damaged)") from error
    except OSError as error:  # its text would repeat a name that the archive chose
        raise RejectionError(f"cannot be read ({error.strerror or type(error).__name__})") from error


def _format_mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
