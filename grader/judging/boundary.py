"""Whose fault it is when something raises while a submission is judged. The one place that decides.

Judging handles bytes that a stranger made: it parses, recomputes and renders them. Whatever goes wrong in it is that
submission's *protocol violation*, MemoryError and RecursionError included, with two exceptions. An error that no bytes
of a student's can cause (a full disk, a package that is missing, a name that the suite does not know) is a fault of the
grader. And so is one that the same part of judging raises for the reference solution, too: a part that is a `suspect`
is therefore tried with the reference before anybody loses a point (`pipeline.judge`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from grader.errors import GraderError
from grader.evidence.reader import Evidence
from grader.evidence.untrusted import ProtocolViolation

OURS: Final = (GraderError, OSError, ImportError, NameError, NotImplementedError, SyntaxError)
EXHAUSTED: Final = (MemoryError, RecursionError)  # only bytes that are much too many, or nested much too deeply
MAX_DESCRIPTION: Final = 300

Read = TypeVar("Read")


class Fault(StrEnum):
    """Whose fault an exception in a part of judging is."""

    GRADER = "grader"
    SUSPECT = "suspect"  # the submission's, unless the same part raises for the reference
    SUBMISSION = "submission"  # unless the same part raises for the reference; where that is not known, all the same


def blame(error: BaseException) -> Fault:
    """Return whose fault an exception is that a part of judging raised."""
    if isinstance(error, (ProtocolViolation, *EXHAUSTED)):
        return Fault.SUBMISSION
    return Fault.GRADER if isinstance(error, OURS) or not isinstance(error, Exception) else Fault.SUSPECT


def describe(error: BaseException) -> str:
    """Describe an exception to staff, in a line; it may hold anything that a notebook wrote."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:MAX_DESCRIPTION].rstrip(": ")


@dataclass(frozen=True)
class Watch:
    """What is known of a submission's judging beforehand, and who wants to know how far it is."""

    begin: Callable[[str], None] = lambda part: None  # hears the name of each part: a check's id, or a word
    lost: Mapping[str, str] = field(default_factory=dict)  # part -> how the process ended in which it was tried
    all_lost: str = ""  # the same of every part
    # Parts that raise for the reference too; None: not known, and then the grader is at fault.
    of_the_grader: frozenset[str] | None = None
    suspects: list[str] = field(default_factory=list)  # parts besides the checks that raised; filled on the way
    notes: list[str] = field(default_factory=list)  # for staff, on faults of the grader; the same

    def find_loss(self, part: str) -> str:
        """Return how a process ended that tried this part; nothing where none did."""
        return self.lost.get(part, self.all_lost)

    def is_of_the_grader(self, part: str, fault: Fault) -> bool:
        """Return True if an exception in this part costs the submission nothing."""
        if fault is Fault.GRADER:
            return True
        if self.of_the_grader is None:
            return fault is Fault.SUSPECT
        return part in self.of_the_grader


@dataclass(frozen=True)
class PartReader:
    """Reads the parts of a result besides the checks."""

    evidence: Evidence
    watch: Watch

    def read(self, part: str, read: Callable[[], Read], otherwise: Callable[[], Read]) -> Read:
        """Return what a part finds or, where it cannot be had, something that says nothing.

        Malformed evidence is noted by whoever reads it, everything else here, for staff. Raises what is of the grader.
        """
        self.watch.begin(part)
        if how := self.watch.find_loss(part):
            self.evidence.note(f"{part}: {how}")
            return otherwise()
        try:
            return read()
        except ProtocolViolation:
            return otherwise()
        except OURS:
            raise
        except Exception as error:  # whatever a stranger's bytes can cause
            self._note(part, error)
            return otherwise()

    def _note(self, part: str, error: Exception) -> None:
        if self.watch.of_the_grader is None:
            self.watch.suspects.append(part)
        if self.watch.is_of_the_grader(part, blame(error)):
            self.watch.notes.append(f"A fault of the grader, in “{part}”: {describe(error)}.")
        else:
            self.evidence.note(f"{part}: {describe(error)}")
