"""Reading one notebook file: what is kept, what is left behind, and the sentence for each kind of bad input."""

import json
import os
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grader.errors import SubmissionError
from grader.intake import Submission, parsing, read_submission


def code(source: object = "x = 1", **fields: object) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": source, **fields}


def document(*cells: object, **fields: object) -> dict[str, Any]:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells), **fields}


def kernel(**kernelspec: str) -> dict[str, Any]:
    return {"metadata": {"kernelspec": kernelspec}}


def stream(text: object) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text}


def as_bytes(content: object) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def read(folder: Path, content: object, name: str = "my work.ipynb") -> Submission:
    path = folder / name
    path.write_bytes(as_bytes(content))
    return read_submission(path)


def sources(submission: Submission) -> list[str]:
    return [cell.source for cell in submission.notebook.cells]


JULIA = {"language_info": {"name": "julia"}}
ORDINARY = as_bytes(document(code("x = 1")))
HEADING = {"cell_type": "heading", "level": 2, "source": ["Title"]}
PYOUT = {"output_type": "pyout", "prompt_number": 1, "text": ["1"], "html": ["<b>1</b>"]}
CODE_3 = {"cell_type": "code", "language": "python", "input": ["x = 1\n", "x"], "outputs": [PYOUT]}
FORMAT_3 = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": [HEADING, CODE_3]}]}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(document(code("x = 1")), ["x = 1"], id="format 4"),
        pytest.param(document(code(["x = 1\n", "y = 2"])), ["x = 1\ny = 2"], id="source as a list"),
        pytest.param(document(code("x = 1"), {"cell_type": "code"}), ["x = 1", ""], id="cell with no fields"),
        pytest.param(document(code(), {"cell_type": "odd", "source": "?"}), ["x = 1", "?"], id="unknown cell type"),
        pytest.param({"cells": [code("x = 1")]}, ["x = 1"], id="no version and no metadata"),
        pytest.param(document(code("x = 1"), nbformat_minor=99), ["x = 1"], id="newer minor version"),
        pytest.param(document(code("x = 1"), surprise=[1]), ["x = 1"], id="unknown field"),
        pytest.param(document(code("x", id="a"), code("y", id="a")), ["x", "y"], id="two cells with one id"),
        pytest.param(document(code("x = '\ud800'")), ["x = '?'"], id="lone surrogate"),
        pytest.param(FORMAT_3, ["Title", "x = 1\nx"], id="format 3"),
        pytest.param(b"\xef\xbb\xbf" + ORDINARY, ["x = 1"], id="UTF-8 with a byte order mark"),
        pytest.param(ORDINARY.decode().encode("utf-16"), ["x = 1"], id="UTF-16"),
        pytest.param(b'{"cells": [], ' + ORDINARY[1:], ["x = 1"], id="duplicate key: the last counts, as in Jupyter"),
        pytest.param(document(code(), metadata=None), ["x = 1"], id="metadata null"),
        pytest.param(document(code(), **kernel(name="python3")), ["x = 1"], id="Python by name"),
        pytest.param(document(code(), **kernel(name="my-env", language="Python")), ["x = 1"], id="Python by language"),
        pytest.param(document(code(), **kernel(name="irene")), ["x = 1"], id="environment with a name like a kernel's"),
    ],
)
def test_accepts(content: object, expected: list[str], tmp_path: Path) -> None:
    submission = read(tmp_path, content)
    assert sources(submission) == expected
    nbformat.validate(submission.notebook)
    nbformat.validate(submission.original)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"", "is an empty file; download or copy it again", id="empty file"),
        pytest.param(b" \n", "is an empty file; download or copy it again", id="blank file"),
        pytest.param(b"x = 1\n", "line 1 is not JSON; download or copy it again", id="not JSON"),
        pytest.param(b"[" * 100_000, "is nested too deeply to be a notebook", id="nesting bomb"),
        pytest.param(b'{"x": ' + b"9" * 5_000 + b"}", "holds a number with thousands of digits", id="5,000 digits"),
        pytest.param([], "is JSON but not a notebook; hand in the notebook itself", id="JSON list"),
        pytest.param({}, "as it has no list of cells; hand in the notebook itself", id="JSON object"),
        pytest.param({"worksheets": [1]}, "as it has no list of cells", id="broken worksheet"),
        pytest.param(document("cell"), "not every cell is an object", id="cell is a string"),
        pytest.param(document(code(), nbformat=5), "has notebook format 5, newer than format 4", id="format 5"),
        pytest.param(document(), "is an empty notebook", id="no cells"),
        pytest.param(document({"cell_type": "markdown", "source": "x"}), "has no code cell", id="no code cell"),
        pytest.param(document(code(" \n")), "has no code cell", id="blank code cells"),
        pytest.param(document(code(7)), "has no code cell", id="source is a number"),
        pytest.param({"worksheets": [{"cells": [HEADING]}]}, "has no code cell", id="format 3 without code"),
        pytest.param(document(code(), **kernel(name="ir", language="R")), "is written for R;", id="R"),
        pytest.param(document(code(), **kernel(name="ir")), "is written for R;", id="R by kernel name"),
        pytest.param(document(code(), **kernel(name="julia-1.9")), "is written for Julia;", id="Julia by kernel name"),
        pytest.param(document(code(), metadata=JULIA), "is written for julia;", id="Julia"),
        pytest.param(document(*[code()] * 1_001), "has 1,001 cells and the limit is 1,000;", id="many cells"),
        pytest.param(document(code(), code("x" * 2_000_000)), "most of them in cell 2,", id="long code"),
        pytest.param(b"%PDF-1.7\n%\xe2\xe3", "is a PDF; hand in the notebook itself", id="PDF"),
        pytest.param(b"<!DOCTYPE html>\n<html>", "is a web page; hand in the notebook itself", id="HTML"),
    ],
)
def test_refuses_in_one_sentence(content: object, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError) as refused:
        read(tmp_path, content)
    message = str(refused.value)
    assert message.startswith("'my work.ipynb' ")
    assert sentence in message
    assert re.fullmatch(r"[^\n]+[^.]\.", message)


