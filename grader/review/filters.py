"""Which students a page shows: by check, by state, by name, by likeness."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from grader.grades.grade import AdjustmentKind, PassOutcome, Standing
from grader.grades.overrides import Override
from grader.model import Verdict
from grader.review.classroom import Dossier


class State(StrEnum):
    """What may be true of a student; several can be."""

    GRADED = "graded"
    UNGRADED = "ungraded"
    REFUSED = "refused"
    MISSING = "missing"
    EXCUSED = "excused"
    OVERRIDDEN = "overridden"
    EARLIER = "decided for an earlier file"
    LATE = "late"
    REVIEWED = "reviewed"
    UNREVIEWED = "not reviewed"
    CONTESTED = "open appeal"
    COMMENTED = "commented"
    ALIKE = "similar code"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNDECIDED = "neither complete nor incomplete"


def _is_standing(standing: Standing) -> Callable[[Dossier], bool]:
    return lambda dossier: dossier.grade.standing is standing


# Where the policy says what a pass takes.
OUTCOMES: Final = {
    State.COMPLETE: PassOutcome.COMPLETE,
    State.INCOMPLETE: PassOutcome.INCOMPLETE,
    State.UNDECIDED: PassOutcome.OPEN,
}


def _has_outcome(outcome: PassOutcome) -> Callable[[Dossier], bool]:
    return lambda dossier: dossier.grade.outcome is outcome


TESTS: Final[Mapping[State, Callable[[Dossier], bool]]] = {
    State.GRADED: _is_standing(Standing.GRADED),
    State.UNGRADED: _is_standing(Standing.UNGRADED),
    State.REFUSED: _is_standing(Standing.REFUSED),
    State.MISSING: _is_standing(Standing.MISSING),
    State.EXCUSED: _is_standing(Standing.EXCUSED),
    State.OVERRIDDEN: lambda d: any(isinstance(decision.matter, Override) for decision in d.held),
    State.EARLIER: lambda d: bool(d.earlier),
    State.LATE: lambda d: any(change.kind is AdjustmentKind.LATE for change in d.grade.adjustments),
    State.REVIEWED: lambda d: d.is_reviewed,
    State.UNREVIEWED: lambda d: not d.is_reviewed,
    State.CONTESTED: lambda d: d.has_open_appeal,
    State.COMMENTED: lambda d: d.has_comment,
    State.ALIKE: lambda d: bool(d.alike),
    **{state: _has_outcome(outcome) for state, outcome in OUTCOMES.items()},
}


@dataclass(frozen=True)
class Filter:
    """What a person asked for. Empty: everybody."""

    find: str = ""
    state: State | None = None
    check: str = ""
    verdict: Verdict = Verdict.FAILED  # of the check

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "Filter":
        """Read the query of an address. What it does not know counts as not asked for."""
        state, verdict = query.get("state", ""), query.get("verdict", "")
        return cls(
            find=query.get("find", "").strip(),
            state=State(state) if state in list(State) else None,
            check=query.get("check", ""),
            verdict=Verdict(verdict) if verdict in list(Verdict) else Verdict.FAILED,
        )

    @property
    def query(self) -> str:
        """The query of an address that asks for the same; empty if nothing is asked for."""
        parts = {"find": self.find, "state": self.state, "check": self.check}
        parts |= {"verdict": self.verdict} if self.check else {}
        return urlencode({name: value for name, value in parts.items() if value})

    def select(self, dossiers: Iterable[Dossier], blind: bool = False) -> list[Dossier]:
        """Return those that fit. Blind, a text is looked for in codes only."""
        words = self.find.casefold().split()
        return [dossier for dossier in dossiers if self._fits(dossier, words, blind)]

    def _fits(self, dossier: Dossier, words: Iterable[str], blind: bool) -> bool:
        if self.state and not TESTS[self.state](dossier):
            return False
        if self.check and not any(c.id == self.check and c.verdict is self.verdict for c in dossier.checks):
            return False
        return all(word in _list_names(dossier, blind) for word in words)


def _list_names(dossier: Dossier, blind: bool) -> str:
    student = dossier.grade.student
    names = (student.code, *(() if blind else (student.name, student.key, student.login, student.section)))
    return " ".join(name for name in names if name).casefold()
