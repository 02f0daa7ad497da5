"""Addresses of other pages, relative to those of the class."""

from collections.abc import Mapping
from urllib.parse import quote

from grader.intake.uploads import Upload
from grader.model import Result


def list_report_links(
    upload: Upload | None, folders: Mapping[str, str], result: Result | None
) -> tuple[tuple[str, str], ...]:
    """The reports of an upload as text and relative address; none where nothing was judged."""
    if upload is None or result is None:
        return ()
    folder = locate_report_folder(upload.id, folders)
    return ("staff report", f"{folder}/staff.html"), ("feedback", f"{folder}/feedback.html")


def locate_report_folder(upload_id: str, folders: Mapping[str, str]) -> str:
    """Address of the folder of an upload's reports: named in `folders`, or else like the upload."""
    return "./" + quote(folders.get(upload_id, upload_id), errors="replace")
