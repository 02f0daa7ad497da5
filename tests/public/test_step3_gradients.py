"""Step 3: how gradients pass through a LoRA layer."""

from collections.abc import Sequence

from torch import Tensor

from grader.challenges import LoraChallenge
from grader.judging import places
from grader.judging.case import Case
from grader.judging.lora_answers import compute_expected_base, expect_stage, list_answers, observed_scale, round_input
from grader.judging.lora_causes import explain_gradients, explain_no_learning
from grader.judging.suite import Blocked, check, expect, fail, join_words
from grader.model import Method
from grader.oracle import lora
from grader.oracle.mistakes.backward import BOTH_ZERO, DIRECTLY, THROUGH_W
from grader.oracle.mistakes.causes import first_hint, join_causes
from grader.protocol.records import LoraItem


@check(
    "step3.lora_gradients",
    "Gradients reach A and B, and the layers below",
    requires=("step3.lora_construct",),
    about=places.find_gradient_cut,
)
def test_lora_gradients(case: Case) -> None:
    """Backpropagation gives A and B the right gradients: in a fresh layer at least the one that is zero, later both.

    It also gives x its gradient, through W as well as through A and B: the adapters of the layers below need it.
    """
    for challenge, item in list_answers(case):
        if not item.shapes:
            raise Blocked(
                f"{challenge} has no trainable parameters, so there are no gradients to check.",
                "Make “A and B are registered as parameters” pass first.",
            )
        expect_stage(case, challenge, item, "filled", "the forward or backward pass")
        fresh, filled = gradients(case, challenge.key, "fresh"), gradients(case, challenge.key, "filled")
        if not all(filled) and not vanish_at_rank_1_alone(case, challenge):
            cause = explain_gradients(case)
            fail(
                f"Expected gradients for A and B of {challenge}; {filled.count(False)} of {len(filled)} tensors have "
                f"none{f': {cause.words}' if cause else ''}.",
                cause.hint if cause else DIRECTLY,
            )
        if not any(fresh):
            causes = explain_no_learning(case)
            fail(
                f"Expected a gradient for A or B of a fresh {challenge}; all gradients are zero, so nothing is learned"
                f"{f': {join_causes(causes)}' if causes else ''}.",
                first_hint(causes, BOTH_ZERO.hint),
            )
        expect_different_starts(case, challenge)
        expect_gradient_of_input(case, challenge)
    answers = list(list_answers(case))
    if all(observed_scale(case, challenge, item) is not None for challenge, item in answers):
        for challenge, item in answers:
            expect_right_gradients(case, challenge, item)
        expect_right_gradients_in_model(case)


def expect_different_starts(case: Case, challenge: LoraChallenge) -> None:
    """Fail the check where all rows of A (or columns of B) start alike: they stay alike, and the update has rank 1."""
    names = (f"{challenge.key}.fresh_gradient{i}" for i in range(2))
    found = [case.evidence.lora_tensors.get(name) for name in names]
    moving = [tensor for tensor in found if tensor is not None and bool(tensor.any())]
    alike = len(moving) == 1 and any(map(has_one_row, (moving[0], moving[0].T)))
    expect(
        challenge.rank == 1 or not alike,
        f"Expected the matrix of {challenge} that is not zero to start with different values; its {challenge.rank} "
        "rows or columns are all alike. They get the same gradients, so the update never has more than rank 1.",
        "Start one of A and B at zero, and the other one with random values: `nn.init.normal_` or "
        "`nn.init.kaiming_uniform_`.",
        at=places.find_constant_start,
    )


def has_one_row(matrix: Tensor) -> bool:
    """Whether all rows of a matrix are the same, up to rounding."""
    if matrix.ndim != 2 or len(matrix) == 1:
        return False
    spread = (matrix - matrix[:1]).abs().max()
    return bool(spread <= 1e-5 * matrix.abs().max())


def vanish_at_rank_1_alone(case: Case, challenge: LoraChallenge) -> bool:
    """Whether a single value between A and B becomes a constant, as in a softmax: `step3.lora_forward` says so."""
    wider = [other for other, _ in list_answers(case) if other.rank > 1]
    return challenge.rank == 1 and bool(wider) and all(all(gradients(case, other.key, "filled")) for other in wider)


