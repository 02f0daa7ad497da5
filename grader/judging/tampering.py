"""Places where a notebook touches the grader's own code: a person looks at them before it gets points.

The witness shares a process with the notebook and can be taken over; nothing inside can prevent or prove that. A
notebook that does so says so in its source, unless its author hides the words too.
"""

import io
import re
import tokenize
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from grader.model import Result

# `grader.student` is what the kit has students import; anything may be called `grader` in a notebook, and a file of its
# own may be called `trainings.json`: only words that nobody writes without meaning the grader's code are here.
WORDS: Final = re.compile(
    r"\bgrader\.kernel\b|(?:^|;)[ \t]*(?:import|from)[ \t]+grader\b(?!\.student\b|[ \t]+import[ \t]+student\b)"
    r"|\bSANDBOX_EVIDENCE\b|\bvnd\.grader\b",
    re.MULTILINE,
)
WAITS_FOR: Final = "waits_for"  # in a result's `environment`, where somebody has to act: one of `WaitsFor`
# The rationale of a check that waits, in results stored before `waits_for` was written. Nothing else compares it.
FORMER_RATIONALE: Final = (
    "The notebook reaches into the grader's own code. A person reads it before this check is worth points."
)


class WaitsFor(StrEnum):
    """Who has to act before the checks of a result can count."""

    NOBODY = "nobody"
    PERSON = "person"  # to read a notebook that uses the grader's own code
    PACKAGE = "package"  # a person too: to decide about a notebook that uses a package which is not here


def get_waits_for(result: Result) -> WaitsFor:
    """Return who has to act before all checks of a result count."""
    if WAITS_FOR in result.environment:
        return WaitsFor(result.environment[WAITS_FOR])
    former = any(check.rationale == FORMER_RATIONALE for check in result.checks)
    return WaitsFor.PERSON if former else WaitsFor.NOBODY


def waits_for_a_person(result: Result) -> bool:
    """Return True if a check counts only after somebody has read a notebook that uses the grader's own code."""
    return get_waits_for(result) is WaitsFor.PERSON


def waits_for_a_package(result: Result) -> bool:
    """Return True if a check counts only after somebody has decided about a package that is not here."""
    return get_waits_for(result) is WaitsFor.PACKAGE


def find_tampering(sources: Mapping[int, str]) -> list[str]:
    """Return one line for each code cell, by its index among all cells, that names what only the grader uses."""
    found = ((index, WORDS.search(remove_comments(source))) for index, source in sources.items())
    return [
        f"Cell {index + 1} names the grader's own code or files ({match[0][:60]}): read it first."
        for index, match in found
        if match
    ]


def remove_comments(source: str) -> str:
    """Return a cell without its comments, which do nothing; as it is where it is no Python."""
    lines = source.splitlines(keepends=True)
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column] + "\n"
    except (tokenize.TokenError, SyntaxError, IndexError):  # a magic, or a line end that only one of the two knows
        return source
    return "".join(lines)
