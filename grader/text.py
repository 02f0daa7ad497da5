"""Makes text from notebooks short and safe to print."""

from collections.abc import Sequence


def sanitise(text: str, limit: int = 100) -> str:
    """Return `text` on one line that no terminal interprets: odd characters become `?`, a long text is cut."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def join_first(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """Join the first `most` names, and count the others: "a, b and 3 more"."""
    others = f" and {len(names) - most} more" * (len(names) > most)
    return f"{separator.join(names[:most])}{others}"


def cut_middle(text: str, limit: int) -> str:
    """Return `text`, or if it exceeds `limit` characters its beginning and end, half of `limit` each, on two lines."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}\n{text[-half:]}"
