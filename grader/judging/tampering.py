"""Places where a notebook touches the grader's own code: a person looks at them before it gets points.

The witness shares a process with the notebook and can be taken over; nothing inside can prevent or prove that. A
notebook that does so says so in its source, unless its author hides the words too.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from grader.model import Result

# `grader.student` is what the kit has students import; anything may be called `grader` in a notebook.
WORDS: Final = re.compile(
    r"\bgrader\.kernel\b|(?:^|;)[ \t]*(?:import|from)[ \t]+grader\b(?!\.student\b|[ \t]+import[ \t]+student\b)"
    r"|\bSANDBOX_EVIDENCE\b|\bvnd\.grader\b|\btrainings\.json\b|\bprobe-\w+\.(?:json|safetensors)\b|(?<!\w)\.grading\b",
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
    PERSON = "person"


def waits_for_a_person(result: Result) -> bool:
    """Return True if a check counts only after somebody has read the notebook."""
    if WAITS_FOR in result.environment:
        return result.environment[WAITS_FOR] == WaitsFor.PERSON
    return any(check.rationale == FORMER_RATIONALE for check in result.checks)


def find_tampering(sources: Mapping[int, str]) -> list[str]:
    """Return one line for each code cell, by its index among all cells, that names what only the grader uses."""
    found = ((index, WORDS.search(source)) for index, source in sources.items())
    return [
        f"Cell {index + 1} names the grader's own code or files ({match[0][:60]}): read it first."
        for index, match in found
        if match
    ]
