"""What students do not see of step 3: what becomes of W in a training."""

from torch import Tensor

from grader.challenges import ROWS, LoraChallenge
from grader.judging import places
from grader.judging.case import Case
from grader.judging.lora_answers import (
    expect_stage,
    get_answer,
    list_castable_answers,
    round_input,
)
from grader.judging.suite import check, expect
from grader.oracle import lora
from grader.oracle.mistakes.backward import W_TRAINABLE
from grader.oracle.mistakes.special import W_WRITTEN


@check("step3.lora_frozen", "W stays unchanged and frozen", requires=("step3.lora_construct",), about=places.find_base)
def test_lora_frozen(case: Case) -> None:
    """A training step changes A and B. W keeps its values and is not trainable."""
    for challenge, item in list_castable_answers(case):
        whole = (challenge.out_features, challenge.in_features)
        expect(
            not item.linear_trainable,
            f"Expected W to be frozen in {challenge}; {W_TRAINABLE.words}.",
            W_TRAINABLE.hint,
        )
        expect_stage(case, challenge, item, "trained", "a training step")
        expect(
            is_unchanged(case, challenge, get_answer(case, challenge, "weight_after", whole)),
            f"Expected W.weight to keep its values in a training step of {challenge}; {W_WRITTEN.words}.",
            W_WRITTEN.hint,
        )
        if not item.shapes:  # A and B cannot be emptied, so the path through W cannot be seen alone
            continue
        path = get_answer(case, challenge, "trained", (ROWS, challenge.out_features))
        emptied = get_answer(case, challenge, "emptied", (ROWS, challenge.out_features))
        allowed = 2 * lora.compute_tolerance(challenge, float(emptied.abs().max()))
        expect(
            float((path - emptied).abs().max()) <= allowed,
            f"Expected W(x) to stay the same in a training step of {challenge}; it changes.",
            "Do not write to W in `forward`, and use no trainable copy of it.",
        )


def is_unchanged(case: Case, challenge: LoraChallenge, weight: Tensor) -> bool:
    """Whether W is as before, but for the rounding of an update that was added to it and taken off again."""
    before, fill = (round_input(case, challenge, name) for name in ("weight", "fill"))
    added = challenge.alpha * float(fill.abs().max()) ** 2  # no number in (alpha / rank) · B A is larger
    allowed = lora.SAFETY * lora.ROUNDOFF[challenge.dtype] * (float(before.abs().max()) + added)
    return float((weight - before).abs().max()) <= allowed
