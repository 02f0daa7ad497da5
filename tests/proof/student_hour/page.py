"""docs/student-check.md, and a longer page with all that the checks said, to be read by somebody who judges it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from grader.batch.digests import SUITE, VERSIONS, digest_files
from grader.closure import Tree, closure
from grader.machine.cores import count_cores
from grader.paths import ROOT
from tests.proof.student_hour.hour import Outcome, find_verdict

BOUNDS_S: Final = {"one": 2, "file": 30}
INTRODUCTION: Final = """# Mistakes in the notebook, and what the check says

Written by `.venv/bin/python -m tests.proof.student_hour --docs docs`; not edited by hand. A browser opens the kit's
notebook in JupyterLab and makes these mistakes one after the other. Each is checked, put right, and checked again.
"""


@dataclass(frozen=True)
class Times:
    """Seconds of `check("3.3")`, the median of several, and of `check_file()`, on a notebook that is right.

    `load`: how many processes wanted to run meanwhile, this one included.
    """

    one_s: float
    file_s: float
    load: float


def digest_conditions() -> str:
    """Digest all that the page depends on."""
    tree = Tree(ROOT)
    started = ["tests.proof.student_hour.__main__", "grader.student", "reference/solution.ipynb", *SUITE, VERSIONS]
    return digest_files(tree, closure(tree, started))[:16]


def render(outcomes: Sequence[Outcome], times: Times) -> str:
    """The page."""
    right = sum(not outcome.faults for outcome in outcomes)
    rows = [f"| {outcome.scene.mistake} | {_cell(find_verdict(outcome.said))} |" for outcome in outcomes]
    return "\n".join(
        [
            INTRODUCTION,
            f"Measured on {date.today()}, on code `{digest_conditions()}`: {right} of {len(outcomes)} as expected.",
            f'On the right solution `check("3.3")` takes {times.one_s:.1f} s (at most {BOUNDS_S["one"]}), '
            f"`check_file()` {times.file_s:.0f} s (at most {BOUNDS_S['file']}), "
            f"at a load of {times.load:.0f} on {count_cores()} cores.\n",
            "| Mistake | What the check says first |\n| --- | --- |",
            *rows,
            "",
        ]
    )


def render_all(outcomes: Sequence[Outcome]) -> str:
    """All outputs, with what is not as expected."""
    return "\n".join(_render_one(outcome) for outcome in outcomes)


def _render_one(outcome: Outcome) -> str:
    faults = "".join(f"- **not as expected**: {fault}\n" for fault in outcome.faults)
    said = f"```\n{outcome.said}\n```\n\nPut right ({outcome.seconds:.1f} s):\n\n```\n{outcome.said_then}\n```\n"
    return f"## {outcome.scene.id}: {outcome.scene.mistake}\n\n{faults}\n{said}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
