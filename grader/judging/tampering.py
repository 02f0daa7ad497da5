"""Places where a notebook touches the grader's own code: a person looks at them before it gets points.

The witness shares a process with the notebook and can be taken over; nothing inside can prevent or prove that. What it
takes is written in the notebook, unless its author hides the words too.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from grader.model import CheckResult

# `grader.student` is what the kit has students import; anything may be called `grader` in a notebook.
WORDS: Final = re.compile(
    r"\bgrader\.kernel\b|(?:^|;)[ \t]*(?:import|from)[ \t]+grader\b(?!\.student\b|[ \t]+import[ \t]+student\b)"
    r"|\bSANDBOX_EVIDENCE\b|\bvnd\.grader\b|\btrainings\.json\b|\bprobe-\w+\.(?:json|safetensors)\b|(?<!\w)\.grading\b",
    re.MULTILINE,
)


HELD: Final = "The notebook reaches into the grader's own code. A person reads it before this check is worth points."


def waits_for_a_person(checks: Iterable[CheckResult]) -> bool:
    """Whether any check is held back until somebody has read the notebook."""
    return any(check.rationale == HELD for check in checks)


def find_tampering(sources: Mapping[int, str]) -> list[str]:
    """One line for each code cell, by its place among all cells, that names what only the grader has a use for."""
    found = ((index, WORDS.search(source)) for index, source in sources.items())
    return [
        f"Cell {index + 1} names the grader's own code or files ({match[0][:60]}): read it first."
        for index, match in found
        if match
    ]
