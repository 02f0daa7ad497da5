"""What the files in `tests/public` and `tests/hidden` are written with.

A check is a test function with an id. Its docstring says what it asks for, in words for students, who get the files of
`tests/public`; reports show its title, and what it says when it fails. It looks at a `Case` and either
returns, or says that the submission `Failed`, that the check is `Blocked` by something missing, or `NotJudged` here.
Any other exception is a fault of the grader and never costs points.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])


class Outcome(Exception):
    """Base of the ways in which a check ends without passing."""

    def __init__(self, rationale: str, hint: str = "") -> None:
        """`rationale`: what was checked, expected against observed. `hint`: one thing to try."""
        super().__init__(rationale)
        self.rationale, self.hint = rationale, hint


class Failed(Outcome):
    """The submission does not do what the check asks for."""


class Blocked(Outcome):
    """Nothing to check, because something that comes first is missing."""


class NotJudged(Outcome):
    """This profile or calibration does not cover the check."""


class Advice(Outcome):
    """Passed, with a word of advice that costs nothing."""


def check(id: str, title: str, requires: tuple[str, ...] = ()) -> Callable[[Test], Test]:
    """Make a test function the check `id` (step.name); it is blocked unless all checks in `requires` passed."""
    mark: Callable[[Test], Test] = pytest.mark.check(id=id, title=title, requires=requires)
    return mark


def join_words(things: Sequence[str]) -> str:
    """In a sentence: "a", "a and b", "a, b and c"."""
    *most, last = things
    return f"{', '.join(most)} and {last}" if most else last


def name_type(type_name: str) -> str:
    """A type as students know it: "a list", "None"."""
    if type_name == "NoneType":
        return "None"
    return f"{'an' if type_name[:1] in 'aeiou' else 'a'} {type_name}"


def suggest_hint(error: str, otherwise: str) -> str:
    """What to try when a function of the student's raised `error`: writing it, where it is still the template's."""
    return (
        "Write this function: the template raises this error until you do."
        if "NotImplementedError" in error
        else otherwise
    )


def expect(condition: bool, rationale: str, hint: str = "") -> None:
    """Fail the check with this rationale unless the condition holds."""
    if not condition:
        raise Failed(rationale, hint)


def fail(rationale: str, hint: str = "") -> NoReturn:
    """Fail the check."""
    raise Failed(rationale, hint)
