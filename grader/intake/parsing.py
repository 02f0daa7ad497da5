"""From a file's bytes to the JSON object of a notebook. What can be mended without a guess is mended, and noted.

Mended: encodings other than UTF-8, commas that are missing or surplus, control characters in strings, what follows a
whole notebook, a git merge whose two sides hold the same code, a file that ends behind its last cell. Whatever leaves a
choice is refused with its cause: two versions, two notebooks, a file that ends in the middle of a cell.

Memory: parsing takes up to ten times the file's size for a moment (text with emoji is four bytes per character, twice).
"""

import json
import re
import string
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, TypeGuard

from grader.intake.cells import list_code
from grader.intake.file_kinds import AGAIN, HAND_IN
from grader.intake.unpacking import RejectionError

MAX_TOKENS: Final = 8_000_000  # strings, brackets and commas: bounds the number of objects that parsing creates

# Possessive (++, *+), so that no input makes it slow or deep.
STRING: Final = r'"(?:[^"\\]++|\\.)*+"'
JSON_TOKEN: Final = re.compile(rf"{STRING}|[\[{{,]", re.DOTALL)
# A string or a closing bracket before the next value without a comma; or a comma that nothing follows.
COMMAS: Final = re.compile(rf'(?P<value>{STRING}|[}}\]])(?P<gap>\s*+(?=["{{\[]))?|,(?=\s*+[}}\]])', re.DOTALL)
INVISIBLE: Final = "\ufeff\u200b\u2060\xa0"  # what mail and chats put around a text that is pasted
CUT_IN_A_CHARACTER: Final = ("unexpected end of data", "truncated data")  # Python's words
CELLS: Final = re.compile(r'"cells"\s*+:\s*+\[')
BETWEEN: Final = re.compile(r"[\s,]*+")
# What may be left of a word, a number or a character's code at the end of a file.
UNFINISHED: Final = re.compile(r"(?:t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?|[-.]|[eE][-+]?|\\?u[0-9a-fA-F]{0,4})?")

CONFLICT: Final = re.compile(r"^<{7}(?=\s|$)", re.MULTILINE)
MARKS: Final = {"<<<<<<<": "ours", "|||||||": "base", "=======": "theirs", ">>>>>>>": ""}  # git's -> what they begin
CHOOSE: Final = "choose one with `git checkout --ours` or `git checkout --theirs`, and hand in that file"

Document = dict[str, Any]


def parse(raw: bytes) -> tuple[Document, tuple[str, ...]]:
    """Parse a file as a JSON object, and tell in a sentence each what had to be mended. Raises RejectionError."""
    if not raw or raw.isspace():
        raise RejectionError(f"is an empty file; {AGAIN}")
    try:
        text, notes = _decode(raw)
        _require_few_tokens(text)
        data, more = _load(_strip(text), len(raw))
    except RecursionError:
        raise RejectionError(f"is nested too deeply to be a notebook; {AGAIN}") from None
    except ValueError:  # what is left: Python refuses to convert more than 4,300 digits
        raise RejectionError(f"holds a number with thousands of digits; {AGAIN}") from None
    notebook = _take_out(data)
    if not isinstance(notebook, dict):
        raise RejectionError(f"is JSON but not a notebook; {HAND_IN}")
    wrapped = () if notebook is data else ("The notebook lay in another object; it was taken out.",)
    return notebook, (*notes, *more, *wrapped)


def _strip(text: str) -> str:
    """Return a text without characters around it that nobody sees; lines keep their numbers."""
    found = text.rstrip(INVISIBLE + string.whitespace)
    shown = found.lstrip(INVISIBLE + string.whitespace)
    return "\n" * found[: len(found) - len(shown)].count("\n") + shown


def _take_out(data: Any) -> Any:
    """Return the notebook in what a server or a script wraps it in: a list of one, or Jupyter's answer to a browser."""
    if isinstance(data, list) and len(data) == 1:
        return data[0]
    content = data.get("content") if isinstance(data, dict) and "cells" not in data else None
    return content if isinstance(content, dict) and "cells" in content else data


