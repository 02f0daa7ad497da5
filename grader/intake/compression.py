"""One notebook that was packed: gz, bz2, xz, or a zip archive that holds it. Unpacked in memory, within bounds."""

import bz2
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Final

from grader.intake.file_kinds import AGAIN, HAND_IN, HEAD_BYTES, LIKELY_NOTEBOOK, NOTEBOOK, ZIP, looks_like_notebook
from grader.intake.unpacking import (
    CENTRAL_RECORD,
    DAMAGE,
    Bounds,
    FoundEntry,
    RejectedEntry,
    RejectionError,
    list_archive,
    read_entry,
    read_head,
)
from grader.text import sanitise

LEVELS: Final = 3  # a packed file in a packed file: more are no student's habit
BOUNDS: Final = Bounds()
XZ_MEMORY_BYTES: Final = 128 * 2**20  # the highest level of xz needs half of it

WAYS: Final = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", ZIP: "zip"}  # how each begins
DECOMPRESSORS: Final[dict[str, Callable[[], Any]]] = {
    "gz": lambda: zlib.decompressobj(wbits=31),
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES),
}


def unpack(raw: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return the file that is packed in `raw`, and the names of the ways it is packed: none if it is not packed.

    Raises RejectionError.
    """
    ways: list[str] = []
    while way := next((way for magic, way in WAYS.items() if raw.startswith(magic)), None):
        if len(ways) == LEVELS:
            raise RejectionError(f"is packed more than {LEVELS} times; {HAND_IN}")
        raw = _unpack_zip(raw) if way == "zip" else _decompress(raw, way)
        ways.append(way)
    return raw, tuple(ways)


def unpack_head(head: bytes) -> bytes:
    """Return the beginning of what is packed in a file that begins with `head`, or `head` where that is not packed."""
    way = next((way for magic, way in WAYS.items() if head.startswith(magic)), "zip")
    if way == "zip":
        return head
    try:
        return bytes(DECOMPRESSORS[way]().decompress(head, HEAD_BYTES))
    except (*DAMAGE, OSError):  # OSError: what bz2 raises
        return head


def _decompress(raw: bytes, way: str) -> bytes:
    decompressor = DECOMPRESSORS[way]()
    bytes_max = BOUNDS.limit_unpacked(len(raw), BOUNDS.entry_bytes)
    try:
        content = bytes(decompressor.decompress(raw, bytes_max + 1))
    except (*DAMAGE, OSError):
        raise RejectionError(f"is a {way} file that is damaged; {AGAIN}") from None
    if len(content) > bytes_max:
        raise RejectionError(f"is a {way} file that unpacks to more than {bytes_max / 2**20:,.0f} MiB; {HAND_IN}")
    if not decompressor.eof:
        raise RejectionError(f"is a {way} file whose end is missing; {AGAIN}")
    return content


def _unpack_zip(raw: bytes) -> bytes:
    """Return the one notebook in a zip archive, or the one packed file in it."""
    if raw.count(CENTRAL_RECORD) > BOUNDS.nested_entries:
        raise RejectionError(f"is a zip archive of more than {BOUNDS.nested_entries:,} files; {HAND_IN}")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return read_entry(_choose_entry(archive), BOUNDS.entry_bytes, BOUNDS)
    except DAMAGE:
        raise RejectionError(f"is a zip archive that is damaged; {AGAIN}") from None


def _choose_entry(archive: zipfile.ZipFile) -> FoundEntry:
    """Return the archive's one notebook. Files under other names are looked at where none has a notebook's name."""
    entries = list(list_archive(archive))
    if any(entry.entry == "word/document.xml" for entry in entries):
        raise RejectionError(f"is a Word document; {HAND_IN}")
    named = [entry for entry in entries if NOTEBOOK.search(entry.entry)]
    wanted = named or [entry for entry in entries if isinstance(entry, FoundEntry) and may_hold_notebook(entry)]
    if len(wanted) > 1:
        names = ", ".join(f"'{sanitise(entry.parts[-1], 40)}'" for entry in wanted[:3])
        raise RejectionError(
            f"is a zip archive with {len(wanted)} notebooks ({names}); hand in the one that is to be graded"
        )
    if not wanted:
        raise RejectionError(f"is a zip archive without a notebook; {HAND_IN}")
    if isinstance(wanted[0], RejectedEntry):
        raise RejectionError(f"is a zip archive whose notebook {wanted[0].reason}; {HAND_IN}")
    return wanted[0]


def may_hold_notebook(entry: FoundEntry) -> bool:
    """Return True for a notebook under any name, packed or not, and for an archive, by the first bytes."""
    try:
        head = read_head(entry, HEAD_BYTES)
    except RejectionError:  # damaged: it counts if its name says so
        return LIKELY_NOTEBOOK.search(entry.parts[-1]) is not None
    is_archive = head.startswith(ZIP) and not entry.parts[-1].lower().endswith(".docx")
    return is_archive or looks_like_notebook(unpack_head(head))
