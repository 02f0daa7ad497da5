"""The teacher's gradebook export: read where it was given, or from the copy that the class keeps.

An export lies among a person's downloads and is deleted there, while a class is handed out again for weeks. The copy
has the digest of the path in its name, so that the copy of one export never stands for another one.
"""

import hashlib
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from grader.batch.request import BatchRequest, load_batch
from grader.batch.store import write
from grader.errors import GraderError

COPY: Final = "export-{}.csv"  # in the class's store


@dataclass(frozen=True)
class Export:
    """The content of an export, and a note for staff where it is that of the copy."""

    content: bytes
    note: str = ""


def read_gradebook(request: BatchRequest) -> Export | None:
    """Read the export or its copy; None if no export is given. Raises GraderError where there is neither."""
    if request.gradebook is None:
        return None
    try:
        return Export(request.gradebook.read_bytes())
    except OSError as error:
        copy = _locate_copy(request.folder, request.gradebook)
        with suppress(OSError):  # there is no copy
            return Export(copy.read_bytes(), _describe_copy(request.gradebook, copy))
        message = f"Cannot read {request.gradebook} ({error.strerror}); {_suggest_way_out(request)}."
        raise GraderError(message) from error


def keep_gradebook(request: BatchRequest) -> None:
    """Keep a copy of the export in the class. Raises GraderError and OSError."""
    export = read_gradebook(request)
    if request.gradebook and export and not export.note:
        write(_locate_copy(request.folder, request.gradebook), export.content)


def forget_others(request: BatchRequest) -> None:
    """Remove copies of exports that the class has no longer. Raises OSError."""
    kept = _locate_copy(request.folder, request.gradebook) if request.gradebook else None
    for copy in (request.folder / "store").glob(COPY.format("*")):
        if copy != kept:
            copy.unlink()


def _locate_copy(folder: Path, gradebook: Path) -> Path:
    return folder / "store" / COPY.format(hashlib.sha256(os.fsencode(gradebook)).hexdigest()[:12])


def _describe_copy(gradebook: Path, copy: Path) -> str:
    read_at = datetime.fromtimestamp(copy.stat().st_mtime).astimezone()
    return (
        f"{gradebook} cannot be read any more; the class's copy of it is filled, as it was on "
        f"{read_at:%Y-%m-%d %H:%M}. GRADEBOOK= (--gradebook) takes in a newer export."
    )


def _suggest_way_out(request: BatchRequest) -> str:
    """Say what to do about an export that was just given, or about one that an earlier run knew."""
    known = None
    with suppress(GraderError):  # no class yet
        known = load_batch(request.folder).request.gradebook
    if known != request.gradebook:
        return "check the path"
    return (
        "name another export with GRADEBOOK= (--gradebook), or have the class forget this one with "
        f"`make decisions CLASS={shlex.quote(str(request.folder))} TAKE_AWAY=gradebook REASON=words`"
    )
