"""The two kinds of failure. Everything else that a submission does wrong is data, not an exception."""

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

RETRY: Final = "free disk space and retry"
ANOTHER_FOLDER: Final = "choose another folder (--out, or OUT= for make)"
# What to do about a refusal of the file system; about others, the caller knows better.
ADVICE: Final[Mapping[int, str]] = {
    errno.ENOSPC: RETRY,
    errno.EDQUOT: RETRY,
    errno.EROFS: "its disk is mounted read-only: mount it for writing",
    errno.EACCES: "give this user the right to it",
    errno.EPERM: "give this user the right to it",
    errno.EMFILE: "raise the limit on open files (`ulimit -n 4096`) and retry",
    errno.ENFILE: "this machine has too many files open: close other programs and retry",
    errno.EIO: "the disk reports an error: have it checked",
}


class SubmissionError(Exception):
    """The upload cannot be graded as handed in. The message is one sentence for its author. Exit code 1."""


class GraderError(Exception):
    """The grader or its set-up is at fault. The message says what to do about it. Exit code 2."""


class DiskFullError(GraderError):
    """A disk has too little room to begin, or to trust what is written."""


def explain_refusal(action: str, error: OSError, otherwise: str) -> GraderError:
    """Build an error with one sentence on what the file system refused.

    Args:
        action: what the grader tried, after "Cannot": "write the reports to results/x".
        error: the system's answer.
        otherwise: what may help besides what the kind of error suggests.
    """
    known = ADVICE.get(error.errno or 0, "")
    advice = ", or ".join(part for part in (known, otherwise) if part)
    return (DiskFullError if known == RETRY else GraderError)(f"Cannot {action} ({error.strerror or error}); {advice}.")


class StopRequestError(KeyboardInterrupt):
    """A signal other than that of ctrl-C asks the grader to stop; the message names it."""


@contextmanager
def report_on_stop(sentence: str) -> Iterator[None]:
    """Raise GraderError with a sentence on what became of the work, if the block is stopped.

    What breaks while a stopped block cleans up (a connection to workers that were stopped too) is not the cause.
    """
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        stop = find_stop(error)
        if stop is None:
            raise
        raise GraderError(f"{describe_stop(stop)} {sentence}") from None


def find_stop(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the request to stop that an exception is, or that was being handled when it or its cause was raised."""
    waiting, seen = [error], set[int]()
    while waiting:
        error = waiting.pop()
        if isinstance(error, KeyboardInterrupt):
            return error
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            waiting += [error.__context__, error.__cause__]
    return None


def describe_stop(stop: KeyboardInterrupt) -> str:
    """Say who stopped the grader."""
    if isinstance(stop, StopRequestError):
        return f"Stopped by {stop}, which the system or another program sent."
    return "Stopped."
