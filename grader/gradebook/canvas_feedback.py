"""Feedback for Canvas's "Upload Submissions": a zip archive whose names are those of the download.

Canvas finds the attachment that a file answers by two numbers in its name, so names stay exactly as they came. Know
before using it: Canvas shows each file under the name of what the student handed in, so that a page of feedback appears
as `x.ipynb`; every upload adds the comments again; no score is set. `canvas_upload` has none of these limits.
"""

import io
import zipfile
from collections.abc import Mapping
from typing import Final

from grader.errors import GraderError

EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first moment that the format knows: equal feedback makes equal archives
PLAIN_FILE: Final = 0o100644 << 16
UNIX: Final = 3  # whose rights a file has


def build_zip(feedback: Mapping[str, bytes]) -> bytes:
    """Pack one page for each entry of the download. Folders around an entry are left out, as Canvas expects.

    Raises GraderError if two pages answer one entry.
    """
    names = [entry.rpartition("/")[2] for entry in feedback]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise GraderError(f"Two pages of feedback answer '{repeated}'; give one page for each entry.")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, page in sorted(zip(names, feedback.values(), strict=True)):
            add_file(archive, name, page)
    return packed.getvalue()


def add_file(archive: zipfile.ZipFile, name: str, content: bytes, mode: int = PLAIN_FILE) -> None:
    """Write one file into an archive, so that equal contents make equal archives, whatever the time and the rights."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr, info.create_system = mode, UNIX
    archive.writestr(info, content, zipfile.ZIP_DEFLATED, 9)
