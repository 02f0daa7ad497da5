"""The vocabulary of the files in `tests/public` and `tests/hidden`.

A check is a test function with an id. Its docstring tells students, who get the files of `tests/public`, what it asks
for; reports show its title, and its rationale when it fails. It looks at a `Case` and either returns or raises `Failed`
(the submission is wrong), `Blocked` (something that comes first is missing) or `NotJudged` (not covered here). Any
other exception is a fault of the grader and never costs points.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import pytest

from grader.judging.case import Case
from grader.judging.places import Finder, find_cell_before, find_stop_before
from grader.model import Method, Verdict
from grader.protocol.records import Raised

Test = TypeVar("Test", bound=Callable[..., Any])


class Outcome(Exception):
    """Base of the ways in which a check ends with something to say."""

    verdict = Verdict.ERROR

    def __init__(self, rationale: str, hint: str = "", at: Finder | None = None, cause: str = "") -> None:
        """`rationale`: what was checked, expected against observed. `hint`: one thing to try. `at`: finds the cause.

        `cause`: a name for it that another step uses for the same one (`judging.repetition`).
        """
        super().__init__(rationale)
        self.rationale, self.hint, self.at, self.cause = rationale, hint, at, cause


class Failed(Outcome):
    """The submission does not do what the check asks for."""

    verdict = Verdict.FAILED


class Blocked(Outcome):
    """Nothing to check, because something that comes first is missing."""

    verdict = Verdict.BLOCKED


class NotJudged(Outcome):
    """This profile or calibration does not cover the check."""

    verdict = Verdict.NOT_JUDGED


class Advice(Outcome):
    """Passed, with advice that costs nothing."""

    verdict = Verdict.PASSED


def check(
    id: str,
    title: str,
    requires: tuple[str, ...] = (),
    about: Finder | None = None,
    training: Method | None = None,
) -> Callable[[Test], Test]:
    """Make a test function the check `id` (step.name); it is blocked unless all checks in `requires` passed.

    `about`: one of `judging.places`, which finds the line that a student reads when the check fails. `training`: the
    one that the check judges, where it judges one; a failure then names what the notebook defines anew too late.
    """
    mark: Callable[[Test], Test] = pytest.mark.check(
        id=id, title=title, requires=requires, about=about, training=training
    )
    return mark


def expect(condition: bool, rationale: str, hint: str = "", at: Finder | None = None, cause: str = "") -> None:
    """Fail the check with this rationale unless the condition holds. `at`: a finer place than the check's own."""
    if not condition:
        raise Failed(rationale, hint, at, cause)


def fail(rationale: str, hint: str = "", at: Finder | None = None, cause: str = "") -> NoReturn:
    """Fail the check. `at`: a finer place than the check's own."""
    raise Failed(rationale, hint, at, cause)


def expect_defined(case: Case, found: str | None, names: tuple[str, ...], missing: str, hint: str) -> None:
    """Fail the check when no definition has one of these names. `missing` is the sentence for the student.

    When a cell with such a definition raises an error, the rationale names that cell and the hint is about it.
    """
    if found is not None:
        return
    cell = case.evidence.find_failed_definition(names)
    if cell is None:
        fail(missing, hint)
    fail(
        f"{missing} Cell {cell.index + 1} defines it, but raises {case.name_error(cell.index)}.",
        "Fix that cell, then run the notebook again.",
    )


def expect_reached(case: Case, method: Method, rationale: str) -> None:
    """Fail the check when an error kept statements about a step's model from running; the rationale gets that error."""
    cell = find_cell_before(case, method)
    if cell is not None:
        fail(
            f"{rationale}{case.describe_error(cell)}",
            "Fix this error: what comes after it in its cell did not run.",
            at=find_stop_before(method),
            cause=case.name_error(cell),
        )


def join_words(things: Sequence[str]) -> str:
    """Join words as in a sentence: "a", "a and b", "a, b and c"."""
    *most, last = things
    return f"{', '.join(most)} and {last}" if most else last


def name_type(type_name: str) -> str:
    """Return a type as students know it: "a list", "None"."""
    article = "an" if type_name[:1] in "aeiou" else "a"
    return "None" if type_name == "NoneType" else f"{article} {type_name}"


def suggest_hint(error: Raised | None, otherwise: str) -> str:
    """Suggest to write a function that raised the template's error; otherwise this other hint."""
    unwritten = error is not None and error.type == NotImplementedError.__name__
    return "Write this function: the template raises this error until you do." if unwritten else otherwise
