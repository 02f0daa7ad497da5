"""What is noted of one training."""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from grader.protocol.records import Entry
from grader.protocol.tensor_names import ENCODER, HEAD_LINEARS

STEPS = ("step1", "step2", "step3")
PARTS: Final = (ENCODER, *(f"{part}." for part in HEAD_LINEARS))  # what may be taken from a trained model by itself


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
    saved: str = ""  # the folder that its weights were last written to
    folder: str = ""  # that a Trainer was given, where it may have left checkpoints
    here: bool = True  # in this kernel, not in one before it
    via: str = "Trainer"  # or "loop", of the student's own
    layers: dict[str, str] = field(default_factory=dict)  # class of wrapped layers -> its code; not kept over a restart
    encoder: dict[str, str] = field(default_factory=dict)  # some tensors of the encoder at the start -> digest
    left_encoder: dict[str, str] = field(default_factory=dict)  # the same when it ended
    unheld: dict[str, int] = field(default_factory=dict)  # trainable tensor that no optimiser holds -> its numbers
    named: bool = False  # whether what it is called speaks of a step
    model: "weakref.ref[Any] | None" = None  # what is trained; never kept alive by this

    def find_before(self, trainings: Sequence["Noted"]) -> "Noted | None":
        """Return the training that left the model, or a part of it, as this one found it; None for a fresh one."""
        before = (noted for noted in reversed(trainings) if noted.began_s < self.began_s)
        return next((noted for noted in before if self.list_shared(noted)), None)

    def list_shared(self, before: "Noted") -> list[str]:
        """Return the parts of the model that this training found as the one before left them."""
        found = {**self.entry.head, **self.encoder}
        return [part for part, numbers in before.list_trained().items() if _holds(found, numbers)]

    def list_trained(self) -> dict[str, dict[str, str]]:
        """Return what it left of the parts that it changed: what it did not change, every fresh model may have.

        A training that failed before its first step left what every model has that is loaded with the same seed.
        """
        found, left = {**self.entry.head, **self.encoder}, {**self.left, **self.left_encoder}
        changed = {name: digest for name, digest in left.items() if digest != found.get(name)}
        parts = {part: {n: digest for n, digest in changed.items() if n.startswith(part)} for part in PARTS}
        return {part: numbers for part, numbers in parts.items() if numbers}


def _holds(found: Mapping[str, str], numbers: Mapping[str, str]) -> bool:
    """Return True if all tensors that are in both are the same. Adapters may have taken the place of some."""
    common = found.keys() & numbers.keys()
    return bool(common) and all(found[name] == numbers[name] for name in common)
