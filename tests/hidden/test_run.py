"""What the trainings read."""

from grader.case import Case
from grader.evidence import DataSeen, RowKeys
from grader.model import Method
from grader.oracle.exposure import FOREIGN_SHARE, KNOWN_SHARE, overlap
from grader.suite import Blocked, check, expect

NAMES = {Method.FULL: "Step 1", Method.HEAD: "Step 2", Method.LORA: "Step 3 (LoRA)"}
HINT = "Train on train.csv and evaluate on eval.csv; look at which of the two each Trainer gets."


@check("run.data", "Training and evaluation use their own reviews")
def test_data(case: Case) -> None:
    """Every training learns from the training reviews only, and is evaluated on the evaluation reviews only.

    A part of the training reviews that is held back from training serves as well, to choose the best epoch for example.
    """
    if not case.placed:
        raise Blocked("No training was seen.")
    for method, training in case.placed.items():
        learned, judged = share(case, training.data.train), share(case, training.data.eval)
        expect(
            learned is None or learned["eval"] <= FOREIGN_SHARE,
            f"{NAMES[method]} was to learn from training reviews only; "
            f"{(learned or {}).get('eval', 0):.0%} of what it read are evaluation reviews.",
            HINT,
        )
        expect(
            judged is None or judged["train"] <= FOREIGN_SHARE or held_back(training.data),
            f"{NAMES[method]} was to be evaluated on evaluation reviews; "
            f"{(judged or {}).get('train', 0):.0%} of them are training reviews.",
            HINT,
        )


def held_back(data: DataSeen) -> bool:
    """Whether the model was judged on reviews that it has not learned from, so far as the keys are complete."""
    learned, judged = data.train, data.eval
    if learned is None or judged is None or learned.kind != judged.kind or learned.rows > len(learned.keys):
        return False
    return overlap(learned.keys, judged.keys) <= FOREIGN_SHARE


def share(case: Case, seen: RowKeys | None) -> dict[str, float] | None:
    """Shares of known reviews, or None when they are not recognised."""
    if seen is None or not seen.keys:
        return None
    exposure = case.library.exposure(seen.kind, seen.keys)
    known = exposure.train + exposure.eval >= KNOWN_SHARE
    return {"train": exposure.train, "eval": exposure.eval} if known else None
