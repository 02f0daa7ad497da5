"""Decides what of a kernel's announcements counts: what the host asked for, and while it asks for it.

The kernel shares its process with the notebook, so anything can come out of it. An event counts when it has the key of
this run, which only the grader's code there is given, and comes where it belongs:

    bootstrap   environment.json, and trainings.json without a training
    any time    what the grader's code finds changed around it
    a cell      a training begins under the next number, takes steps, leaves its files, ends
    any time    a fault of the grader's own code there, after which no check that fails costs points
    a probe     the files of the family that is asked for; they count once the kernel has answered that it is done

What the host never asked for, or was not answered in time, does not exist.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from grader.model import FrozenModel, Method
from grader.protocol.records import GRADIENTS_FILE, WEIGHTS_FILE
from grader.text import sanitise

MAX_TRAININGS: Final = 1_000
MAX_STEPS: Final = 10**9
MAX_FILES: Final = 4_096  # announced; one per change of a file
MAX_SUSPICIONS: Final = 20
MAX_WORDS: Final = 200
MAX_FAULTS: Final = 20
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
TRAININGS, ENVIRONMENT = "trainings.json", "environment.json"


class Stage(Enum):
    """What the host waits for."""

    BOOTSTRAP = auto()
    CELLS = auto()
    PROBE = auto()


class WatchedTraining(FrozenModel):
    """A training as its events told of it: digests of the record's entry, and of the record when it ended."""

    entry: str
    record: str = ""  # empty: it has not ended
    steps: int = 0


class Suspicion(FrozenModel):
    """What the grader's code in the kernel found changed around it."""

    words: str
    witness: bool  # it is that code itself, or what it relies on


@dataclass
class Admission:
    """The events of one run, in their order."""

    key: str = ""
    stage: Stage = Stage.BOOTSTRAP
    written: set[tuple[str, str]] = field(default_factory=set)  # name and SHA-256 of the files that count
    trainings: dict[int, WatchedTraining] = field(default_factory=dict)
    methods: dict[int, Method] = field(default_factory=dict)
    refused: int = 0  # events that do not count
    suspicions: list[Suspicion] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # mistakes of the grader's own code, a line each
    family: str = ""  # the probe that is asked
    answers: set[tuple[str, str]] = field(default_factory=set)  # announced since it was asked

    @property
    def complete(self) -> bool:
        """Return True if a training of each method has ended."""
        return {self.methods[index] for index, training in self.trainings.items() if training.record} == set(Method)

    @property
    def ended(self) -> list[int]:
        """The numbers of the trainings that have ended."""
        return [index for index, training in self.trainings.items() if training.record]

    def ask(self, family: str) -> None:
        """Begin to wait for the answers of a family of probes."""
        self.stage, self.family, self.answers = Stage.PROBE, family, set()

    def settle(self, answered: bool) -> None:
        """End it: what was announced counts if the kernel has answered."""
        self.written |= self.answers if answered else set()
        self.family, self.answers = "", set()

    def take(self, event: Mapping[str, Any]) -> str:
        """Take an event in, and return its kind; empty for one that does not count."""
        kind = event.get("kind")
        if event.get("key") == self.key and isinstance(kind, str) and self._take(kind, event):
            return kind
        self.refused += 1
        return ""

    def _take(self, kind: str, event: Mapping[str, Any]) -> bool:
        digest = event.get("sha256")
        known = isinstance(digest, str) and DIGEST.fullmatch(digest) is not None
        match kind:
            case "training_begin" | "training_end" if known:
                return self._take_bound(kind, event, str(digest))
            case "training_step":
                return self._take_step(event)
            case "suspicion":
                return self._take_suspicion(event)
            case "written" if known:
                return self._take_file(event.get("name"), str(digest))
            case "fault":
                return self._take_fault(event.get("hook"), event.get("error"))
        return False

    def _take_step(self, event: Mapping[str, Any]) -> bool:
        """Count a step of a training that goes on. More steps may be planned than anybody knows: then 0 are."""
        index = parse_whole(event.get("index"))
        watched = self.trainings.get(index) if index is not None else None
        known = all(parse_whole(event.get(name)) is not None for name in ("step", "steps"))
        if index is None or watched is None or watched.record or not known:
            return False
        self.trainings[index] = watched.model_copy(update={"steps": watched.steps + 1})
        return True

    def _take_suspicion(self, event: Mapping[str, Any]) -> bool:
        if len(self.suspicions) >= MAX_SUSPICIONS:
            return False
        self.suspicions.append(Suspicion(words=str(event.get("words"))[:MAX_WORDS], witness=bool(event.get("witness"))))
        return True

    def _take_fault(self, hook: Any, error: Any) -> bool:
        """Note a mistake of the grader's own code in the kernel."""
        if not (isinstance(hook, str) and isinstance(error, str)) or len(self.faults) >= MAX_FAULTS:
            return False
        self.faults.append(f"{sanitise(hook)}: {sanitise(error, 300)}")
        return True

    def _take_bound(self, kind: str, event: Mapping[str, Any], digest: str) -> bool:
        """Note that a training begins or ends."""
        index = event.get("index")
        if self.stage is Stage.BOOTSTRAP or type(index) is not int:
            return False
        watched = self.trainings.get(index)
        if kind == "training_begin" and index == len(self.trainings) < MAX_TRAININGS:
            self.trainings[index] = WatchedTraining(entry=digest)
            self.methods[index] = next((m for m in Method if m.value == event.get("method")), Method.FULL)
            return True
        if kind == "training_end" and watched is not None and not watched.record:
            self.trainings[index] = watched.model_copy(update={"record": digest})
            return True
        return False

    def _take_file(self, name: Any, digest: str) -> bool:
        """Note a file if one of this name is due."""
        if not isinstance(name, str) or len(self.written) + len(self.answers) >= MAX_FILES or not self._is_due(name):
            return False
        found = self.answers if self.family and name.startswith("probe-") else self.written
        found.add((name, digest))
        return True

    def _is_due(self, name: str) -> bool:
        if self.stage is Stage.BOOTSTRAP:
            return name in (TRAININGS, ENVIRONMENT)
        if name.startswith("probe-"):
            return self.family != "" and name in (f"probe-{self.family}.json", f"probe-{self.family}.safetensors")
        return name == TRAININGS or self._belongs_to_open_training(name)

    def _belongs_to_open_training(self, name: str) -> bool:
        """Return True for a file of a training that has begun and not ended."""
        if not (WEIGHTS_FILE.fullmatch(name) or GRADIENTS_FILE.fullmatch(name)):
            return False
        watched = self.trainings.get(int(name.partition("-")[2].partition(".")[0]))
        return watched is not None and not watched.record


def parse_whole(value: Any) -> int | None:
    """Return a whole number of bounded size, or None."""
    return value if type(value) is int and 0 <= value <= MAX_STEPS else None
