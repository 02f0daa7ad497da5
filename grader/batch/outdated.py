"""Notes for staff about results that an older version of the grader made, so that nobody takes them for new."""

from collections.abc import Iterable, Sequence

from grader.batch.digests import EXECUTION, digest_execution, digest_judging
from grader.batch.history import HistoryEntry
from grader.paths import ROOT

UNKNOWN = "not recorded"  # by older versions
SHOWN = 8  # characters of a digest
REDONE = "reports"  # are written again with every hand-out


def list_executed_before(entries: Iterable[HistoryEntry]) -> list[HistoryEntry]:
    """List those whose evidence comes from older code. A refusal has no evidence."""
    return [e for e in entries if not e.is_refused and e.depends.get(EXECUTION) != digest_execution(ROOT)]


def list_judged_before(entries: Iterable[HistoryEntry]) -> list[HistoryEntry]:
    """List those that were judged by other tests, points, thresholds or code than today's."""
    today = {name: digest for name, digest in digest_judging(ROOT).items() if name != REDONE}
    return [e for e in entries if not e.is_refused and any(e.depends.get(n) != d for n, d in today.items())]


def describe_outdated(entries: Sequence[HistoryEntry]) -> tuple[str, ...]:
    """Describe what is outdated in a class, given the last entry of each upload; nothing if all is up to date."""
    executed, judged = list_executed_before(entries), list_judged_before(entries)
    notes = []
    if executed:
        codes = ", ".join(sorted({e.depends.get(EXECUTION, "")[:SHOWN] or UNKNOWN for e in executed}))
        verdicts = "" if judged else " Their verdicts are up to date, their evidence is not."
        notes.append(
            f"{len(executed)} of {len(entries)} uploads were executed by older code (version {codes}; now "
            f"{digest_execution(ROOT)[:SHOWN]}).{verdicts} Run `make batch` again to execute them."
        )
    if judged:
        notes.append(
            f"{len(judged)} of {len(entries)} uploads were judged by other tests, points or code than today's. "
            "Run `make rejudge` to judge them again."
        )
    return tuple(notes)
