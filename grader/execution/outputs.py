"""Outputs as people may open them: text and pictures, within bounds, in which nothing runs and nothing is fetched.

A kernel may send anything as an output: trees of any depth, scripts, pages, drawings with scripts in them, widgets.
Only texts and pictures made of pixels are kept. A page becomes the text that it shows; of the rest, a line says what it
was. So the executed notebook can be opened by anybody, with any program, whatever is in the submission.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nbformat import NotebookNode

TEXT: Final = "text/plain"
PAGE: Final = "text/html"
PICTURES: Final = ("image/png", "image/jpeg")
MAX_TEXT: Final = 1_000_000  # characters of one output
MAX_PICTURE: Final = 4 * 2**20
MAX_LINES: Final = 500  # of a traceback
MAX_NAMED: Final = 5  # kinds of content that a line tells of
BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]*+=*\s*")
REPR: Final = re.compile(r"<[\w.]+ object(?: at \w+)?>")  # what Python shows of something that is no text

# Possessive (++, *+), so that no page makes them slow.
HIDDEN: Final = re.compile(r"<(script|style)\b[^<>]*+>.*?(?:</\1\b[^<>]*+>|\Z)|<!--.*?(?:-->|\Z)", re.DOTALL | re.I)
ROW: Final = re.compile(r"<(?:tr|table|br|p|div|li|h[1-6])\b[^<>]*+>|</table\s*+>", re.IGNORECASE)
CELL: Final = re.compile(r" *+</t[hd]\s*+> *+", re.IGNORECASE)
TAG: Final = re.compile(r"<[^<>]*+>")
SPACE: Final = re.compile(r"\s++")
BLANK: Final = re.compile(r" *+\n[ \n]*+")

# Text that a viewer of Markdown may take for a page, a picture to fetch, or an address that runs.
ACTIVE_MARKDOWN: Final = re.compile(
    r"<[a-z/!?]|&[#a-z]|!\[|(?:javascript|vbscript|data)\s*\\?:|\\(?:href|require|html)", re.IGNORECASE
)
FENCE: Final = re.compile("~+")

Bundle = dict[str, str]


def simplify_bundle(data: Mapping[str, Any]) -> Bundle:
    """Return the texts and pictures of a display, keyed by their MIME type."""
    kept = {kind: data[kind] for kind in PICTURES if _is_picture(data.get(kind))}
    text, page = _read_text(data.get(TEXT)), _read_text(data.get(PAGE))
    if page and (not text or REPR.fullmatch(text)):
        text = convert_page(page)
    known = {TEXT, PAGE, *kept}
    left_out = [str(kind)[:60] for kind in list(data)[: MAX_NAMED + len(known)] if kind not in known][:MAX_NAMED]
    notes = [f"[not kept: {', '.join(left_out)}]"] if left_out else []
    return {**kept, TEXT: "\n".join([*filter(None, [text]), *notes])}


def _read_text(value: Any) -> str:
    parts = value if isinstance(value, list) else [value]
    return "".join(part for part in parts if isinstance(part, str))[:MAX_TEXT]


def _is_picture(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_PICTURE and BASE64.fullmatch(value) is not None


def convert_page(page: str) -> str:
    """Return the text that a page shows, a row of a table in a line."""
    plain = TAG.sub("", CELL.sub(" | ", ROW.sub("\n", SPACE.sub(" ", HIDDEN.sub("", page)))))
    return BLANK.sub("\n", html.unescape(plain)).strip()


def simplify_content(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a message about an output, with nothing in it but texts and pictures."""
    match kind:
        case "stream":
            return {**content, "text": content["text"][:MAX_TEXT]}
        case "display_data" | "execute_result" | "update_display_data":
            return {**content, "data": simplify_bundle(content["data"]), "metadata": {}}
        case "error":
            words = {name: content[name][:MAX_TEXT] for name in ("ename", "evalue")}
            return {**words, "traceback": _cut_lines(content["traceback"])}
    return dict(content)


def _cut_lines(lines: Sequence[str]) -> list[str]:
    """Keep the first lines of a traceback and the last ones, which say what went wrong."""
    kept = lines if len(lines) <= MAX_LINES else [*lines[: MAX_LINES // 2], "[cut]", *lines[-MAX_LINES // 2 :]]
    return [line[: MAX_TEXT // MAX_LINES] for line in kept]


def disarm(notebook: NotebookNode) -> None:
    """Have cells of text that are more than text show as what they are, in a fence that no viewer looks into."""
    for cell in notebook.cells:
        if cell.cell_type == "raw" or (cell.cell_type == "markdown" and ACTIVE_MARKDOWN.search(cell.source)):
            longest = max(map(len, FENCE.findall(cell.source)), default=0)
            fence = "~" * max(3, longest + 1)
            cell.cell_type, cell.source = "markdown", f"{fence}\n{cell.source}\n{fence}"
