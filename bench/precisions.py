"""Does precision change a verdict? The reference in float32 and in bfloat16, seed by seed.

Two trainings for each seed take minutes, so every run is kept as a line at once, and the next call goes on from there.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from grader import grading
from grader.execution.job import Setup
from grader.intake.notebook import Submission, read_submission
from grader.model import Frozen, Method, Precision, Profile, Verdict
from grader.project import REFERENCE
from grader.validation.ledger import append, ledger, read
from grader.validation.training import circumstances

NAME: Final = "precisions"
COMPARED: Final = (Precision.BFLOAT16, Precision.FLOAT32)


class Run(Frozen):
    """One graded run of the reference."""

    seed: int
    precision: Precision
    circumstances: str
    verdicts: dict[str, Verdict]
    accuracies: dict[Method, float | None]

    @property
    def key(self) -> tuple[int, Precision, str]:
        """What makes two runs the same."""
        return self.seed, self.precision, self.circumstances


def measured(seeds: Sequence[int]) -> dict[str, Any]:
    """Verdicts of all seeds in both precisions; runs that are kept already are not made again."""
    return compared(*(_runs(precision, seeds) for precision in COMPARED))


def _runs(precision: Precision, seeds: Sequence[int]) -> list[Run]:
    submission = read_submission(REFERENCE)
    kept = {run.key: run for run in read(ledger(NAME), Run)}
    with grading.setup(Profile.QUICK, seeds[0], precision=precision) as used:
        where = circumstances(used, [cell.source for cell in submission.notebook.cells])
        return [kept.get((s, precision, where)) or _run(submission, s, precision, where, used) for s in seeds]


def _run(submission: Submission, seed: int, precision: Precision, where: str, used: Setup) -> Run:
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        result = grading.grade(submission, grading.at_seed(used, seed), Path(name)).result
    run = Run(
        seed=seed,
        precision=precision,
        circumstances=where,
        verdicts={check.id: check.verdict for check in result.checks},
        accuracies={method: summary.accuracy for method, summary in result.methods.items()},
    )
    append(ledger(NAME), run)
    print(f"  {precision.value}, seed {seed}: {result.score.points} points", file=sys.stderr, flush=True)
    return run


def compared(one: Sequence[Run], other: Sequence[Run]) -> dict[str, Any]:
    """How many seeds have the same verdicts, which checks differ, and how far accuracies are apart at most."""
    pairs = list(zip(one, other, strict=True))
    differing = {
        str(a.seed): sorted(
            check for check in a.verdicts | b.verdicts if a.verdicts.get(check) != b.verdicts.get(check)
        )
        for a, b in pairs
        if a.verdicts != b.verdicts
    }
    return {
        "seeds": len(pairs),
        "same": len(pairs) - len(differing),
        "differing": differing,
        "passed": sum(set(run.verdicts.values()) == {Verdict.PASSED} for run in (*one, *other)),
        "apart": {method.value: round(max(_apart(method, a, b) for a, b in pairs), 3) for method in Method},
    }


def _apart(method: Method, one: Run, other: Run) -> float:
    return abs((one.accuracies.get(method) or 0.0) - (other.accuracies.get(method) or 0.0))
