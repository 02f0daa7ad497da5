"""The kinds of files that are handed in instead of a notebook, by their first bytes or their names; and what to do.

A file's content decides what it is. Its name says something only where the content says nothing.
"""

import codecs
import json
import re
from typing import Final

HEAD_BYTES: Final = 2**16  # enough for what tells a notebook: Jupyter begins with its cells, Colab with the format
HAND_IN: Final = "hand in the notebook itself, the .ipynb file that Jupyter saves and Colab downloads"
AGAIN: Final = "download or copy it again from where it can still be opened, and hand in that file"

NOTEBOOK: Final = re.compile(r"\.ipynb(\.txt|\.json)?$", re.IGNORECASE)  # browsers add the second suffix
# Copies and downloads have more behind it: `a.ipynb (1).txt`, `a.ipynb-2.json`, `a.ipynb copy`, `a.ipynb.gz`.
LIKELY_NOTEBOOK: Final = re.compile(r"\.ipynb(?![a-z])[^/]*$", re.IGNORECASE)
SIGNS: Final = re.compile(r'"(?:cells|worksheets)"\s*+:\s*+\[')
MORE_SIGNS: Final = re.compile(r'"(?:cell_type|nbformat)"\s*+:')

OTHER_FORMATS: Final = {
    ".py": "is a Python script",
    **dict.fromkeys((".html", ".htm"), "is a web page"),
    ".pdf": "is a PDF",
    ".docx": "is a Word document",
    ".rtf": "is an RTF document",
    **dict.fromkeys((".md", ".qmd", ".rmd"), "is a Markdown text"),
    ".tex": "is a LaTeX document",
    **{f".{kind}": f"is a {kind} archive" for kind in ("rar", "7z", "gz", "tar")},
}
ZIP: Final = b"PK\x03\x04"
LINK: Final = f"is a link to a web page; {HAND_IN}"
DRIVE: Final = f"is a shortcut to a file in Google Drive and not that file; {HAND_IN}"
MAC: Final = f"is a hidden file that a Mac writes beside the notebook; {HAND_IN}"
IMAGE: Final = f"is an image; {HAND_IN}"
# How a file begins, in lower case, and what it then is. JSON begins with none of these.
BEGINNINGS: Final = {
    b"version https://git-lfs": "is a pointer of Git LFS and not the notebook that it stands for; run `git lfs pull`, "
    "and hand in the file that is there afterwards",
    b"{\\rtf": "is an RTF document, as TextEdit and WordPad save what is pasted into them; hand in the .ipynb file "
    "that Jupyter or Colab saved, not a copy made with a text editor",
    b"%pdf": f"is a PDF; {HAND_IN}",
    b"7z\xbc\xaf": f"is a 7z archive; unpack it and {HAND_IN}",
    b"rar!": f"is a rar archive; unpack it and {HAND_IN}",
    b"\xd0\xcf\x11\xe0": f"is a document of Microsoft Office; {HAND_IN}",
    b"\x89png": IMAGE,
    b"\xff\xd8\xff": IMAGE,
    b"diff --git": f"is a patch, which lists changes of a notebook; {HAND_IN}",
    b"[internetshortcut]": LINK,
    b"[desktop entry]": LINK,
    b"l\x00\x00\x00\x01\x14\x02\x00": LINK,
    b"http://": LINK,
    b"https://": LINK,
    b"bplist00": LINK,
    b"\x00\x05\x16\x07": MAC,
    b"\\documentclass": f"is a LaTeX document; {HAND_IN}",
    b"404: not found": f"holds only the answer of a web server that did not find the notebook; {AGAIN}",
}
# A script begins with comments, with the text that Colab puts there and with shell lines, and then imports something.
PYTHON: Final = re.compile(
    rb"(?:\s|#[^\n]*+\n|[!%][^\n]*+\n|\"\"\"(?:[^\"]++|\"(?!\"\"))*+\"\"\")*+(?:import|from)[ \t]+[A-Za-z_]"
)
FENCE: Final = re.compile(rb"^```", re.MULTILINE)  # around code in Markdown, also of Quarto and R
SHORT_BYTES: Final = 2_000  # of a text that only says where the notebook is
WEB_PAGE: Final = (b"<!doctype", b"<html", b"<?xml", b"<head")  # how one begins
WEB_PAGES: Final = {  # signs of where a page is from, the surest first
    rb"--jp-|nbconvert|notebook-container": f"is a notebook exported as a web page; {HAND_IN}",
    rb"<plist": LINK,
    rb"github": "is a web page of GitHub; choose “Download raw file” beside the notebook, and hand in that file",
    rb"google": "is a web page of Google; choose “Download .ipynb” in Colab's menu File > Download, and hand in that "
    "file",
}


def looks_like_notebook(head: bytes) -> bool:
    """Return True if a file that begins with `head` is JSON with a list of cells, whole or not."""
    text = head.decode(json.detect_encoding(head), "replace").lstrip("\ufeff \t\r\n")
    return text.startswith("{") and bool(SIGNS.search(text)) and bool(MORE_SIGNS.search(text))


def explain_content(raw: bytes) -> str | None:
    """Return what a file is that begins as no notebook does, and what to do; None for what may be one.

    The sentence lacks its subject, the file, and the full stop.
    """
    head = _read_ascii(raw[:1024]).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not raw.strip(b"\0") and raw:
        return f"holds nothing but zeros, as after a full disk or a broken download; {AGAIN}"
    if raw[257:262] == b"ustar":
        return f"is a tar archive; unpack it and {HAND_IN}"
    if head.startswith(WEB_PAGE):
        start = raw[: 4 * HEAD_BYTES]
        known = (kind for sign, kind in WEB_PAGES.items() if re.search(sign, start, re.IGNORECASE))
        return next(known, f"is a web page; {HAND_IN}")
    if PYTHON.match(raw[:HEAD_BYTES]):
        return f"is a Python script; {HAND_IN}"
    return next((kind for start, kind in BEGINNINGS.items() if head.startswith(start)), _explain_text(raw, head))


def _read_ascii(head: bytes) -> bytes:
    """Return a beginning that is UTF-16, as Windows writes shortcuts, as single bytes; any other unchanged."""
    utf_16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return head.decode("utf-16", "replace").encode() if utf_16 else head


def _explain_text(raw: bytes, head: bytes) -> str | None:
    """Return what a text is that holds something else in place of a notebook; None where it may be one."""
    if SIGNS.search(raw[:HEAD_BYTES].decode("utf-8", "replace")):  # in a list of one, behind a mark of git
        return None
    if head.startswith(b"{"):
        return DRIVE if b'"doc_id"' in head and len(raw) <= SHORT_BYTES else None
    if FENCE.search(raw[:HEAD_BYTES]):
        return f"is a Markdown text; {HAND_IN}"
    return LINK if len(raw) <= SHORT_BYTES and re.search(rb"https?://", head) else None


def explain_name(suffix: str) -> str | None:
    """Return what a file is by the end of its name, and what to do; None where the name does not tell."""
    return f"{OTHER_FORMATS[suffix]}; {HAND_IN}" if suffix in OTHER_FORMATS else None