def _decode(raw: bytes) -> tuple[str, list[str]]:
    """Decode UTF-8, UTF-16 and UTF-32 with or without a byte order mark, and otherwise what Windows writes."""
    encoding = json.detect_encoding(raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if error.reason in CUT_IN_A_CHARACTER:
            return raw.decode(encoding, "ignore"), []  # whatever is missing behind it is noticed later
        if not raw.lstrip().startswith(b"{") or b"\0" in raw:
            raise RejectionError(f"is no text, so it cannot be a notebook; {HAND_IN}") from None
        return raw.decode("cp1252", "replace"), ["The file is not UTF-8; it was read as Windows-1252."]
    if encoding == "utf-8":
        return text, []
    marked = encoding == "utf-8-sig"
    return text, [
        "The file begins with a byte order mark." if marked else f"The file is {encoding.upper()}, not UTF-8."
    ]


def _require_few_tokens(text: str) -> None:
    if len(text) > MAX_TOKENS and any(True for _ in islice(JSON_TOKEN.finditer(text), MAX_TOKENS, None)):
        raise RejectionError("holds too many values for a notebook; clear its outputs and save it again")


def _loads(text: str, strict: bool = True) -> Any:
    """Parse JSON, and the NaN and Infinity that Jupyter writes for plots with gaps: nothing of them is read."""
    return json.loads(text, parse_constant=lambda _: None, strict=strict)


def _load(text: str, size: int) -> tuple[Any, list[str]]:
    try:
        return _loads(text), []
    except json.JSONDecodeError as error:
        if conflict := CONFLICT.search(text):
            return _take_agreed_side(text, text.count("\n", 0, conflict.start()) + 1)
        return _mend(text, error, size)


def _mend(text: str, first: json.JSONDecodeError, size: int) -> tuple[Any, list[str]]:
    """Parse what is not JSON, or refuse it with the reason."""
    mended = COMMAS.sub(_mend_comma, text)
    note = "The file is no valid JSON: commas are missing or surplus. They were mended."
    notes = [note] if mended != text else ["The file is no valid JSON: strings hold line breaks or tabs as they are."]
    try:
        return _loads(mended, strict=False), notes
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _take_first(mended, first)
        if text.lstrip().startswith("{") and _ends_early(mended, error):
            return _take_whole_cells(text, size)
    problem = f"is damaged or no notebook, as line {first.lineno:,} is not JSON"
    raise RejectionError(f"{problem}; {AGAIN}")


def _mend_comma(found: re.Match[str]) -> str:
    if found["value"] is None:
        return ""
    return found["value"] if found["gap"] is None else f"{found['value']},{found['gap']}"


# Two notebooks, or a notebook and a rest


def _take_first(text: str, error: json.JSONDecodeError) -> tuple[Document, list[str]]:
    """Take the notebook that a file begins with, unless a different one follows."""
    data, end = _read_value(text, 0)
    following, _ = _read_value(text, end)
    if not _is_notebook(data):
        raise RejectionError(f"is damaged or no notebook, as line {error.lineno:,} is not JSON; {AGAIN}")
    begins = following is None and text.startswith("{", end) and CELLS.search(text, end) is not None
    if not _is_notebook(following) and not begins:
        return data, [f"What follows the end of the notebook ({len(text[end:].strip()):,} characters) was left out."]
    if not _is_notebook(following) or list_code(data) != list_code(following):
        line = text.count("\n", 0, end) + 1
        raise RejectionError(f"holds two different notebooks, the second from line {line:,} on; hand in one of them")
    return data, ["The file holds the same notebook twice."]


def _read_value(text: str, start: int) -> tuple[Any, int]:
    """Read one JSON value and return the position of what follows it; None where there is no value."""
    begin = BETWEEN.match(text, start)
    position = begin.end() if begin else start
    try:
        data, end = json.JSONDecoder(strict=False).raw_decode(text, position)
    except json.JSONDecodeError:
        return None, position
    rest = BETWEEN.match(text, end)
    return data, rest.end() if rest else end


def _is_notebook(data: object) -> TypeGuard[Document]:
    return isinstance(data, dict) and any(isinstance(data.get(key), list) for key in ("cells", "worksheets"))


# Cut short


def _ends_early(text: str, error: json.JSONDecodeError) -> bool:
    """Return True if the text breaks off: a string is open, or what is missing would stand behind its end."""
    return error.msg.startswith("Unterminated string") or bool(UNFINISHED.fullmatch(text[error.pos :].strip()))


def _take_whole_cells(text: str, size: int) -> tuple[Document, list[str]]:
    """Take a file that breaks off behind its last cell; otherwise refuse it and say how far it goes."""
    cells, whole = _list_whole_cells(text)
    if whole:
        return {"cells": cells}, ["The file is cut short behind its last cell; no cell is missing."]
    count = f"{len(cells):,} whole cell{'' if len(cells) == 1 else 's'}"
    advice = "upload it again, and compare the size of what you download with that of your file"
    raise RejectionError(f"is cut short: {size:,} bytes of it are here, with {count}; {advice}")


def _list_whole_cells(text: str) -> tuple[list[Any], bool]:
    """Return the cells that are whole, and whether their list ends as lists do."""
    cells: list[Any] = []
    if (start := CELLS.search(text)) is None:
        return cells, False
    decoder, position = json.JSONDecoder(strict=False), start.end()
    while True:
        between = BETWEEN.match(text, position)
        position = between.end() if between else position
        if text.startswith("]", position):
            return cells, '"worksheets"' not in text  # of format 3, another sheet might follow
        try:
            cell, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError:
            return cells, False
        cells.append(cell)


# Git


def _take_agreed_side(text: str, line: int) -> tuple[Document, list[str]]:
    """Take our side of an unfinished merge, if the other one has the same code."""
    ours, theirs = _read_side(text, "ours"), _read_side(text, "theirs")
    where = f"holds an unfinished merge of git, from line {line:,} on"
    if ours is None or theirs is None:
        raise RejectionError(f"{where}; {CHOOSE}")
    pairs = zip(mine := list_code(ours), others := list_code(theirs), strict=False)
    if mine == others:
        return ours, ["The file holds an unfinished merge of git; both of its sides have the same code."]
    cell = next((n for n, (one, other) in enumerate(pairs, 1) if one != other), min(len(mine), len(others)) + 1)
    raise RejectionError(f"{where}, with two versions that differ in code cell {cell}; {CHOOSE}")


def _read_side(text: str, side: str) -> Document | None:
    """Return the notebook that one side of all conflicts makes, or None where that is no notebook."""
    chosen = "\n".join(_list_lines(text, side))
    try:
        data = _loads(COMMAS.sub(_mend_comma, chosen), strict=False)
    except json.JSONDecodeError:
        return None
    return data if _is_notebook(data) else None


def _list_lines(text: str, side: str) -> Iterator[str]:
    here = ""  # outside of conflicts
    for line in text.split("\n"):
        mark = line[:7]
        if mark in MARKS and line[7:8].strip() == "":
            here = MARKS[mark]
        elif here in ("", side):
            yield line
