"""The causes of what is wrong with a LoRA layer: its answers, given to the table of mistakes. Used by the checks."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from typing import Final

from torch import Tensor

from grader.challenges import LoraChallenge
from grader.judging.case import Case
from grader.judging.lora_answers import list_answers, list_castable_answers, observed_scale, round_input
from grader.oracle import lora
from grader.oracle.mistakes import adapters, backward
from grader.oracle.mistakes.adapters import Registered
from grader.oracle.mistakes.causes import Cause
from grader.oracle.mistakes.diagnosis import Diagnosis, diagnose
from grader.oracle.mistakes.forms import Question
from grader.oracle.mistakes.observations import OUTPUTS, Observation
from grader.protocol.records import LoraItem

COMPARED: Final = (
    *("fresh", "emptied", "filled", "ones", "emptied_batched", "filled_batched", "weight_after"),
    *("emptied_training_input_gradient", "filled_input_gradient", "filled_gradient0", "filled_gradient1"),
)
NO_ZERO: Final = Cause(
    "both_random", "neither A nor B starts at zero", "Start exactly one of A and B at zero, for example B."
)
BIAS_NOT_ZERO: Final = Cause(
    "adapter_bias_B",
    "B has a bias, which does not start at zero",
    "Give A and B no bias: `nn.Linear(..., bias=False)`.",
)
ONCE: Final = Cause(
    "product_once",
    "the product of A and B is computed once, in `__init__`: filling A and B changes nothing",
    "Compute the update from A and B in `forward`, every time: they change in training.",
)


def build_observation(case: Case, challenge: LoraChallenge, item: LoraItem) -> Observation:
    """Return what the layer was asked and what it answered in one challenge, in float64."""
    given: Mapping[str, Tensor] = {
        name: round_input(case, challenge, name) for name in ("x", "x3", "weight", "bias", "fill", "cotangent")
    }
    answered = {name: case.evidence.lora_tensors.get(f"{challenge.key}.{name}") for name in COMPARED}
    shapes = {name: (*given[inputs].shape[:-1], challenge.out_features) for name, (_, inputs) in OUTPUTS.items()}
    finite = {
        name: t.double()
        for name, t in answered.items()
        if t is not None and bool(t.isfinite().all()) and tuple(t.shape) == shapes.get(name, tuple(t.shape))
    }
    if item.linear_trainable:  # a step of training changes W then, and not the forward pass
        finite.pop("weight_after", None)
    question = Question(
        challenge, given["weight"], given["bias"] if challenge.bias else None, {k: given[k] for k in ("x", "x3")}
    )
    return Observation(question, given["fill"], given["cotangent"], item.shapes, finite)


@lru_cache(maxsize=1)  # several checks of one case ask
def find_causes(case: Case) -> Diagnosis:
    """Return what is wrong with the outputs of the layer; nothing where no known mistake explains all of them."""
    return diagnose([build_observation(case, challenge, item) for challenge, item in list_castable_answers(case)])


def list_fresh_causes(case: Case) -> tuple[Cause, ...]:
    """Return why a fresh layer does not return W(x)."""
    found = find_causes(case)
    known = (*found.base, *found.whole)
    observations = [build_observation(case, *answer) for answer in list_castable_answers(case)]
    registered = explain_registered(case)
    if adapters.SECOND_W in registered:
        return (adapters.SECOND_W,)
    return (*known, *_find_start(observations, registered, found))


def _find_start(
    observations: Sequence[Observation], registered: Sequence[Cause], found: Diagnosis
) -> tuple[Cause, ...]:
    """Return what is wrong with the values that the adapter starts with."""
    changed = [change for o in observations if (change := _measure_start(o)) is not None]
    uncertain = adapters.MAGNITUDE in registered or any(c.id.endswith(("_sigmoid", "_softmax")) for c in found.update)
    if not changed or uncertain:
        return ()
    biased = {adapters.B_BIAS, adapters.BOTH_BIASES} & set(registered)
    if biased and all(_is_constant(change) for change in changed):
        return (BIAS_NOT_ZERO,)
    return () if biased and found.whole else (NO_ZERO,)


def _measure_start(o: Observation) -> Tensor | None:
    """Return the difference between a fresh layer and one with an empty adapter; None where there is none."""
    fresh, emptied = o.answers.get("fresh"), o.answers.get("emptied")
    if fresh is None or emptied is None or fresh.shape != emptied.shape:
        return None
    allowed = 2 * lora.compute_tolerance(o.question.challenge, float(emptied.abs().max()))
    return fresh - emptied if float((fresh - emptied).abs().max()) > allowed else None


def _is_constant(change: Tensor) -> bool:
    """Return True if all rows are the same, up to the coarsest rounding."""
    return change.ndim == 2 and float((change - change[:1]).abs().max()) <= 0.05 * float(change.abs().max())


def list_update_causes(case: Case) -> tuple[Cause, ...]:
    """Return why the update is not (alpha / rank) · B(A(x))."""
    found = find_causes(case)
    causes = (*found.update, *found.whole)
    once = any(cause.id == "product_unused" for cause in causes) and source_multiplies_in_init(case)
    return (ONCE,) if once else causes


def source_multiplies_in_init(case: Case) -> bool:
    """Return True if `__init__` of the class forms a matrix product."""
    answers = case.evidence.lora
    sources = [*case.evidence.sources.values()]
    return bool(answers and answers.found and lora.multiplies_in_init(sources, answers.found))


def explain_registered(case: Case) -> tuple[Cause, ...]:
    """Return why the trainable tensors are not those of A and B."""
    found = adapters.explain([Registered(*_describe(challenge, item)) for challenge, item in list_answers(case)])
    biases = (adapters.B_BIAS, adapters.A_BIAS)
    if any(cause in found for cause in biases) and any(c.id == "magnitude" for c in find_causes(case).update):
        return (adapters.MAGNITUDE,)
    return found


def _describe(
    challenge: LoraChallenge, item: LoraItem
) -> tuple[LoraChallenge, tuple[tuple[int, ...], ...], bool, bool]:
    own = 2 if challenge.bias else 1  # tensors of W
    frozen = not sum(map(prod, item.shapes)) and item.registered > own
    return challenge, item.shapes, frozen, item.registered_later > 0


def explain_gradients(case: Case) -> Cause | None:
    """Return what cuts the gradients of the layer."""
    overriding = ("product_unused", "product_once", "W_overwritten")
    unused = [cause for cause in list_update_causes(case) if cause.id in overriding]
    if unused:
        return unused[0]
    answers = [answer for answer in list_castable_answers(case) if answer[1].shapes]
    observations = [build_observation(case, *answer) for answer in answers]
    found = find_causes(case)
    plain = not (found.base or found.whole)
    return backward.explain(observations, [observed_scale(case, *answer) for answer in answers], plain)


def explain_no_learning(case: Case) -> tuple[Cause, ...]:
    """Return why a fresh layer has no gradients at all, though a filled one has."""
    found = find_causes(case)
    flat = tuple(cause for cause in (*found.update, *found.whole) if not cause.id.startswith("scale_"))
    if flat or not found.update_known:
        return flat
    return (backward.BOTH_ZERO,)
