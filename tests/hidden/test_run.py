"""What the trainings read."""

from grader.case import Case
from grader.evidence import RowKeys
from grader.oracle.exposure import FOREIGN_SHARE, KNOWN_SHARE
from grader.suite import Blocked, check, expect

HINT = "Train on train.csv and evaluate on eval.csv; look at which of the two each Trainer gets."


@check("run.data", "Training and evaluation use their own reviews")
def test_data(case: Case) -> None:
    """Every training learns from the training reviews only, and is evaluated on the evaluation reviews only."""
    if not case.placed:
        raise Blocked("No training was seen.")
    for method, training in case.placed.items():
        learned, judged = share(case, training.data.train), share(case, training.data.eval)
        expect(learned is None or learned["eval"] <= FOREIGN_SHARE,
               f"The {method.value} training was to learn from training reviews only; "
               f"{(learned or {}).get('eval', 0):.0%} of what it read are evaluation reviews.", HINT)
        expect(judged is None or judged["train"] <= FOREIGN_SHARE,
               f"The {method.value} training was to be evaluated on evaluation reviews; "
               f"{(judged or {}).get('train', 0):.0%} of them are training reviews.", HINT)


def share(case: Case, seen: RowKeys | None) -> dict[str, float] | None:
    """Shares of known reviews, or None when they are not recognised."""
    if seen is None or not seen.keys:
        return None
    exposure = case.library.exposure(seen.kind, seen.keys)
    known = exposure.train + exposure.eval >= KNOWN_SHARE
    return {"train": exposure.train, "eval": exposure.eval} if known else None
