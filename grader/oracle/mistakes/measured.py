"""Factors of the update that are read off the answers: a known expression of alpha and rank times a constant."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from grader.challenges import list_wrong_scales
from grader.oracle.mistakes.causes import Cause
from grader.oracle.mistakes.forms import ACTIVATIONS, RIGHT_SCALE, Form, compute_base, compute_scale, compute_update
from grader.oracle.mistakes.observations import Observation
from grader.oracle.mistakes.table import SCALE_ONCE, Mistake, Part

SAME: Final = 1e-3  # relative; a constant is read off float32 outputs to five digits or more
NEAR: Final = 0.01  # relative; whether the form with this factor fits is seen from all outputs later
ENOUGH: Final = 3  # challenges of different rank and alpha: fewer let any expression fit
EXPRESSIONS: Final = (
    RIGHT_SCALE,
    *(name for name in list_wrong_scales(2, 3) if name not in ("0", "2", "alpha // rank")),
)


def list_scales(observations: Sequence[Observation]) -> Iterator[Mistake]:
    """Yield the mistake of each expression that, times one constant, is the factor in all challenges."""
    usable = [o for o in observations if o.question.challenge.dtype != "bfloat16"]
    if len({(o.question.challenge.rank, o.question.challenge.alpha) for o in usable}) < ENOUGH:
        return
    found: dict[str, Mistake] = {}
    for form in FORMS:
        factors = [_measure(o, form) for o in usable]
        known = [factor for factor in factors if factor is not None]
        if len(known) == len(usable):
            found |= {mistake.cause.words: mistake for mistake in _list_constants(usable, known)}
    yield from found.values()


def _list_changes(name: str) -> Iterator[dict[str, Any]]:
    return ({field: name} for field in ("inner", "read", "outer"))


# Activations after which a factor can still be read off.
FORMS: Final = (
    Form(),
    *(replace(Form(), **change) for name in ACTIVATIONS for change in _list_changes(name)),
    Form(joined="*"),
)


def _list_constants(usable: Sequence[Observation], factors: Sequence[float]) -> Iterator[Mistake]:
    for name in EXPRESSIONS:
        ratios = [f / compute_scale(name, o.question.challenge) for f, o in zip(factors, usable, strict=True)]
        constant = abs(ratios[0])  # a sign is a mistake of its own
        if constant and abs(constant - 1) > SAME and all(abs(r - ratios[0]) <= SAME * constant for r in ratios):
            yield _make(name, constant)


def _measure(observation: Observation, form: Form) -> float | None:
    """Return the factor of the update in one challenge; None where the update is no multiple of this form's."""
    answers, challenge = observation.answers, observation.question.challenge
    if "filled" not in answers or "emptied" not in answers or answers["filled"].shape != answers["emptied"].shape:
        return None
    update = answers["filled"] - answers["emptied"]
    x = observation.question.inputs["x"]
    base = compute_base(Form(), observation.question, x)
    for adapter in observation.adapters:
        right = compute_update(form, observation.question, x, adapter)
        right = base * right if form.joined == "*" and right is not None and base is not None else right
        if right is not None and right.shape == update.shape and bool(right.any()):
            factor = float((update * right).sum() / right.square().sum())
            if float((update - factor * right).abs().max()) <= NEAR * float(update.abs().max()):
                return factor * challenge.scale
    return None


def _make(name: str, constant: float) -> Mistake:
    changes = {"scale": name, "constant": constant}
    words = f"the update is multiplied by {write_scale(name, constant)} instead of {RIGHT_SCALE}"
    return Mistake(Cause("scale_constant", words, SCALE_ONCE), Part.UPDATE, changes)


def write_scale(name: str, constant: float) -> str:
    """Return a constant times an expression as a student may have written it: "24 / rank", "alpha / 12"."""
    inverse = 1 / constant
    if name == "1":
        return f"the constant {constant:.3g}"
    if name == "1 / rank" and _is_whole(constant):
        return f"{round(constant)} / rank"
    if name in ("alpha", "rank") and _is_whole(inverse):
        return f"{name} / {round(inverse)}"
    return f"{constant:.3g} · ({name})"


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) <= SAME * abs(number) and round(number) != 0
