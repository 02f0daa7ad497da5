"""The source of cells, which anybody may have written."""

from typing import Final

# What `ast` and `symtable` raise for text that is no Python, such as magics, or is nested too deeply to be read.
UNPARSABLE: Final = (SyntaxError, ValueError, RecursionError, MemoryError)
