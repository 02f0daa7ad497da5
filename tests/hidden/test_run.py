"""What the trainings read."""

from grader.judging import places
from grader.judging.case import Case
from grader.judging.suite import Advice, Blocked, check, expect, join_words
from grader.model import Method, Profile
from grader.oracle.exposure import ENOUGH_SHARE, FOREIGN_SHARE, KNOWN_SHARE, is_held_back
from grader.protocol.records import Training

NAMES = {Method.FULL: "step 1", Method.HEAD: "step 2", Method.LORA: "step 3 (LoRA)"}
FEW_TOKENS = 32  # of the longest review: half a sentence or two; whoever saves time cuts at 64 or more
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
            at=places.find_data(method, "train_dataset"),
        )
        expect(
            judged is None or judged.train <= FOREIGN_SHARE or is_held_back(training.data.train, training.data.eval),
            f"Expected {NAMES[method]} to be evaluated on evaluation reviews; "
            f"{judged.train if judged else 0:.0%} of the reviews that it is evaluated on are training reviews.",
            HINT,
            at=places.find_data(method, "eval_dataset"),
        )
        expect_enough(case, method, training)
    advise_on_evaluation(case)
    advise_on_labels(case)
    advise_on_masks(case)
    advise_on_lengths(case)


def expect_enough(case: Case, method: Method, training: Training) -> None:
    """Fail the check where a model learns from a small part of the training reviews, or is judged on one of the others.

    A notebook may evaluate on few reviews, or on some of the training reviews, while it trains: what it evaluates on
    afterwards counts as well.
    """
    wanted = case.library.count_rows()
    learned = training.data.train
    expect(
        learned is None or learned.rows >= ENOUGH_SHARE * wanted["train"],
        f"Expected {NAMES[method]} to train on all {wanted['train']:,} training reviews; it trains on "
        f"{learned.rows if learned else 0:,}.",
        "Give the `Trainer` the whole training section; a small part is for trying things out.",
        at=places.find_data(method, "train_dataset"),
    )
    judged = [seen for seen in (training.data.eval, *training.evaluations) if seen is not None]
    most = max((seen.rows for seen in judged), default=None)
    elsewhere = None in training.evaluations  # on reviews that nobody could read
    expect(
        elsewhere or most is None or most >= ENOUGH_SHARE * wanted["eval"],
        f"Expected {NAMES[method]} to be evaluated on all {wanted['eval']:,} evaluation reviews; at most {most or 0:,} "
        "are used.",
        "Give the `Trainer` the whole evaluation section.",
        at=places.find_data(method, "eval_dataset"),
    )
    known = [found for seen in judged if (found := case.library.recognise(seen))]
    expect(
        elsewhere or not known or len(known) < len(judged) or any(found.train <= KNOWN_SHARE for found in known),
        f"Expected {NAMES[method]} to be evaluated on the reviews of eval.csv; it is evaluated on reviews of train.csv "
        "only.",
        "Keep a part of train.csv for choosing an epoch if you like, and evaluate on eval.csv at the end.",
        at=places.find_evaluated(method),
    )


def advise_on_evaluation(case: Case) -> None:
    """Say, at no cost, that no model is evaluated: the handout asks to compare the accuracies of the three methods."""
    trainings = case.placed.values()
    if not any(training.data.eval or training.evaluations for training in trainings):
        raise Advice(
            "The trainings read the right reviews, but no model is evaluated, so the three methods cannot be compared.",
            "Give the `Trainer` `eval_dataset` and `compute_metrics`, or call `trainer.evaluate()` after the training.",
        )


def advise_on_labels(case: Case) -> None:
    """Say, where accuracy is not judged, that a training learns from labels that are not those of its reviews."""
    if case.profile is not Profile.STRUCTURE:
        return
    foreign = {method: share for method in case.placed if (share := case.measure_foreign_labels(method)) is not None}
    if foreign:
        raise Advice(
            f"The reviews are the right ones, but {max(foreign.values()):.0%} of the labels in "
            f"{join_words([NAMES[m] for m in foreign])} are not those of train.csv. A longer run, which "
            "judges accuracy, takes points for that.",
            "Keep each review together with its label when you shuffle, select or map the rows.",
        )


def advise_on_masks(case: Case) -> None:
    """Say, at no cost, that a model reads padding as if it were words."""
    unmasked = [NAMES[m] for m, training in case.placed.items() if training.batch and not training.batch.masked]
    if unmasked:
        raise Advice(
            f"The reviews are the right ones, but no attention mask reaches the model in {join_words(unmasked)}, so it "
            "reads padding as if it were words. This costs no points.",
            "Keep the column `attention_mask` that the tokenizer returns.",
        )


def advise_on_lengths(case: Case) -> None:
    """Say, at no cost here, that a model gets to read the first words of each review only."""
    longest = {method: training.batch.tokens for method, training in case.placed.items() if training.batch}
    short = {method: tokens for method, tokens in longest.items() if tokens < FEW_TOKENS}
    if short:
        raise Advice(
            f"The reviews are the right ones, but {join_words([NAMES[m] for m in short])} reads at most the first "
            f"{max(short.values())} tokens of each. What a review says mostly comes later.",
            "Cut at the 512 tokens that the model can read, or at 128 to save time: `max_length` of the tokenizer.",
        )
