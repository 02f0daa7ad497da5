"""Python's garbage collector, kept from looking again and again through libraries that stay anyway."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def import_without_collecting() -> Iterator[None]:
    """Import large libraries in the block: the collector rests, and later leaves alone what is there at its end.

    It would go through everything loaded so far a dozen times while more is loaded: a fifth of the time. Nothing is
    collected at the end either, since the holes would be filled in every fork, each with a page of its own.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
