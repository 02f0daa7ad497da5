"""Syntax of Python 3.12, which Colab has, on a grader that runs 3.11: f-strings without limits, and `type X = ...`.

A cell is rewritten only if this Python cannot read it, and only if it can read what comes out. An f-string that is too
new becomes a call of `format` on the same text, in the same lines: `f"{d["a"]:.3f}"` is `("{:.3f}".format((d["a"])))`.
See PEP 701 and PEP 695.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from grader.kernel.fence import shield
from grader.protocol.source import UNPARSABLE

TOKEN = re.compile(
    r"""(?P<between>(?:\s|\\\n|\#[^\n]*)+) | (?P<prefix>[rRbBuUfF]{0,2})(?P<quote>'{3}|"{3}|'|") | \w+ | .""",
    re.VERBOSE | re.DOTALL,
)
BODIES = {  # of plain strings, with the quotes that end them
    quote: re.compile(rf"(?:\\.|(?!{quote})[^\\{'' if len(quote) == 3 else chr(10)}])*{quote}", re.DOTALL)
    for quote in ("'", '"', "'''", '"""')
}
ALIAS = re.compile(r"^(\s*)type\s+(?=[^\W\d]\w*\s*=[^=])", re.MULTILINE)
BRACE = re.compile(r"\\(?:x7[bd]|u007[bd]|U0000007[bd]|17[35]|N\{(?:left|right) curly)", re.IGNORECASE)  # as an escape
NAMED = re.compile(r"\\N\{[^}]*\}")
COMPARISONS = ("==", "!=", "<=", ">=")


class Unclear(Exception):
    """A text that is no string of Python 3.12, or one whose rewriting is not certain to mean the same."""


@dataclass
class Replacement:
    """What takes the place of an f-string: the text that is formatted, and the values in it."""

    template: str = ""
    values: list[str] = field(default_factory=list)


@shield(lambda lines: lines)
def rewrite_cell(lines: list[str]) -> list[str]:
    """Rewrite a cell that only a newer Python can read (an input transformer)."""
    source = "".join(lines)
    for rewrite in (str, rewrite_strings, rewrite_aliases):
        try:
            source = rewrite(source)
        except (Unclear, RecursionError):
            return lines
        if can_read(source):
            return source.splitlines(keepends=True)
    return lines


def can_read(source: str) -> bool:
    """Return True if this Python can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes: the shell will warn of them
        try:
            compile(source, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except UNPARSABLE:
            return False
    return True


def rewrite_aliases(source: str) -> str:
    """Make `type X = ...` an assignment, which is what it is to annotations."""
    return ALIAS.sub(r"\1", source)


def rewrite_strings(source: str) -> str:
    """Rewrite the f-strings that this Python cannot read. Raises Unclear."""
    return "".join(map(_write_group, _group_strings(source)))


def _group_strings(source: str) -> Iterator[list[str]]:
    """Yield the tokens of a source: strings that Python joins in a list, with what is between them; others alone."""
    group: list[str] = []
    at = depth = 0
    while at < len(source):
        token, text, at = _read_token(source, at)
        depth += (text in ("(", "[", "{")) - (text in (")", "]", "}"))
        ends_line = bool(token["between"]) and depth == 0 and "\n" in text.replace("\\\n", "")
        if token["quote"] or (token["between"] and group and not ends_line):
            group.append(text)
            continue
        yield group
        yield [text]
        group = []
    yield group


def _read_token(source: str, at: int) -> tuple[re.Match[str], str, int]:
    """Return the token that begins here, its whole text (rewritten if it has to be), and where it ends."""
    token = TOKEN.match(source, at)
    assert token is not None  # it takes any character
    if not token["quote"]:
        return token, token[0], token.end()
    end, replacement = _find_end(source, token)
    text = source[at:end]
    if replacement is None or can_read(text):
        return token, text, end
    prefix = token["prefix"].replace("f", "").replace("F", "")
    template = f"{prefix}{token['quote']}{replacement.template}{token['quote']}"
    return token, f"{template}.format({', '.join(replacement.values)})", end


def _write_group(group: list[str]) -> str:
    """Join strings beside each other with `+` where a call stands among them."""
    strings = [n for n, text in enumerate(group) if not text.startswith((" ", "\t", "\n", "\\", "#"))]
    if len(strings) < 2 or not any(group[n].endswith(")") for n in strings):
        return "".join(group)
    last = strings[-1]
    joined = [f"{text} +" if n in strings and n != last else text for n, text in enumerate(group[: last + 1])]
    return f"({''.join(joined)}){''.join(group[last + 1 :])}"


def _find_end(source: str, token: re.Match[str]) -> tuple[int, Replacement | None]:
    """Return where a string ends, and for an f-string what can take its place."""
    if "f" in token["prefix"].lower():
        replacement = Replacement()
        return _read_text(source, token, replacement), replacement
    body = BODIES[token["quote"]].match(source, token.end())
    if body is None:
        raise Unclear
    return body.end(), None


def _read_text(source: str, token: re.Match[str], found: Replacement) -> int:
    """Read the text of an f-string and return where it ends."""
    at, raw, quote = token.end(), "r" in token["prefix"].lower(), token["quote"]
    while not source.startswith(quote, at):
        size = _measure(source, at, raw)
        if size:
            found.template += source[at : at + size]
            at += size
        else:
            at = _read_field(source, at + 1, found)
        if at >= len(source) or (source[at] == "\n" and len(quote) == 1):
            raise Unclear
    return at + len(quote)


def _measure(source: str, at: int, raw: bool) -> int:
    """Return how many characters of plain text stand together here: two for an escape. 0 where a field begins."""
    if source.startswith(("{{", "}}"), at):
        return 2
    if source[at] != "\\":
        return int(source[at] != "{")
    if not raw and BRACE.match(source, at):
        raise Unclear
    named = None if raw else NAMED.match(source, at)
    return len(named[0]) if named else 1 if source[at + 1 : at + 2] in ("{", "}") else 2


def _read_field(source: str, at: int, found: Replacement) -> int:
    """Read what stands in braces, from behind the first one, and return where it ends."""
    end = _find_end_of_value(source, at)
    value = source[at:end]
    conversion, debugged = "", value.rstrip().endswith("=") and not value.rstrip().endswith(COMPARISONS)
    if source[end] == "!":
        conversion, end = source[end : end + 2], end + 2
    if debugged:
        if re.search(r"[\\'\"{}\n]", value):
            raise Unclear
        found.template += value
        value = value.rstrip()[:-1]
        conversion = conversion or ("" if source[end] == ":" else "!r")
    found.values.append(rewrite_strings(f"({value})"))
    found.template += f"{{{conversion}"
    while source[end : end + 1] not in ("}", ""):  # how it is formatted, with fields of its own
        if source[end] == "{":
            end = _read_field(source, end + 1, found)
        else:
            found.template += source[end]
            end += 1
    found.template += "}"
    return end + 1


def _find_end_of_value(source: str, at: int) -> int:
    """Return where the expression of a field ends: at `}`, `:` or `!`."""
    depth = 0
    while at < len(source):
        if depth == 0 and (source[at] in "}:" or (source[at] == "!" and source[at + 1 : at + 2] != "=")):
            return at
        _, text, at = _read_token(source, at)
        depth += (text in ("(", "[", "{")) - (text in (")", "]", "}"))
    raise Unclear
