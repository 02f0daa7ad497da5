"""An executed notebook as cells that a page can show. A student wrote it: nothing of it may run, fetch or break out.

What comes from here is text, which the template engine escapes, and two things that are not: pictures, which are only
ever PNG or JPEG, and prose, which is made from Markdown by a renderer that knows neither HTML nor links nor pictures.
"""

import base64
import binascii
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import nbformat
from markdown_it import MarkdownIt
from markupsafe import Markup

from grader.model import CheckResult
from grader.paths import REFERENCE, TEMPLATE
from grader.reporting.sanitisation import sanitise_text

BYTES_MAX: Final = 64 * 2**20  # of the file
CELLS_MAX: Final = 400
OUTPUTS_MAX: Final = 40  # of one cell, after neighbours of the same kind are joined
LINES_MAX: Final = 1_500  # of one cell
PROSE_CHARS_MAX: Final = 20_000  # of one cell; more is shown as plain text
PICTURE_CHARS_MAX: Final = 2 * 2**20  # in base64
PICTURES: Final = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}  # how such a file begins

# What a progress bar has painted over. From the start of a line only: tried from each letter of a long line, it takes
# seconds.
_OVERWRITTEN: Final = re.compile(r"^[^\n]*\r(?!\n)", re.MULTILINE)


@dataclass(frozen=True)
class Line:
    """A line of code, from 1, and the checks that name it."""

    number: int
    text: str
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True)
class Output:
    """What a cell has put out: a text, a traceback, or the address of a picture that holds it."""

    kind: str  # "text", "traceback", "picture"
    content: str


@dataclass(frozen=True)
class Cell:
    """One cell. `number` counts all cells from 1. `prose` is there for Markdown, `lines` for code and other text."""

    number: int
    is_code: bool
    is_given: bool  # it stands so in the template
    title: str  # of a given text
    prose: Markup | None = None
    lines: tuple[Line, ...] = ()
    outputs: tuple[Output, ...] = ()

    @property
    def is_written(self) -> bool:
        """True for words of the student's own."""
        return not self.is_code and not self.is_given and (bool(self.prose) or any(line.text for line in self.lines))

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        """The checks that name a line of it."""
        return tuple(check for line in self.lines for check in line.checks)


@dataclass(frozen=True)
class _Source:
    """A cell as it stands in the file."""

    kind: str
    text: str
    outputs: tuple[Output, ...]


class UnreadableNotebook(Exception):
    """The file is no notebook, or too large to show. The message is a sentence."""


def read_cells(path: Path, checks: Iterable[CheckResult] = ()) -> tuple[Cell, ...]:
    """Read an executed notebook, with the places that the checks name. Raises UnreadableNotebook."""
    try:
        found = path.stat()
        sources = _read_sources(path, found.st_mtime_ns, found.st_size)
    except OSError as error:
        raise UnreadableNotebook("There is no executed notebook.") from error
    places = defaultdict(list)
    for check in checks:
        if check.place:
            places[check.place.cell].append(check)
    return tuple(_build_cell(number, source, places[number - 1]) for number, source in enumerate(sources, 1))


