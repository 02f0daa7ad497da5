"""Judges a submission in processes of their own until there is a verdict, whatever its bytes do to them.

Where a process is lost, the next one leaves out the part in which that happened: the checks that need it fail, and all
others are judged as ever. Where a part raised or was lost, the reference solution is judged too before that counts.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pydantic import TypeAdapter

from grader.errors import GraderError
from grader.judging.apart import Bounds, ChildLost, run_apart
from grader.judging.boundary import Watch
from grader.judging.result import GradingResult
from grader.model import Verdict

GRADED: Final = TypeAdapter(GradingResult)
MOST_LOST: Final = 4  # parts that are left out one by one; then nothing of the submission's is looked at
LEAST_S: Final = 20.0
LOST: Final = "The grader cannot judge anything on this machine: its process ended ({how}). Run `make doctor`."

Judge = Callable[[Watch], GradingResult]
AskReference = Callable[[], frozenset[str] | None]


def judge_carefully(judge: Judge, bounds: Bounds, ask_reference: AskReference) -> GradingResult:
    """Return the verdict of `judge`.

    Args:
        judge: judges the submission; called in other processes, with what is known of earlier ones.
        bounds: of each process, and of all of them together twice that time.
        ask_reference: names the parts that raise, or are lost, for the reference solution too; None where that cannot
            be known. It may take as long as grading it does, and is asked only where something went wrong.

    Raises GraderError.
    """
    deadline = time.monotonic() + 2 * bounds.time_s
    graded, watch = _judge_until_it_ends(judge, bounds, Watch(), deadline)
    if not (graded.suspects or watch.lost or watch.all_lost):
        return graded
    known = ask_reference()
    if known is None:
        return graded
    deadline = time.monotonic() + 2 * bounds.time_s
    return _judge_until_it_ends(judge, bounds, replace(watch, of_the_grader=known), deadline)[0]


def _judge_until_it_ends(judge: Judge, bounds: Bounds, watch: Watch, deadline: float) -> tuple[GradingResult, Watch]:
    """Return a verdict and what has been learned on the way to it. Raises GraderError.

    A process that ends all of a sudden may have been killed by anybody: the same is tried again before it counts.
    """
    sudden: set[str] = set()
    while True:
        left_s = min(bounds.time_s, max(LEAST_S, deadline - time.monotonic()))
        try:
            return run_apart(_bind(judge, watch), GRADED, replace(bounds, time_s=left_s)), watch
        except ChildLost as lost:
            if lost.sudden and lost.part not in sudden:
                sudden.add(lost.part)
                continue
            if watch.all_lost:
                raise GraderError(LOST.format(how=lost)) from lost
            if lost.part in watch.lost or len(watch.lost) >= MOST_LOST:
                watch = replace(watch, all_lost=str(lost))
            watch = replace(watch, lost={**watch.lost, lost.part: str(lost)})


def _bind(judge: Judge, watch: Watch) -> Callable[[Callable[[str], None]], GradingResult]:
    return lambda begin: judge(replace(watch, begin=begin))


def list_faults(judge: Judge, bounds: Bounds) -> frozenset[str]:
    """Return the parts of judging that go wrong, or say nothing, for a submission that is known to be right.

    Raises GraderError.
    """
    graded, watch = _judge_until_it_ends(judge, bounds, Watch(), time.monotonic() + 2 * bounds.time_s)
    untold = (Verdict.ERROR, Verdict.NOT_JUDGED)
    return frozenset((*graded.suspects, *watch.lost, *(c.id for c in graded.result.checks if c.verdict in untold)))
