"""Whether a person has to read a notebook before its checks count: it names the grader's code, or has changed it.

The kernel compares its own functions, and those that it relies on, with what they were before the first cell
(`kernel/integrity.py`). What a notebook does to the libraries that it trains with is told to staff and holds nothing
back: the work of each training is measured.
"""

from grader.evidence.reader import Evidence
from grader.execution.admission import Suspicion
from grader.judging.tampering import find_tampering


def find_intrusions(evidence: Evidence) -> list[str]:
    """Return a sentence for each reason why checks that passed wait for a person."""
    changed = (f"The notebook has changed the grader's code in its process: {s.words}." for s in _list(evidence, True))
    return [*find_tampering(evidence.sources), *changed]


def find_changes(evidence: Evidence) -> list[str]:
    """Return a sentence for each function of a library that the notebook has replaced."""
    return [f"The notebook has changed a library: {s.words}." for s in _list(evidence, False)]


def _list(evidence: Evidence, of_witness: bool) -> list[Suspicion]:
    return [suspicion for suspicion in evidence.run.suspicions if suspicion.witness is of_witness]