FORMATS = [("my.py", "is a Python script;"), ("my.html", "is a web page;"), ("my.ipynb", "line 1 is not JSON")]


@pytest.mark.parametrize(("name", "sentence"), FORMATS)
def test_names_the_format_by_suffix(name: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match=sentence):
        read(tmp_path, b"x = 1\n", name)


@pytest.mark.parametrize("name", ["my.json", "my.ipynb.txt", "my"])
def test_suffix_does_not_matter_when_the_content_is_right(name: str, tmp_path: Path) -> None:
    assert sources(read(tmp_path, ORDINARY, name)) == ["x = 1"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        pytest.param("absent.ipynb", r"'absent.ipynb' does not exist; check the path\.", id="no file"),
        pytest.param(".", r"is a folder; hand in the notebook itself, .*\.", id="folder"),
        pytest.param("x" * 5_000, r"'x+…' cannot be read \(.+\); check the path\.", id="name too long"),
        pytest.param("a\0b", r"'a\?b' (cannot be read \(.+\)|does not exist); check the path\.", id="NUL in the name"),
        pytest.param("a\x1b[31m\n\u202eb", r"'a\?\[31m\?\?b' does not exist; check the path\.", id="controls"),
    ],
)
def test_refuses_a_path_in_one_sentence(path: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError) as refused:
        read_submission(tmp_path / path)
    assert re.search(sentence + "$", str(refused.value))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ipynb")
    with pytest.raises(SubmissionError, match=r"'pipe\.ipynb' is not a file; hand in"):
        read_submission(tmp_path / "pipe.ipynb")


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked.ipynb").touch()
    # An administrator may read every file, so chmod would show nothing.
    monkeypatch.setattr(Path, "open", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(SubmissionError, match=r"'locked.ipynb' may not be read; check its permissions"):
        read_submission(tmp_path / "locked.ipynb")


def test_refuses_a_huge_file_by_its_size_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "huge.ipynb"
    with path.open("wb") as file:
        file.truncate(400 * 2**20)  # sparse
    with pytest.raises(SubmissionError, match=r"'huge.ipynb' has 400 MiB and the limit is 300 MiB; clear its outputs"):
        read_submission(path)


LARGE = "x" * 20 * 2**20
SHOWN = {"output_type": "stream", "name": "stdout", "text": f'"source": "{LARGE}"'}


@pytest.mark.parametrize(
    "source", [pytest.param(LARGE, id="one string"), pytest.param(["x = 1\n"] * (20 * 2**17), id="lines")]
)
def test_refuses_large_cells_before_reading_them(source: str | list[str], tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match=r"holds \d\d MiB in the text of its cells and the limit is 16 MiB; read"):
        read(tmp_path, document(code(), code(source)))


def test_a_large_output_is_no_large_cell(tmp_path: Path) -> None:
    assert sources(read(tmp_path, document(code() | {"outputs": [SHOWN]}))) == ["x = 1"]


def test_refuses_more_values_than_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_TOKENS", 1_000)
    assert read(tmp_path, document(code("[],[]," * 1_000)))  # inside a string they cost nothing
    with pytest.raises(SubmissionError, match="holds too many values for a notebook; clear its outputs"):
        read(tmp_path, document(code(), x=[[]] * 1_000))


def test_accepts_100_mb_of_outputs_and_keeps_little_of_them(tmp_path: Path) -> None:
    image = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * 60_000_000}}
    noisy = stream("first\n" + "x" * 40_000_000 + "\nlast")
    submission = read(tmp_path, document(code("x = 1", outputs=[image, noisy])))
    kept = [output.text for output in submission.original.cells[0].outputs if output.output_type == "stream"]
    assert submission.notebook.cells[0].outputs == []
    assert kept[0].startswith("first\n")
    assert kept[0].endswith("\nlast")
    assert len(json.dumps(submission.original)) < 1_100_000  # MAX_SAVED_CHARS and the rest of the notebook


