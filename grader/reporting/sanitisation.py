"""Untrusted text made harmless for a terminal and a page alike.

A notebook can print escape sequences that repaint a terminal, marks that reverse the direction of reading, and
characters that no encoder accepts. Here they become visible characters, so that a reader sees that they were there.
HTML escaping is a separate step, done by the template engine.
"""

import re
import unicodedata

TEXT_LIMIT = 20_000
LINE_LIMIT = 300
MARKS_MAX = 4  # accents on one letter; hundreds of them cover the lines around it and cannot be wrapped

_COLOUR_SEQUENCE = re.compile(r"\x1b\[[0-9;:]*m")  # what IPython puts in every traceback
_QUOTED = re.compile(r"`([^`\n]+)`")
_LINE_END = re.compile(r"\r\n?")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, direction and format marks, surrogates, separators


def sanitise_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return `text` without colour codes, with every other control or direction character made visible.

    Lines stay lines. At most `limit` characters of the original are kept, from both ends, and a cut is marked.
    """
    plain = _LINE_END.sub("\n", _COLOUR_SEQUENCE.sub("", _cut(text, limit)))
    if plain.isascii() and plain.isprintable():
        return plain
    shown = {ord(character): _show(character) for character in set(plain)}  # few, whatever the length
    return _strip_piled_marks(plain.translate(shown))


def sanitise_line(text: str, limit: int = LINE_LIMIT) -> str:
    """Return `text` as `sanitise_text` does, on one line with single spaces."""
    return " ".join(sanitise_text(text, limit).split())


def mark_code(escaped: str, tag: str = "<code>") -> str:
    """Set what stands between backticks as code, in text that is HTML already. `tag` opens the element."""
    return _QUOTED.sub(rf"{tag}\1</code>", escaped)


def _show(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _INVISIBLE:
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"  # control pictures: ESC becomes "␛"


def _strip_piled_marks(text: str) -> str:
    marks = "".join(filter(_is_mark, set(text)))
    if not marks:
        return text
    piled = f"([{re.escape(marks)}]{{{MARKS_MAX}}})([{re.escape(marks)}]+)"
    return re.sub(piled, lambda found: f"{found[1]}⟨{len(found[2])} more marks⟩", text)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Me")


def _cut(text: str, limit: int) -> str:
    """Keep three fifths from the start and the rest from the end, where a traceback says what went wrong."""
    if len(text) <= limit:
        return text
    head = limit * 3 // 5
    tail = limit - head
    return f"{text[:head]}\n[{len(text) - limit:,} characters left out]\n{text[len(text) - tail :]}"