def expect_right_gradients_in_model(case: Case) -> None:
    """Fail the check where adapters of the model that step 3 trains get a gradient that its weights do not explain."""
    fit = case.gradient_fit(Method.LORA)
    if fit is not None and fit.output_agrees:
        expect(
            not fit.wrong_adapters or case.adapts_layers_of_step_1,  # then the certificate says so
            f"Expected the gradients of A and B to be right in all {len(fit.adapter_errors)} wrapped layers when the "
            f"training of step 3 starts; they are not in {len(fit.wrong_adapters)} of them, for example "
            f"`{(fit.wrong_adapters or ('',))[0]}`.",
            THROUGH_W,
        )


def expect_gradient_of_input(case: Case, challenge: LoraChallenge) -> None:
    """Fail the check where the gradient does not pass through W, in a layer that computes W(x) as it should."""
    observed = case.evidence.lora_tensors.get(f"{challenge.key}.emptied_training_input_gradient")
    if observed is None or not computes_base(case, challenge):
        return
    cotangent, weight = (round_input(case, challenge, name) for name in ("cotangent", "weight"))
    expect(
        bool(observed.any()),
        f"Expected {challenge} to pass a gradient on to the layers below; none passes through W, so the adapters of "
        "lower layers get wrong gradients.",
        THROUGH_W,
    )
    expect(
        lora.gradients_agree(observed, lora.compute_input_gradient(cotangent, weight), challenge),
        f"Expected the gradient of x in {challenge} to pass through W unchanged; it is another one.",
        THROUGH_W,
    )


def computes_base(case: Case, challenge: LoraChallenge) -> bool:
    """Whether the path through W is right: if not, `step3.lora_fresh` says so."""
    base = compute_expected_base(case, challenge)
    observed = (case.evidence.lora_tensors.get(f"{challenge.key}.{name}") for name in ("emptied", "fresh_training"))
    allowed = 2 * lora.compute_tolerance(challenge, float(base.abs().max()))
    return all(
        found is not None and found.shape == base.shape and float((found.double() - base).abs().max()) <= allowed
        for found in observed
    )


def expect_right_gradients(case: Case, challenge: LoraChallenge, item: LoraItem) -> None:
    """Fail the check where a layer with the right output, up to a factor, has gradients that are not its own.

    Where the output is another one, `step3.lora_forward` says so, and no gradient can be expected.
    """
    scale = observed_scale(case, challenge, item)
    if scale is None or not computes_base(case, challenge):
        return
    x, cotangent, weight, fill = (round_input(case, challenge, name) for name in ("x", "cotangent", "weight", "fill"))
    expected = lora.list_expected_gradients(x, cotangent, weight, lora.split(fill, item.shapes), scale, challenge)
    observed = [get_gradient(case, challenge, name) for name in ("input_gradient", "gradient0", "gradient1")]
    if all(gradient is not None for gradient in observed):
        wrong = min((find_wrong(observed, right, challenge) for right in expected), key=len, default=[])
        if wrong:
            cause = explain_gradients(case)
            fail(
                f"Expected the gradients of {challenge} to be those of W(x) + (alpha / rank) · B(A(x)); "
                f"{join_words(wrong)} {'has another one' if len(wrong) == 1 else 'have others'}"
                f"{f': {cause.words}' if cause else ''}.",
                cause.hint if cause else DIRECTLY,
            )


def get_gradient(case: Case, challenge: LoraChallenge, name: str) -> Tensor | None:
    """The gradient of a filled layer; None where evidence of earlier runs lacks it."""
    return case.evidence.lora_tensors.get(f"{challenge.key}.filled_{name}")


def find_wrong(observed: Sequence[Tensor | None], expected: lora.Gradients, challenge: LoraChallenge) -> list[str]:
    """Which of x and the two tensors of the adapter has a wrong gradient."""
    named = zip(("x", "A or B", "A or B"), observed, (expected.input, *expected.adapter), strict=True)
    wrong = [name for name, o, e in named if o is None or not lora.gradients_agree(o, e, challenge)]
    return list(dict.fromkeys(wrong))


def gradients(case: Case, key: str, name: str) -> list[bool]:
    """For each trainable tensor, whether its gradient is finite and not zero."""
    found: list[bool] = []
    while (tensor := case.evidence.lora_tensors.get(f"{key}.{name}_gradient{len(found)}")) is not None:
        found.append(bool(tensor.isfinite().all() and tensor.any()))
    return found
