"""What the trainings read."""

from grader.judging.case import Case
from grader.judging.suite import Blocked, check, expect
from grader.model import Method
from grader.oracle.exposure import FOREIGN_SHARE, is_held_back

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
        learned, judged = map(case.library.recognise, (training.data.train, training.data.eval))
        expect(
            learned is None or learned.eval <= FOREIGN_SHARE,
            f"{NAMES[method]} was to learn from training reviews only; "
            f"{learned.eval if learned else 0:.0%} of what it read are evaluation reviews.",
            HINT,
        )
        expect(
            judged is None or judged.train <= FOREIGN_SHARE or is_held_back(training.data.train, training.data.eval),
            f"{NAMES[method]} was to be evaluated on evaluation reviews; "
            f"{judged.train if judged else 0:.0%} of them are training reviews.",
            HINT,
        )
