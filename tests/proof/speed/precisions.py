"""The verdicts in two precisions: the reference in float32 and in bfloat16, seed by seed.

Two runs for each seed take minutes, so every run is kept as a line at once, and the next call goes on from there. A
line says of which day and code it is, since a verdict depends on little of the code (notebook, budget, checkpoint and
reviews are its conditions), but on some.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from grader import pipeline
from grader.assets.reviews import resolve_reviews
from grader.execution.job import Setup
from grader.intake.notebook import Submission, read_submission
from grader.model import FrozenModel, Method, Precision, Profile, Verdict
from grader.paths import REFERENCE, ROOT
from tests.proof.speed.machine import digest_code
from tests.proof.speed.outcome import BoundLine, Part, format_today
from tests.proof.validity.ledger import append, locate_ledger, read
from tests.proof.validity.training import digest_conditions

NAME: Final = "precisions"
COMPARED: Final = (Precision.BFLOAT16, Precision.FLOAT32)


class Run(FrozenModel):
    """One graded run of the reference."""

    seed: int
    precision: Precision
    conditions: str
    verdicts: dict[str, Verdict]
    accuracies: dict[Method, float | None]
    measured: str = "2026-11-23"  # the day; lines that do not say so are of this one
    code: str = "older"  # digest


def measure(seeds: Sequence[int]) -> Part:
    """Verdicts of all seeds in both precisions; runs that are kept already are not made again."""
    runs = {precision: _runs(precision, seeds) for precision in COMPARED}
    every = [run for found in runs.values() for run in found]
    figures = {**compare(*runs.values()), "reviews": resolve_reviews(ROOT, os.environ).name}
    codes = {run.code for run in every}
    name = f"seeds of {len(seeds)} with the same verdicts in float32 and bfloat16"
    line = BoundLine(name, figures["same"], len(seeds), at_most=False)
    code, measured = codes.pop() if len(codes) == 1 else "several", min(run.measured for run in every)
    return Part(NAME, figures, (line,), measured=measured, code=code)


def _runs(precision: Precision, seeds: Sequence[int]) -> list[Run]:
    submission = read_submission(REFERENCE)
    kept = {(run.seed, run.precision, run.conditions): run for run in read(locate_ledger(NAME), Run)}
    with pipeline.open_setup(Profile.QUICK, seeds[0], precision=precision) as used:
        where = digest_conditions(used, [c.source for c in submission.notebook.cells if c.cell_type == "code"])
        return [kept.get((s, precision, where)) or _run(submission, s, precision, where, used) for s in seeds]


def _run(submission: Submission, seed: int, precision: Precision, where: str, used: Setup) -> Run:
    with tempfile.TemporaryDirectory(prefix="a4-bench-") as name:
        result = pipeline.grade(submission, replace(used, seed=seed), Path(name)).result
    run = Run(
        seed=seed, precision=precision, conditions=where, measured=format_today(), code=digest_code(),
        verdicts={check.id: check.verdict for check in result.checks},
        accuracies={method: summary.accuracy for method, summary in result.methods.items()},
    )  # fmt: skip
    append(locate_ledger(NAME), run)
    print(f"  {precision.value}, seed {seed}: {result.score.points} points", file=sys.stderr, flush=True)
    return run


def compare(one: Sequence[Run], other: Sequence[Run]) -> dict[str, Any]:
    """The number of seeds with the same verdicts, the checks that differ, and the largest differences in accuracy."""
    pairs = list(zip(one, other, strict=True))
    changed = {str(a.seed): sorted({check for check, _ in a.verdicts.items() ^ b.verdicts.items()}) for a, b in pairs}
    differing = {seed: checks for seed, checks in changed.items() if checks}
    reached = {m.value: [[run.accuracies.get(m) or 0.0 for run in pair] for pair in pairs] for m in Method}
    return {
        "seeds": len(pairs),
        "same": len(pairs) - len(differing),
        "differing": differing,
        "passed": sum(set(run.verdicts.values()) == {Verdict.PASSED} for run in (*one, *other)),
        "apart": {method: round(max(abs(a - b) for a, b in found), 3) for method, found in reached.items()},
    }
