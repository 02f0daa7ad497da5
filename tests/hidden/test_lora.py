"""What students do not see of step 3: identity of the extracted layers, W itself, gradients."""

from grader.challenges import ROWS
from grader.judging.case import Case
from grader.judging.lora_answers import expect_stage, get_answer, list_answers, list_castable_answers, round_input
from grader.judging.suite import Blocked, check, expect
from grader.oracle import lora

HINT = "Return the layers themselves, not copies, and of the argument, not of another model; wrap them afterwards."


@check("step3.extract_modules", "extract_qv_layers returns the model's own layers")
def test_extract_modules(case: Case) -> None:
    """The values are the very `nn.Linear` objects in the model that was passed in, no copies and no weights."""
    answers = case.evidence.extract
    items = answers.items if answers else ()
    if not any(item.entries for item in items):
        raise Blocked("extract_qv_layers returned no layers.")
    for entry in (entry for item in items for entry in item.entries):
        expect(
            entry.linear,
            f"Each value was to be an nn.Linear of the model that is passed in; under {entry.name!r} there is a "
            f"{entry.type}.",
            HINT,
        )
        expect(
            entry.place is not None,
            "Each value was to be a layer of the model that is passed in; "
            f"the one under {entry.name!r} is a copy, or of another model.",
            HINT,
        )


@check("step3.lora_frozen", "W is kept and not trained", requires=("step3.lora_construct",))
def test_lora_frozen(case: Case) -> None:
    """A step of training changes A and B; W keeps its values and is not trainable."""
    for challenge, item in list_castable_answers(case):
        whole = (challenge.out_features, challenge.in_features)
        expect(
            not item.linear_trainable,
            f"For {challenge}, W was to stay frozen inside the layer; W, or a copy of it, is trainable there.",
            "W is frozen when it is passed in: leave it so, and let A and B be the only trainable parameters.",
        )
        expect_stage(challenge, item, "trained", "in a training step")
        before = round_input(case, challenge, "weight")
        expect(
            bool((get_answer(case, challenge, "weight_after", whole) == before).all()),
            f"For {challenge}, W's weight was to keep its values through training; it changed.",
            "Do not write to W in forward.",
        )
        path = get_answer(case, challenge, "trained", (ROWS, challenge.out_features))
        emptied = get_answer(case, challenge, "emptied", (ROWS, challenge.out_features))
        allowed = 2 * lora.compute_tolerance(challenge, float(emptied.abs().max()))
        expect(
            float((path - emptied).abs().max()) <= allowed,
            f"For {challenge}, the path through W was to stay the same through training; it changed.",
            "Do not write to W in forward.",
        )


@check("step3.lora_gradients", "Gradients reach the adapter", requires=("step3.lora_construct",))
def test_lora_gradients(case: Case) -> None:
    """Backpropagation reaches A and B: in a fresh layer the one that is zero, later both."""
    for challenge, item in list_answers(case):
        if not item.shapes:
            raise Blocked("The layer has no trainable tensors.")
        expect_stage(challenge, item, "filled", "in its forward or backward pass")
        fresh, filled = gradients(case, challenge.key, "fresh"), gradients(case, challenge.key, "filled")
        expect(
            all(filled),
            f"For {challenge}, gradients were to reach both A and B; {filled.count(False)} of {len(filled)} tensors "
            "got none.",
            "Keep both on the path from x to y: no detach(), no torch.no_grad(), no .data.",
        )
        expect(
            any(fresh),
            f"For {challenge}, a gradient was to reach A or B of a fresh layer; all are zero, so nothing can be "
            "learned: both A and B start at zero, and each blocks the other's gradient.",
            "Start only one of them at zero.",
        )


def gradients(case: Case, key: str, name: str) -> list[bool]:
    """For each trainable tensor, whether its gradient is finite and not zero."""
    found = []
    while (tensor := case.evidence.lora_tensors.get(f"{key}.{name}_gradient{len(found)}")) is not None:
        found.append(bool(tensor.isfinite().all() and tensor.any()))
    return found