def test_long_prose_is_cut(tmp_path: Path) -> None:
    """Editors put pictures into the text of cells."""
    picture = f"before ![x](data:image/png;base64,{'A' * 3_000_000}) after"
    source = read(tmp_path, document(code(), {"cell_type": "markdown", "source": picture})).notebook.cells[1].source
    assert source.startswith("before ")
    assert source.endswith(" after")
    assert len(source) <= 100_001


def test_leaves_everything_but_sources_behind(tmp_path: Path) -> None:
    planted = code("x = 1", id="planted", attachments={"planted.png": {}}, execution_count=7, planted=True)
    planted |= {"metadata": {"tags": ["raises-exception"], "nbclient": "planted"}, "outputs": [stream("planted")]}
    content = document(planted, {"cell_type": "markdown", "source": "text", "attachments": {"planted": {}}})
    submission = read(tmp_path, content | {"metadata": {"planted": 1}, "planted": 1})
    assert "planted" not in json.dumps(submission.notebook)
    assert [cell.id for cell in submission.notebook.cells] == ["cell-0", "cell-1"]
    assert submission.notebook.metadata.kernelspec.name == "python3"


def test_keeps_the_text_of_saved_outputs_apart(tmp_path: Path) -> None:
    result = {"output_type": "execute_result", "data": {"text/plain": ["0.", "9"], "image/png": "A", "text/html": ""}}
    error = {"output_type": "error", "ename": "ValueError", "evalue": "", "traceback": []}
    outputs = [stream(["a\n", "b"]), result, error, "junk", {"output_type": "stream"}]
    submission = read(tmp_path, document(code("x", outputs=outputs)))
    saved = submission.original.cells[0].outputs
    assert [output.get("text", output.get("data")) for output in saved] == ["a\nb", {"text/plain": "0.9"}, ""]
    old = read(tmp_path, FORMAT_3).original.cells[1].outputs
    assert [output.data for output in old] == [{"text/plain": "1", "text/html": "<b>1</b>"}]


