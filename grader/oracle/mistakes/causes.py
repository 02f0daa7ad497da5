"""Causes: what a student may have done, in words, with one thing to try."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cause:
    """A known mistake. `words` is a clause that fits after a semicolon or in a list; `hint` is one thing to try."""

    id: str
    words: str
    hint: str = ""


def join_causes(causes: Sequence[Cause]) -> str:
    """Return the causes as one clause: "W's bias is missing, and x is added to W(x)"."""
    return ", and ".join(cause.words for cause in causes)


def first_hint(causes: Sequence[Cause], otherwise: str) -> str:
    """Return the hint of the first cause that has one, else the other hint."""
    return next((cause.hint for cause in causes if cause.hint), otherwise)


def capitalise(clause: str) -> str:
    """Return a clause as the beginning of a sentence."""
    return clause[:1].upper() + clause[1:]
