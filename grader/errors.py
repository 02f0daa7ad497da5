"""The two kinds of failure. Everything else that a submission does wrong is data, not an exception."""

from collections.abc import Iterator
from contextlib import contextmanager


class SubmissionError(Exception):
    """Theirs: the upload cannot be graded as handed in. The message is one sentence for its author. Exit code 1."""


class GraderError(Exception):
    """Ours: the grader or its set-up is at fault. The message says what to do about it. Exit code 2."""


class NoRoom(GraderError):
    """A disk has too little room to begin, or to trust what was done."""


@contextmanager
def saying_when_stopped(sentence: str) -> Iterator[None]:
    """Tell whoever stops a command what became of the work."""
    try:
        yield
    except KeyboardInterrupt:
        raise GraderError(sentence) from None
