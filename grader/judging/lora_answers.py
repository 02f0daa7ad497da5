"""A LoRA layer's answers to its challenges, in the form that checks compare. Used by public and hidden checks."""

import re
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from grader.challenges import LoraChallenge
from grader.evidence.raised import describe_error
from grader.judging.case import Case
from grader.judging.suite import Blocked, expect, fail, name_type
from grader.oracle import lora
from grader.oracle.mistakes import raised
from grader.oracle.mistakes.causes import Cause
from grader.oracle.mistakes.raised import Failure
from grader.protocol.records import LoraItem

MERGED: Final = Cause(
    "flattened",
    "the batch and token dimensions are merged",
    "Accept x of shape (batch, in) and of shape (batch, tokens, in), and change only the last dimension.",
)
RETURN: Final = "End `forward` with `return`, followed by the sum of W(x) and the update."
Answer = tuple[LoraChallenge, LoraItem]

OWN_PRECISION: Final = "float32"  # of the assignment's model
# How PyTorch says that the tensors of one operation differ in precision. It has a sentence for every operation.
MIXED_PRECISIONS: Final = re.compile("d(ata)?type|scalar type|output type|type .* should be the same")


def list_castable_answers(case: Case) -> Iterator[Answer]:
    """Return the answers that say something about a layer's arithmetic.

    A layer that does not register its tensors cannot be moved to another precision: `step3.lora_registered` says so,
    and its other answers are judged in the precision that layers are made in.
    """
    return (answer for answer in list_answers(case) if answer[1].shapes or answer[0].dtype == OWN_PRECISION)


def list_answers(case: Case) -> Iterator[Answer]:
    """Return the graded challenges with the layer's answers.

    A layer may name float32 in its code. It is right in the assignment's model and cannot be asked in another
    precision: then its answers in float32, which cover every rank, scale and bias, are all that is judged.
    """
    items = {item.key: item for item in (case.evidence.lora.items if case.evidence.lora else ())}
    answers = [(c, items[c.key]) for c in case.challenges.lora if c.graded and c.key in items]
    own = [item for challenge, item in answers if challenge.dtype == OWN_PRECISION]
    works = bool(own) and all(item.error is None for item in own)
    return (answer for answer in answers if not (works and _mixes_precisions(answer[1])))


def _mixes_precisions(item: LoraItem) -> bool:
    return item.error is not None and MIXED_PRECISIONS.search(item.error.message) is not None


def get_answer(case: Case, challenge: LoraChallenge, name: str, shape: tuple[int, ...]) -> Tensor:
    """Return an answer of the layer; fail the check when it is missing, not finite or of another shape."""
    tensor = case.evidence.lora_tensors.get(f"{challenge.key}.{name}")
    if tensor is None:
        raise Blocked(
            f"{challenge} returns no output that this check can look at.",
            "Make the other checks of `LoRALayer` pass first.",
        )
    merged = len(shape) == 3 and tuple(tensor.shape) == (shape[0] * shape[1], shape[2])
    expect(
        tuple(tensor.shape) == shape,
        f"Expected an output of shape {shape} from {challenge}; found shape {tuple(tensor.shape)}"
        f"{f': {MERGED.words}' if merged else ''}.",
        MERGED.hint,
    )
    expect(
        bool(tensor.isfinite().all()),
        f"Expected finite numbers from {challenge}; the output contains NaN or infinity.",
        "Initialise all numbers of A and B: `torch.empty` leaves arbitrary values in them.",
    )
    return tensor.double()


def explain_error(case: Case) -> Cause | None:
    """Return what explains the errors that the layer raises, in all challenges that raise one."""
    answers = list(list_answers(case))
    name = case.evidence.lora.found or "" if case.evidence.lora else ""
    failures = [Failure(c, item.error, name) for c, item in answers if item.error is not None]
    return raised.explain(failures, not any(item.error for c, item in answers if c.bias))


def name_error(case: Case) -> str:
    """Return the cause of the layer's errors in brackets, if one explains them all."""
    cause = explain_error(case)
    return f" ({cause.words})" if cause else ""


def hint_on_error(case: Case, otherwise: str) -> str:
    """Return what to try about the layer's errors."""
    cause = explain_error(case)
    return cause.hint if cause else otherwise


def expect_stage(case: Case, challenge: LoraChallenge, item: LoraItem, stage: str, doing: str) -> None:
    """Fail when the layer raises an error at this stage (`doing`: its name), block when it fails before it."""
    if stage in item.finished:
        return
    if item.stage == stage and (kind := raised.find_returned(item.error)):
        fail(f"Expected {doing} of {challenge} to return a tensor; it returns {name_type(kind)}.", RETURN)
    if item.stage == stage:
        fail(
            f"Expected {doing} of {challenge} to work; it raises {describe_error(item.error)}{name_error(case)}.",
            hint_on_error(case, "Try it alone: `LoRALayer(nn.Linear(8, 8), rank=2, alpha=4)(torch.randn(3, 8))`."),
        )
    if kind := raised.find_returned(item.error):
        raise Blocked(f"This check cannot run, because {challenge} returns {name_type(kind)}.", RETURN)
    raise Blocked(
        f"This check cannot run, because another call of {challenge} raises {describe_error(item.error)}.",
        "Fix that error first; this check then runs.",
    )


def round_input(case: Case, challenge: LoraChallenge, name: str) -> Tensor:
    """Return a tensor of the challenge as the layer saw it, in the challenge's precision, as float64."""
    given = case.challenges.lora_tensors[f"{challenge.key}.{name}"]
    return given.to(getattr(torch, challenge.dtype)).double()


def compute_expected_base(case: Case, challenge: LoraChallenge) -> Tensor:
    """Compute W(x) in float64."""
    x, weight, bias = (round_input(case, challenge, name) for name in ("x", "weight", "bias"))
    return lora.compute_base_output(x, weight, bias if challenge.bias else None)


def observed_scale(case: Case, challenge: LoraChallenge, item: LoraItem) -> float | None:
    """Return the factor of the update in one challenge; None where the update is no multiple of B(A(x))."""
    tensors = case.evidence.lora_tensors
    filled, emptied = (tensors.get(f"{challenge.key}.{name}") for name in ("filled", "emptied"))
    x = round_input(case, challenge, "x")
    if filled is None or emptied is None or not filled.shape == emptied.shape == (len(x), challenge.out_features):
        return None
    split = lora.split(round_input(case, challenge, "fill"), item.shapes)
    magnitude = float(max(filled.abs().max(), emptied.abs().max()))
    return lora.fit(filled.double() - emptied.double(), x, split, challenge, magnitude).observed_scale
