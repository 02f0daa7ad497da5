"""What staff are told of results that are not all of today's making: nobody shall take them for new."""

from collections.abc import Iterable, Sequence

from grader.batch.digests import EXECUTION, digest_execution, digest_judging
from grader.batch.history import REFUSED, HistoryEntry
from grader.paths import ROOT

UNKNOWN = "not noted"  # by older versions
SHOWN = 8  # characters of a digest
REDONE = "reports"  # are written again with every hand-out


def list_executed_before(entries: Iterable[HistoryEntry]) -> list[HistoryEntry]:
    """Those whose evidence was left by other code than today's. What was refused has none."""
    return [e for e in entries if e.status != REFUSED and e.depends.get(EXECUTION) != digest_execution(ROOT)]


def list_judged_before(entries: Iterable[HistoryEntry]) -> list[HistoryEntry]:
    """Those that were judged by other tests, points, thresholds or code than today's."""
    today = {name: digest for name, digest in digest_judging(ROOT).items() if name != REDONE}
    return [e for e in entries if e.status != REFUSED and any(e.depends.get(n) != d for n, d in today.items())]


def describe_outdated(entries: Sequence[HistoryEntry]) -> tuple[str, ...]:
    """Sentences about a class, from what was last said of each upload; none where all is of today."""
    executed, judged = list_executed_before(entries), list_judged_before(entries)
    notes = []
    if executed:
        codes = ", ".join(sorted({e.depends.get(EXECUTION, "")[:SHOWN] or UNKNOWN for e in executed}))
        verdicts = "their evidence is not today's" if judged else "their verdicts are today's, their evidence is not"
        notes.append(
            f"{len(executed)} of {len(entries)} uploads were executed by other code than today's "
            f"({codes}; today's is {digest_execution(ROOT)[:SHOWN]}): {verdicts}. "
            "Run `make batch` again to execute them."
        )
    if judged:
        notes.append(
            f"{len(judged)} of {len(entries)} uploads were judged by other tests, points or code than today's. "
            "Run `make rejudge` to judge them again."
        )
    return tuple(notes)
