"""Lines of source."""

import textwrap


def lay_out(text: str, depth: int) -> str:
    """The text, indented by so many levels."""
    return textwrap.indent(text, "    " * depth)