@lru_cache(maxsize=64)
def _read_sources(path: Path, changed_ns: int, size: int) -> tuple[_Source, ...]:
    """Read the cells of a file, once as long as it does not change. Raises OSError and UnreadableNotebook."""
    if size > BYTES_MAX:
        raise UnreadableNotebook(f"The executed notebook has {size // 2**20} MiB, too much to show.")
    try:
        cells = json.loads(path.read_bytes())["cells"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnreadableNotebook("The executed notebook cannot be read.") from error
    taken = [cell for cell in (cells if isinstance(cells, list) else [])[:CELLS_MAX] if isinstance(cell, dict)]
    return tuple(_Source(_text(c.get("cell_type")), _text(c.get("source")), tuple(_read_outputs(c))) for c in taken)


def _text(value: Any) -> str:
    """Join what the format allows to be a text or a list of texts; nothing for anything else."""
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _read_outputs(cell: Mapping[str, Any]) -> Iterator[Output]:
    outputs = cell.get("outputs")
    joined: list[Output] = []
    for found in outputs if isinstance(outputs, list) else ():
        output = _read_output(found) if isinstance(found, dict) else None
        if output and joined and joined[-1].kind == output.kind == "text":
            joined[-1] = Output("text", joined[-1].content + output.content)
        elif output:
            joined.append(output)
    for output in joined[:OUTPUTS_MAX]:
        yield output if output.kind == "picture" else Output(output.kind, _OVERWRITTEN.sub("", output.content))
    if len(joined) > OUTPUTS_MAX:
        yield Output("text", f"[{len(joined) - OUTPUTS_MAX} more outputs are not shown]")


def _read_output(output: Mapping[str, Any]) -> Output | None:
    if output.get("output_type") == "stream":
        return Output("text", _text(output.get("text")))
    if output.get("output_type") == "error":
        lines = output.get("traceback")
        texts = [line for line in (lines if isinstance(lines, list) else []) if isinstance(line, str)]
        return Output("traceback", "\n".join(texts) or f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}")
    data = output.get("data")
    if not isinstance(data, dict):
        return None
    pictures = (_make_address(kind, _text(data[kind])) for kind in PICTURES if kind in data)
    address = next(filter(None, pictures), "")
    if address:
        return Output("picture", Markup(address))  # base64 alone
    return Output("text", f"{text}\n") if (text := _text(data.get("text/plain"))) else None


def _make_address(kind: str, encoded: str) -> str:
    """Make an address that holds a picture; empty unless it is one of this kind."""
    if len(encoded) > PICTURE_CHARS_MAX:
        return ""
    try:
        content = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        return ""
    if not content.startswith(PICTURES[kind]):
        return ""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _build_cell(number: int, source: _Source, checks: Sequence[CheckResult]) -> Cell:
    is_code = source.kind == "code"
    given = source.text.strip() in _read_given()
    plain = is_code or source.kind != "markdown" or len(source.text) > PROSE_CHARS_MAX
    return Cell(
        number=number,
        is_code=is_code,
        is_given=given,
        title=_find_title(source.text),
        prose=None if plain else render_prose(source.text),
        lines=tuple(_number_lines(source.text, checks)) if plain else (),
        outputs=source.outputs,
    )


def _number_lines(text: str, checks: Iterable[CheckResult]) -> Iterator[Line]:
    named = defaultdict(list)
    for check in checks:
        if check.place:
            named[check.place.line].append(check)
    lines = text.splitlines()
    for number, line in enumerate(lines[:LINES_MAX], 1):
        yield Line(number, line, tuple(named[number]))
    if len(lines) > LINES_MAX:
        yield Line(LINES_MAX + 1, f"[{len(lines) - LINES_MAX} more lines are not shown]")


def _find_title(text: str) -> str:
    return next((line.strip("# ").strip() for line in text.splitlines() if line.strip("# ").strip()), "")


@cache
def _read_given() -> frozenset[str]:
    """The cells that everybody was given, and the texts of the reference solution, which are the same assignment."""
    found = set[str]()
    for path, kinds in ((TEMPLATE, ("code", "markdown")), (REFERENCE, ("markdown",))):
        with suppress(OSError, ValueError, nbformat.ValidationError):  # the page shows all text where it lacks them
            found |= {cell.source.strip() for cell in nbformat.read(path, 4).cells if cell.cell_type in kinds}
    return frozenset(found)


@lru_cache(maxsize=4_096)  # everybody has the texts of the assignment
def render_prose(text: str) -> Markup:
    """Make Markdown into paragraphs, lists, tables and code; HTML, links and pictures stay the text that they are."""
    return Markup(_build_renderer().render(sanitise_text(text, PROSE_CHARS_MAX)))


@cache
def _build_renderer() -> MarkdownIt:
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    renderer.disable(["html_block", "html_inline", "link", "image", "autolink", "reference"])
    # A heading of a student's is none of the page; the language of a fence would become the name of a class.
    renderer.add_render_rule("heading_open", lambda self, tokens, index, *rest: '<p class="heading">')
    renderer.add_render_rule("heading_close", lambda self, tokens, index, *rest: "</p>\n")
    for cell in ("th", "td"):  # their alignment would be a style, which the page's policy forbids
        renderer.add_render_rule(f"{cell}_open", _open_cell)
    renderer.add_render_rule("fence", lambda self, tokens, index, *rest: self.code_block(tokens, index, *rest))
    return renderer


def _open_cell(renderer: object, tokens: Sequence[Any], index: int, *rest: object) -> str:
    return f"<{tokens[index].tag}>"
