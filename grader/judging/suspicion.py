"""Whether a person has to read a notebook before its checks count: it names the grader's code, or has changed it.

The kernel compares its own functions, and those that it relies on, with what they were before the first cell
(`kernel/integrity.py`). What a notebook does to the libraries that it trains with is told to staff and holds nothing
back: the work of each training is measured.
"""

from typing import Final

from grader.evidence.reader import Evidence
from grader.execution.admission import Suspicion
from grader.judging.case import Case
from grader.judging.tampering import find_tampering
from grader.model import Method

STEPS: Final = {Method.FULL: "step1", Method.HEAD: "step2", Method.LORA: "step3"}
ABOUT_TRAINING: Final = ("trainable_parameters", "trained", "encoder_untouched", "certificate", "accuracy")


def find_intrusions(evidence: Evidence) -> list[str]:
    """Return a sentence for each reason why checks that passed wait for a person."""
    changed = (f"The notebook has changed the grader's code in its process: {s.words}." for s in _list(evidence, True))
    return [*find_tampering(evidence.sources), *changed]


def find_drifts(case: Case) -> list[str]:
    """Return a sentence for each training whose weights look made up, so that what passed of it waits for a person."""
    return [
        f"The training that is judged as {method.value} may be made up, or may have trained nothing: {why}."
        for method, why in case.drifts.items()
    ]


def rests_on(check_id: str, method: Method) -> bool:
    """Return True for a check that looks at what the training of a method did."""
    step, _, name = check_id.partition(".")
    return step == "run" or (step == STEPS[method] and name in ABOUT_TRAINING)


def find_changes(evidence: Evidence) -> list[str]:
    """Return a sentence for each function of a library that the notebook has replaced."""
    return [f"The notebook has changed a library: {s.words}." for s in _list(evidence, False)]


def _list(evidence: Evidence, of_witness: bool) -> list[Suspicion]:
    return [suspicion for suspicion in evidence.run.suspicions if suspicion.witness is of_witness]
