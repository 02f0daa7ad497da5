"""What students do not see of step 3: identity of the extracted layers, W itself, gradients."""

from grader.challenges import ROWS
from grader.judging.case import Case
from grader.judging.lora_answers import expect_stage, get_answer, list_answers, list_castable_answers, round_input
from grader.judging.suite import Blocked, check, expect
from grader.oracle import lora

HINT = "Return the `nn.Linear` layers of the model that is passed in: no copies, no other model. Wrap them afterwards."


@check("step3.extract_modules", "extract_qv_layers returns the layers themselves")
def test_extract_modules(case: Case) -> None:
    """The values are the `nn.Linear` objects in the model that is passed in: no copies and no weights."""
    answers = case.evidence.extract
    items = answers.items if answers else ()
    if not any(item.entries for item in items):
        raise Blocked(
            "`extract_qv_layers` returns no layers that this check can look at.",
            "Make “extract_qv_layers finds the query and value layers” pass first.",
        )
    for entry in (entry for item in items for entry in item.entries):
        expect(
            entry.linear,
            "Expected each value that `extract_qv_layers` returns to be an `nn.Linear` of the model that is passed in; "
            f"the value of {entry.name!r} has type {entry.type}.",
            HINT,
        )
        expect(
            entry.place is not None,
            "Expected each value that `extract_qv_layers` returns to be a layer of the model that is passed in; "
            f"the value of {entry.name!r} is a copy, or a layer of another model.",
            HINT,
        )


@check("step3.lora_frozen", "W stays unchanged and frozen", requires=("step3.lora_construct",))
def test_lora_frozen(case: Case) -> None:
    """A training step changes A and B. W keeps its values and is not trainable."""
    for challenge, item in list_castable_answers(case):
        whole = (challenge.out_features, challenge.in_features)
        expect(
            not item.linear_trainable,
            f"Expected W to be frozen in {challenge}; W, or a copy of it, is trainable.",
            "Keep W frozen, as it is when it is passed in: only A and B are trainable.",
        )
        expect_stage(challenge, item, "trained", "a training step")
        before = round_input(case, challenge, "weight")
        expect(
            bool((get_answer(case, challenge, "weight_after", whole) == before).all()),
            f"Expected W.weight to keep its values in a training step of {challenge}; it changes.",
            "Do not write to W in `forward`.",
        )
        path = get_answer(case, challenge, "trained", (ROWS, challenge.out_features))
        emptied = get_answer(case, challenge, "emptied", (ROWS, challenge.out_features))
        allowed = 2 * lora.compute_tolerance(challenge, float(emptied.abs().max()))
        expect(
            float((path - emptied).abs().max()) <= allowed,
            f"Expected W(x) to stay the same in a training step of {challenge}; it changes.",
            "Do not write to W in `forward`, and use no trainable copy of it.",
        )


@check("step3.lora_gradients", "Gradients reach A and B", requires=("step3.lora_construct",))
def test_lora_gradients(case: Case) -> None:
    """Backpropagation gives A and B a gradient: in a fresh layer at least the one that is zero, later both."""
    for challenge, item in list_answers(case):
        if not item.shapes:
            raise Blocked(
                f"{challenge} has no trainable parameters, so there are no gradients to check.",
                "Make “A and B are registered as parameters” pass first.",
            )
        expect_stage(challenge, item, "filled", "the forward or backward pass")
        fresh, filled = gradients(case, challenge.key, "fresh"), gradients(case, challenge.key, "filled")
        expect(
            all(filled),
            f"Expected gradients for A and B of {challenge}; {filled.count(False)} of {len(filled)} tensors have none.",
            "Compute the output from A and B directly: without `detach()`, `torch.no_grad()` and `.data`.",
        )
        expect(
            any(fresh),
            f"Expected a gradient for A or B of a fresh {challenge}; all gradients are zero, so nothing is learned: "
            "both A and B start at zero.",
            "Start only one of A and B at zero, and the other with random values.",
        )


def gradients(case: Case, key: str, name: str) -> list[bool]:
    """For each trainable tensor, whether its gradient is finite and not zero."""
    found: list[bool] = []
    while (tensor := case.evidence.lora_tensors.get(f"{key}.{name}_gradient{len(found)}")) is not None:
        found.append(bool(tensor.isfinite().all() and tensor.any()))
    return found
