"""The code of a notebook as tokens with their places. It is only ever read as text, whatever it is.

Names become one token, so that renaming hides nothing; so do strings and numbers. Comments, white space, magics and the
borders between cells do not count. Every input ends in a list of tokens, in linear time: nothing has to parse, a string
that is not closed ends with its line or with the text, and what lies beyond the limits is left out.
"""

import builtins
import keyword
import re
import zlib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Final

import nbformat

from grader.errors import GraderError

CHARS_MAX: Final = 200_000  # of code per notebook; a long one has 20,000
TOKENS_MAX: Final = 20_000  # a long notebook has 5,000

# Possessive (*+), so that no text makes it slow.
_TOKEN: Final = re.compile(
    r"""
    (?P<nothing> \#[^\n]*+ | ^[ \t]*+[!%][^\n]*+ )
  | (?P<text> [rRbBuUfFtT]{0,2} (?:
        \"{3} (?:[^"\\] | \\. | \"(?!\"\"))*+ (?:\"{3}|\\?\Z)
      | '{3} (?:[^'\\] | \\. | '(?!''))*+ (?:'{3}|\\?\Z)
      | \" (?:[^"\\\n] | \\.)*+ \"?
      | ' (?:[^'\\\n] | \\.)*+ '? ) )
  | (?P<number> \.?\d[\w.]*+ )
  | (?P<name> [^\W\d]\w*+ )
  | (?P<other> \S )
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_KEPT: Final = frozenset((*keyword.kwlist, *dir(builtins))) - {"_"}


@dataclass(frozen=True)
class Paper:
    """One upload as text. `author` is whoever handed it in: nobody is compared with themselves."""

    id: str
    author: str
    sha256: str
    code: str
    cells: tuple[tuple[int, int], ...] = ()  # of each cell of code its first line, from 0, and its number, from 1

    def find_cell(self, line: int) -> int:
        """Return the number of the cell that a line lies in; 0 where cells are not known."""
        return next((number for first, number in reversed(self.cells) if first <= line), 0)

    @cached_property
    def tokens(self) -> tuple[tuple[int, int], ...]:
        """Pairs of a number that stands for a token, and the line, from 0, that it begins in."""
        ends = list(accumulate(len(line) + 1 for line in self.lines))
        found = islice(_normalise(self.code[:CHARS_MAX]), TOKENS_MAX)
        return tuple((zlib.crc32(text.encode("utf-8", "replace")), bisect_right(ends, place)) for text, place in found)

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The code by lines."""
        return tuple(self.code[:CHARS_MAX].split("\n"))


def make_paper(id_: str, author: str, sha256: str, notebook: Any) -> Paper:
    """Make a paper from a notebook as intake rebuilt it; `notebook` has `cells` with `cell_type` and `source`."""
    cells = _list_code(notebook.cells)
    heights = accumulate((source.count("\n") + 1 for _, source in cells), initial=0)
    starts = tuple((first, number) for first, (number, _) in zip(heights, cells, strict=False))
    return Paper(id_, author, sha256, "\n".join(source for _, source in cells), starts)


def read_template_code(path: Path) -> str:
    """Return the code that all students were given. Raises GraderError."""
    try:
        return "\n".join(source for _, source in _list_code(nbformat.read(path, 4).cells))
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise GraderError(f"Cannot read the template {path} ({error}); restore it.") from error


def _list_code(cells: Iterable[Any]) -> list[tuple[int, str]]:
    """List the cells of code: number, counted over all cells from 1, and source."""
    return [(number, cell.source) for number, cell in enumerate(cells, 1) if cell.cell_type == "code"]


def _normalise(code: str) -> Iterable[tuple[str, int]]:
    before = ""
    for match in _TOKEN.finditer(code):
        token = {"text": "S", "number": "N", "name": "V", "nothing": ""}.get(match.lastgroup or "", match.group())
        if match.lastgroup == "name" and match.group() in _KEPT:
            token = match.group()
        if token and not (token == before == "S"):  # neighbouring strings are one
            yield token, match.start()
        before = token or before
