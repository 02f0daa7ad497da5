"""What is noted of one training."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from grader.protocol.records import Entry

STEPS = ("step1", "step2", "step3")


@dataclass
class Noted:
    """One training: the model at its start, when and where it was, what became of it. Filled while it runs."""

    step: str  # one of STEPS
    entry: Entry
    began_s: float  # as `time.time()` counts
    cell: int | None = None  # the number of `In` that trains; None in another kernel
    ended_s: float | None = None  # None: not yet
    finished: bool = False
    error: str = ""  # the type of what ended it early
    left: dict[str, str] = field(default_factory=dict)  # tensor of the head, when it ended -> digest of its numbers
    saved: str = ""  # the folder that `save_model` wrote to afterwards
    here: bool = True  # in this kernel, not in one before it
    via: str = "Trainer"  # or "loop", of the student's own
    layers: dict[str, str] = field(default_factory=dict)  # class of wrapped layers -> its code; not kept over a restart

    def find_before(self, trainings: Sequence["Noted"]) -> "Noted | None":
        """Return the training that left the model, or a copy of it, as this one found it; None for a fresh one.

        One that changed no head, such as one that failed before its first step, left what every fresh model with the
        same seed has.
        """
        before = (noted for noted in reversed(trainings) if noted.began_s < self.began_s and noted.changed_head)
        return next((noted for noted in before if noted.left == self.entry.head), None)

    @property
    def changed_head(self) -> bool:
        """Whether it left another head than it found."""
        return bool(self.left) and self.left != self.entry.head