def test_hash_is_that_of_the_file(tmp_path: Path) -> None:
    content = b'{"cells": [{"cell_type": "code", "source": "x"}]}'
    assert read(tmp_path, content) == read(tmp_path, content)
    assert read(tmp_path, content).sha256 == "3558941e9f7c29f3d0ccaf8eb8ca9cc7bead473e15d91e1db74f1d0fcdc1bfd0"


FOLDERS = {
    "ordinary": ("Åsa Öberg-1.ipynb", "Åsa Öberg-1"),
    "decomposed": ("A\u030asa.ipynb", "Åsa"),  # as macOS has it
    "control characters": ("a\x1b\n\u202eb.ipynb", "a___b"),
    "nothing left": ("....ipynb", "submission"),
    "long": ("å" * 100 + ".ipynb", "å" * 60),
}


@pytest.mark.parametrize(("file_name", "name"), FOLDERS.values(), ids=FOLDERS)
def test_name_is_safe_for_a_folder(file_name: str, name: str, tmp_path: Path) -> None:
    assert read(tmp_path, ORDINARY, file_name).name == name


# Fuzzing. A file that is not a notebook ends in a SubmissionError; any other exception fails these tests.

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def mostly(*plausible: object) -> st.SearchStrategy[object]:
    return st.sampled_from(plausible) | JSON_VALUES


def some(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.fixed_dictionaries({}, optional=fields)


OUTPUTS = some(
    output_type=mostly("stream", "execute_result", "display_data", "pyout", "error"),
    text=JSON_VALUES,
    data=st.dictionaries(st.sampled_from(["text/plain", "text/html"]), JSON_VALUES) | JSON_VALUES,
)
CELLS = some(
    cell_type=mostly("code", "markdown", "heading"),
    source=mostly("x = 1", ["x\n", "y"]),
    input=JSON_VALUES,
    metadata=JSON_VALUES,
    outputs=st.lists(OUTPUTS | JSON_VALUES, max_size=3) | JSON_VALUES,
)
LISTS_OF_CELLS = st.lists(CELLS | JSON_VALUES, max_size=4)
METADATA = st.fixed_dictionaries({"kernelspec": mostly({"name": "ir"}), "language_info": JSON_VALUES})
DOCUMENTS = some(
    nbformat=mostly(3, 4),
    metadata=METADATA | JSON_VALUES,
    cells=LISTS_OF_CELLS | JSON_VALUES,
    worksheets=st.lists(st.fixed_dictionaries({"cells": LISTS_OF_CELLS}) | JSON_VALUES, max_size=2),
)

WHOLE = as_bytes(FORMAT_3)
DAMAGED = st.tuples(st.integers(0, 400), st.binary(max_size=3), st.integers(0, 5)).map(
    lambda drawn: WHOLE[: drawn[0]] + drawn[1] + WHOLE[drawn[0] + drawn[2] :]
)
CONTENTS = {"bytes": st.binary(max_size=200), "JSON": (DOCUMENTS | JSON_VALUES).map(as_bytes), "damage": DAMAGED}


@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
# tmp_path is shared by the examples of a test, and every example writes the whole file anew.
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_anything_is_read_or_refused(contents: st.SearchStrategy[bytes], data: st.DataObject, tmp_path: Path) -> None:
    try:
        submission = read(tmp_path, data.draw(contents))
    except SubmissionError:
        return
    nbformat.validate(submission.notebook)
    nbformat.validate(submission.original)
    json.dumps(submission.notebook, ensure_ascii=False).encode()  # what the kernel is sent
