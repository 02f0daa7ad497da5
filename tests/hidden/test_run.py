"""What the trainings read."""

from grader.judging.case import Case
from grader.judging.suite import Blocked, check, expect
from grader.model import Method
from grader.oracle.exposure import FOREIGN_SHARE, is_held_back

NAMES = {Method.FULL: "step 1", Method.HEAD: "step 2", Method.LORA: "step 3 (LoRA)"}
HINT = "Give each `Trainer` the reviews of train.csv as `train_dataset` and those of eval.csv as `eval_dataset`."


@check("run.data", "Every training and evaluation uses the right reviews")
def test_data(case: Case) -> None:
    """Every training learns from training reviews only, and every model is evaluated on evaluation reviews only.

    Training reviews that are held back from training are fine for evaluation too, to choose the best epoch for example.
    """
    if not case.placed:
        raise Blocked(
            "The notebook trains no model, so there are no reviews to check.",
            "Make “The notebook runs from top to bottom” pass first.",
        )
    for method, training in case.placed.items():
        learned, judged = map(case.library.recognise, (training.data.train, training.data.eval))
        expect(
            learned is None or learned.eval <= FOREIGN_SHARE,
            f"Expected {NAMES[method]} to train on training reviews only; "
            f"{learned.eval if learned else 0:.0%} of the reviews that it trains on are evaluation reviews.",
            HINT,
        )
        expect(
            judged is None or judged.train <= FOREIGN_SHARE or is_held_back(training.data.train, training.data.eval),
            f"Expected {NAMES[method]} to be evaluated on evaluation reviews; "
            f"{judged.train if judged else 0:.0%} of the reviews that it is evaluated on are training reviews.",
            HINT,
        )
