"""Texts of others, cut to size and made fit for one line."""


def sanitise(text: str, limit: int = 100) -> str:
    """`text` on one line that no terminal interprets: other characters become `?`, a long one is cut."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def cut_middle(text: str, limit: int) -> str:
    """`text` where it has at most `limit` characters, otherwise its first and last half of that on separate lines."""
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}\n{text[-half:]}"
