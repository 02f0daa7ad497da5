"""Files that are no notebook any more, or one under another name: mended and noted, or refused with the cause."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grader.errors import SubmissionError
from grader.intake import compression, read_submission
from grader.intake.archive import read_class, read_hand_in
from grader.intake.unpacking import Bounds
from grader.intake.uploads import Intake
from grader.judging.staff_notes import find_notes


def build(*sources: str, **metadata: object) -> bytes:
    """A notebook as Jupyter writes it, one line per field."""
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
        for source in sources
    ]
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1).encode()


def packed(entries: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return target.getvalue()


def replaced(content: bytes, *changes: tuple[str, str]) -> bytes:
    text = content.decode()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text.encode()


def conflict(ours: str, theirs: str, base: str | None = None) -> str:
    middle = "" if base is None else f"||||||| 1a2b3c4\n{base}\n"
    return f"<<<<<<< HEAD\n{ours}\n{middle}=======\n{theirs}\n>>>>>>> origin/main\n"


SOURCES = ["import torch", "rank = 8\nalpha = 16"]
WHOLE = build(*SOURCES)
COUNT = '   "execution_count": null,\n'
RUN = conflict('   "execution_count": 3,', '   "execution_count": 7,')
RANK = '   "source": "rank = 8\\nalpha = 16"\n'
OTHER_RANK = conflict(RANK[:-1], RANK[:-1].replace("8", "16"))
STORED_AS_LINES = json.dumps(
    {"cells": [{"cell_type": "code", "source": ["import torch\n", "x = 1"]}]}, indent=1
).encode()

TAKEN: dict[str, tuple[bytes, list[str], tuple[str, ...]]] = {
    "NaN in an output": (
        replaced(
            WHOLE, ('"outputs": []', '"outputs": [{"output_type": "display_data", "data": {"a/b": [NaN, -Infinity]}}]')
        ),
        SOURCES,
        (),
    ),
    # wrapped
    "a server's answer": (
        b'{"name": "a.ipynb", "type": "notebook", "content": ' + WHOLE + b"}",
        SOURCES,
        ("taken out",),
    ),
    "in a list": (b"[" + WHOLE + b"]", SOURCES, ("taken out",)),
    "pasted from a mail": ("\u200b\xa0".encode() + WHOLE + "\xa0".encode(), SOURCES, ()),
    # packed
    "gz": (gzip.compress(WHOLE), SOURCES, ("packed (gz)",)),
    "bz2": (bz2.compress(WHOLE), SOURCES, ("packed (bz2)",)),
    "xz": (lzma.compress(WHOLE), SOURCES, ("packed (xz)",)),
    "zip": (packed({"work/a.ipynb": WHOLE, "work/train.csv": b"x"}), SOURCES, ("packed (zip)",)),
    "zip in a zip": (packed({"w.zip": packed({"a.ipynb": WHOLE})}), SOURCES, ("packed (zip, zip)",)),
    "zip with an odd name in it": (packed({"a.ipynb (1).txt": WHOLE, "b.txt": b"x"}), SOURCES, ("packed (zip)",)),
    "gz in a zip": (packed({"a.bin": gzip.compress(WHOLE)}), SOURCES, ("packed (zip, gz)",)),
    # encodings
    "byte order mark": (b"\xef\xbb\xbf" + WHOLE, SOURCES, ("byte order mark",)),
    "UTF-16": (WHOLE.decode().encode("utf-16"), SOURCES, ("is UTF-16, not UTF-8",)),
    "UTF-16 without a mark": (WHOLE.decode().encode("utf-16-le"), SOURCES, ("is UTF-16-LE",)),
    "Windows-1252": (
        build("größe = 1").replace(rb"\u00f6", b"\xf6").replace(rb"\u00df", b"\xdf"),
        ["größe = 1"],
        ("1252",),
    ),
    # edited by hand
    "comma behind the last cell": (replaced(WHOLE, ("  }\n ],", "  },\n ],")), SOURCES, ("commas are",)),
    "comma behind the last field": (
        replaced(WHOLE, ('"nbformat_minor": 5', '"nbformat_minor": 5,')),
        SOURCES,
        ("commas",),
    ),
    "no comma between cells": (replaced(WHOLE, ("  },\n  {", "  }\n  {")), SOURCES, ("commas are",)),
    "no comma between lines": (
        replaced(STORED_AS_LINES, (r'torch\n",', r'torch\n"')),
        ["import torch\nx = 1"],
        ("commas are",),
    ),
    "comma in a string": (
        replaced(build("x = [1,]  # ,}"), ("  }\n ],", "  },\n ],")),
        ["x = [1,]  # ,}"],
        ("commas",),
    ),
    "line break in a string": (replaced(WHOLE, (r"8\nalpha", "8\nalpha")), SOURCES, ("line breaks or tabs",)),
    # more than a notebook, or its end is missing
    "same notebook twice": (WHOLE + b"\n" + WHOLE, SOURCES, ("same notebook twice",)),
    "rest of a longer version": (WHOLE + b'"nbformat": 4\n}\n', SOURCES, ("(15 characters) was left out",)),
    "a byte behind the end": (WHOLE + b"\xff", SOURCES, ("1252", "(1 characters)")),
    "cut behind the last cell": (WHOLE[: WHOLE.index(b"nbformat")], SOURCES, ("cut short behind its last cell",)),
    "cut within the metadata": (build("x = 1", a="b")[:-40], ["x = 1"], ("no cell is missing",)),
    # git
    "merge of counters": (replaced(WHOLE, (COUNT, RUN)), SOURCES, ("both of its sides have the same code",)),
    "merge with its base": (
        replaced(WHOLE, (COUNT, conflict(COUNT[:-1], COUNT[:-1], base='   "execution_count": 1,'))),
        SOURCES,
        ("merge",),
    ),
    "merge with line ends of Windows": (replaced(WHOLE, (COUNT, RUN)).replace(b"\n", b"\r\n"), SOURCES, ("merge",)),
    # kernels
    "PySpark": (
        build("import torch", kernelspec={"name": "pysparkkernel"}, language_info={"name": "pyspark"}),
        SOURCES[:1],
        (),
    ),
    "xpython": (build("x", kernelspec={"name": "xpython", "language": "python"}), ["x"], ()),
    "conda environment": (build("x", kernelspec={"name": "conda-env-dat450-py", "language": "python"}), ["x"], ()),
    "conda environment called r": (build("x", kernelspec={"name": "conda-env-r-py"}), ["x"], ()),
    "Python 3.11 of a cluster": (build("x", kernelspec={"name": "py311", "language": ""}), ["x"], ()),
    "Julia by mistake": (
        build("import torch", kernelspec={"name": "julia-1.10", "language": "julia"}),
        SOURCES[:1],
        ("names a kernel for julia",),
    ),
    "R by mistake": (
        build("x = 1", "from transformers import Trainer", kernelspec={"name": "ir"}),
        ["x = 1", "from transformers import Trainer"],
        ("names a kernel for R; its code is Python",),
    ),
}


@pytest.mark.parametrize(("content", "sources", "notes"), TAKEN.values(), ids=TAKEN)
def test_is_taken_and_noted(content: bytes, sources: list[str], notes: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_bytes(content)
    submission = read_submission(tmp_path / "a.ipynb")
    assert [cell.source for cell in submission.notebook.cells] == sources
    assert len(submission.repairs) == len(notes)
    assert all(part in note for part, note in zip(notes, submission.repairs, strict=True))


def test_staff_read_what_was_done() -> None:
    case: Any = SimpleNamespace(
        evidence=SimpleNamespace(run=SimpleNamespace(repairs=("The notebook was packed (gz).",)))
    )
    assert next(find_notes(case, ())) == "The notebook was packed (gz)."


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 4821\n"
RTF = rb"{\rtf1\ansi\ansicpg1252\cocoartf2761" + b"\n" + rb"\f0\fs24 \cf0 \{\ \"cells\": [ \}}"
TWO = (WHOLE + WHOLE.replace(b"16", b"32"), build("a") + b",\n" + build("a", "b"))
TWO_IN_A_ZIP = packed({"a.ipynb": WHOLE, "b.ipynb": build("x")})

REFUSED: dict[str, tuple[bytes, str]] = {
    "cut in a cell": (WHOLE[: WHOLE.index(b"alpha")], "bytes of it are here, with 1 whole cell; upload it again"),
    "cut between fields": (WHOLE[: WHOLE.index(b'"source": "rank')], "with 1 whole cell;"),
    "cut in a word": (WHOLE[: WHOLE.index(b"ull")], "with 0 whole cells;"),
    "cut in a character": (build("é" * 9).replace(rb"\u00e9", "é".encode())[:120], "is cut short: "),
    "cut gz": (gzip.compress(WHOLE)[:-20], "is a gz file whose end is missing; download or copy it again"),
    "damaged gz": (b"\x1f\x8b\x08\x00" + b"\x55" * 40, "is a gz file that is damaged"),
    "damaged bz2": (b"BZh9" + bytes(40), "is a bz2 file that is damaged"),
    "damaged xz": (b"\xfd7zXZ\x00" + bytes(40), "is a xz file that is damaged"),
    "damaged zip": (packed({"a.ipynb": WHOLE})[:-30], "is a zip archive that is damaged"),
    "bomb": (gzip.compress(bytes(9 * 2**20)), "unpacks to more than 8 MiB"),
    "bomb in a zip": (packed({"a.ipynb": bytes(9 * 2**20)}), "unpacks to more than 200 times its size"),
    "packed again and again": (gzip.compress(gzip.compress(gzip.compress(gzip.compress(WHOLE)))), "more than 3 times"),
    "zip of two": (TWO_IN_A_ZIP, "with 2 notebooks ('a.ipynb', 'b.ipynb'); hand in the one"),
    "zip of none": (packed({"train.csv": b"x"}), "is a zip archive without a notebook"),
    "Word": (packed({"[Content_Types].xml": b"", "word/document.xml": b""}), "is a Word document"),
    "nothing packed": (gzip.compress(b""), "is an empty file"),
    "merge of two versions": (
        replaced(WHOLE, (RANK, OTHER_RANK)),
        "two versions that differ in code cell 2; choose one",
    ),
    "merge with a cell on one side": (
        replaced(WHOLE, (" ],\n", conflict("  ,{}", '  ,{"cell_type": "code", "source": "y"}') + " ],\n")),
        "differ in code cell 3; choose one with `git checkout --ours`",
    ),
    "merge that is half done": (
        replaced(WHOLE, (COUNT, "<<<<<<< HEAD\n" + COUNT)),
        "unfinished merge of git, from line 5 on",
    ),
    "two notebooks": (TWO[0], "holds two different notebooks, the second from line "),
    "two notebooks with a comma": (TWO[1], "holds two different notebooks"),
    "two notebooks, the second cut": (TWO[0][:-60], "holds two different notebooks"),
    "cut between cells": (WHOLE[: WHOLE.index(b"  {", 40)], "with 1 whole cell;"),
    "Git LFS": (LFS, "is a pointer of Git LFS and not the notebook that it stands for; run `git lfs pull`"),
    "Git LFS with line ends of Windows": (LFS.replace(b"\n", b"\r\n"), "is a pointer of Git LFS"),
    "RTF": (RTF, "is an RTF document, as TextEdit and WordPad save"),
    "RTF of WordPad": (rb"{\rtf1\ansi\deff0{\fonttbl{\f0 Calibri;}}", "is an RTF document"),
    "page of GitHub": (
        b"\n\n<!DOCTYPE html><html><title>a4 at main \xc2\xb7 GitHub</title>",
        "choose “Download raw file”",
    ),
    "page of Google": (
        b"<html><a href='https://accounts.google.com'>Sign in",
        "choose “Download .ipynb” in Colab's menu",
    ),
    "exported page": (b"<!DOCTYPE html><style>:root{--jp-cell: 1}</style>", "is a notebook exported as a web page"),
    "other page": (b"<HTML><body>", "is a web page; hand in"),
    "webloc": (b'<?xml version="1.0"?><plist version="1.0"><dict><key>URL</key>', "is a link to a web page"),
    "shortcut": (b"[InternetShortcut]\r\nURL=https://colab.research.google.com/", "is a link to a web page"),
    "script": (b"# coding: utf-8\n\n# In[1]:\n\nimport torch\n", "is a Python script"),
    "script of Colab": (
        b'# -*- coding: utf-8 -*-\n"""A4.ipynb\n\nGenerated by "Colab".\n"""\n\n!pip install x\n\nimport torch\n',
        "is a Python script",
    ),
    "script of Jupytext": (
        b"# ---\n# jupyter: {}\n# ---\n\n# %%\n%pip install x\nfrom torch import nn\n",
        "is a Python script",
    ),
    "Markdown": (b"# Fine-tuning\n\nText.\n\n```python\nimport torch\n```\n", "is a Markdown text; hand in"),
    "Quarto": (b"---\njupyter: python3\n---\n\n```{python}\nimport torch\n```\n", "is a Markdown text"),
    "LaTeX": (rb"\documentclass[11pt]{article}", "is a LaTeX document"),
    "shortcut of Linux": (b"[Desktop Entry]\nType=Link\nURL=https://colab", "is a link to a web page"),
    "shortcut in UTF-16": ("[InternetShortcut]\r\nURL=https://colab".encode("utf-16"), "is a link to a web page"),
    "shortcut of Windows": (bytes.fromhex("4c0000000114020000000000c000000000000046") + bytes(90), "is a link to"),
    "shortcut of Google Drive": (
        b'{"":"WARNING! DO NOT EDIT","doc_id":"1abc","email":"a@b.se"}',
        "a shortcut to a file in",
    ),
    "text with a link": (b"My notebook: https://colab.research.google.com/drive/1abc\n", "is a link to a web page"),
    "answer of a server": (b"404: Not Found", "of a web server that did not find the notebook"),
    "zeros": (bytes(3_000), "holds nothing but zeros"),
    "noise": (b"\x8f\x01\xfe" * 30, "is no text, so it cannot be a notebook"),
    "AppleDouble": (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "is a hidden file that a Mac writes"),
    "tar": (b"a.ipynb".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "is a tar archive; unpack it"),
    "image": (b"\x89PNG\r\n\x1a\n\0\0", "is an image"),
    "JSON of another kind": (b'{"a": 1}\n{"a": 2}\n', "is damaged or no notebook, as line 2 is not JSON"),
    "Julia": (build("using Flux", kernelspec={"name": "julia-1.10"}), "is written for Julia"),
    "Scala": (build("val x = 1", language_info={"name": "scala"}), "is written for scala"),
}


@pytest.mark.parametrize(("content", "sentence"), REFUSED.values(), ids=REFUSED)
def test_is_refused_with_its_cause(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_bytes(content)
    with pytest.raises(SubmissionError) as refused:
        read_submission(tmp_path / "a.ipynb")
    message = str(refused.value)
    assert sentence in message
    assert "open it in Jupyter" not in message
    assert message.startswith("'a.ipynb' ")
    assert message.endswith(".")
    assert "\n" not in message


def test_unpacking_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compression, "BOUNDS", Bounds(nested_entries=2))
    (tmp_path / "a.zip").write_bytes(packed({f"{n}.txt": b"" for n in range(3)}))
    with pytest.raises(SubmissionError, match="is a zip archive of more than 2 files"):
        read_submission(tmp_path / "a.zip")


# Names: the content decides

NAMES = {
    "copied by a browser": "a4.ipynb (1).txt",
    "copied by a browser, numbered behind": "a4.ipynb (2)",
    "downloaded as text": "a4.ipynb.txt",
    "downloaded as JSON": "a4.ipynb.json",
    "downloaded by Safari": "a4.ipynb.download",
    "numbered": "a4.ipynb-2.json",
    "numbered by Canvas": "a4.ipynb-2.txt",
    "copied by a Mac": "a4.ipynb copy",
    "copied by a Mac once more": "a4.ipynb copy 2",
    "copied by a Mac as text": "a4.ipynb copy.txt",
    "ending twice": "a4.ipynb.ipynb",
    "capitals": "a4.IPYNB",
    "backup": "a4.ipynb~",
    "text": "a4.txt",
    "JSON": "a4.json",
    "no ending": "a4",
    "a script's name": "a4.py",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_notebook_under_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(WHOLE)
    assert read_submission(tmp_path / name).name == "a4"
    (found,), _ = read_hand_in(tmp_path, tmp_path / "files")
    assert found.display_name == name


def take(tmp_path: Path, entries: dict[str, bytes]) -> Intake:
    (tmp_path / "s.zip").write_bytes(packed(entries))
    return read_class(tmp_path / "s.zip", tmp_path / "files")


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize(
    "content", [WHOLE, WHOLE.decode().encode("utf-16"), gzip.compress(WHOLE)], ids=["", "UTF-16", "gz"]
)
def test_a_notebook_under_any_name_in_an_archive(name: str, content: bytes, tmp_path: Path) -> None:
    intake = take(tmp_path, {f"x_1_2_{name}": content})
    assert [(upload.id, upload.display_name) for upload in intake.uploads] == [("x_1_2", name)]
    inner = take(tmp_path, {"x_1_2_work.zip": packed({f"work/{name}": content, "data.csv": b"x"})})
    assert [upload.display_name for upload in inner.uploads] == [name]


ARCHIVES: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "zip under a notebook's name": ({"x_1_2_a.ipynb": packed({"b.ipynb": WHOLE})}, ["b.ipynb"]),
    "zip without a name": ({"x_1_2_a": packed({"b.ipynb": WHOLE})}, ["b.ipynb"]),
    "zip in a zip": ({"x_1_2_a.zip": packed({"w/b.zip": packed({"c.ipynb": WHOLE})})}, ["c.ipynb"]),
    "zip in a zip under another name": ({"x_1_2_a.zip": packed({"b.bin": packed({"c.txt": WHOLE})})}, ["c.txt"]),
    "a copy beside the notebook": ({"x_1_2_a.zip": packed({"a.ipynb": WHOLE, "a.ipynb~": build("x")})}, ["a.ipynb"]),
}


@pytest.mark.parametrize(("entries", "found"), ARCHIVES.values(), ids=ARCHIVES)
def test_archives_by_their_content(entries: dict[str, bytes], found: list[str], tmp_path: Path) -> None:
    intake = take(tmp_path, entries)
    assert [upload.display_name for upload in intake.uploads] == found
    assert intake.refusals == ()


def test_archives_in_an_archive_are_counted(tmp_path: Path) -> None:
    """Each may hold thousands of files: as many are opened as notebooks would be graded."""
    inner: Any = {f"{n}.zip": packed({"train.csv": b"x"}) for n in range(22)}
    reasons = [refusal.reason for refusal in take(tmp_path, {"x_1_2_a.zip": packed(inner)}).refusals]
    assert len([reason for reason in reasons if "is one of more than 20 notebooks" in reason]) == 2


def test_loose_files_belong_to_whom_they_are_called_after(tmp_path: Path) -> None:
    names = ("Ada Lovelace.ipynb (1).txt", "Bob Ross.txt", "Eve Holt.zip", "Dan.ipynb.gz")
    contents = (WHOLE, WHOLE, packed({"a.ipynb": WHOLE}), gzip.compress(WHOLE))
    intake = take(tmp_path, dict(zip(names, contents, strict=True)))
    assert [upload.student.name for upload in intake.uploads] == ["Ada Lovelace", "Bob Ross", "Dan", "Eve Holt"]
