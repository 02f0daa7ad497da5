"""Feedback for Canvas's "Upload Submissions": a zip archive whose names are those of the download.

Canvas finds the attachment that a file answers by two numbers in its name, so names stay exactly as they came. Know
before using it: Canvas shows each file under the name of what the student handed in, so that a page of feedback appears
as `x.ipynb`; every upload adds the comments again; no score is set. `canvas_upload` has none of these limits.
"""

import io
import zipfile
from collections.abc import Iterable, Mapping
from typing import Final

from grader.text import sanitise

EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the first moment that the format knows: equal feedback makes equal archives
PLAIN_FILE: Final = 0o100644 << 16
UNIX: Final = 3  # whose rights a file has


def choose_pages(answers: Iterable[tuple[str, bytes]]) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return one page for each name, and notes on the names for which there are several: the first one is kept.

    Folders around an entry are left out, as Canvas expects, so that two downloads in one folder have the same names.

    Args:
        answers: entries of the download, each with its page.
    """
    pages, repeated = dict[str, bytes](), dict[str, str]()
    for entry, page in answers:
        name = entry.rpartition("/")[2]
        if pages.setdefault(name, page) != page:
            repeated[name] = f"Two pages of feedback answer '{sanitise(name)}'; feedback.zip holds the first one."
    return pages, tuple(repeated.values())


def build_zip(pages: Mapping[str, bytes]) -> bytes:
    """Pack pages under their names."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, page in sorted(pages.items()):
            add_file(archive, name, page)
    return packed.getvalue()


def add_file(archive: zipfile.ZipFile, name: str, content: bytes, mode: int = PLAIN_FILE) -> None:
    """Write one file into an archive, so that equal contents make equal archives, whatever the time and the rights."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr, info.create_system = mode, UNIX
    archive.writestr(info, content, zipfile.ZIP_DEFLATED, 9)
