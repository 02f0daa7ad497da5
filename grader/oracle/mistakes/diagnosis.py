"""Finds the mistakes of the table that explain all answers of a layer: one, two, or one in each part."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from grader.oracle.mistakes import measured, special
from grader.oracle.mistakes.causes import Cause
from grader.oracle.mistakes.forms import Form
from grader.oracle.mistakes.observations import Observation
from grader.oracle.mistakes.table import Mistake, Part, apply, list_either, list_mistakes

Fits = Callable[[Form], bool]


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with the outputs of a layer, by part; nothing where no known mistake explains them."""

    base: tuple[Cause, ...] = ()
    update: tuple[Cause, ...] = ()
    whole: tuple[Cause, ...] = ()
    update_known: bool = True  # whether `update`, empty or not, is all that is wrong with the update

    @classmethod
    def of(cls, mistakes: Sequence[Mistake]) -> "Diagnosis":
        """Sort mistakes by the part that they are in."""
        if any("joined" in m.changes for m in mistakes):  # of a product, nobody sees which side has the factor
            mistakes = [
                m for m in mistakes if not {"scale", "constant", "base_factor", "output_factor"} & set(m.changes)
            ]
        found = {part: tuple(m for m in mistakes if m.part is part) for part in Part}
        base, update, whole = (tuple(m.cause for m in found[part]) for part in (Part.BASE, Part.UPDATE, Part.WHOLE))
        if any({"scale", "constant"} & set(m.changes) for m in mistakes):  # which factor belongs to what is not seen
            base = list_either(found[Part.BASE])
        return cls(base, update, whole)


def diagnose(observations: Sequence[Observation]) -> Diagnosis:
    """Return the simplest explanation of all outputs of a layer, else of its two parts."""
    if special.writes_to_w(observations):
        return Diagnosis(whole=(special.W_WRITTEN,))
    readable = sorted((o for o in observations if o.adapters), key=_tell_apart, reverse=True)
    table = (*list_mistakes(), *measured.list_scales(readable))
    if readable:

        def fits(form: Form) -> bool:
            return _explain_each(readable, Observation.explain_all, form)

        found = _find(table, fits)
        if found is not None:
            return Diagnosis.of(_prefer_total(found, table, fits))
    thin = [o for o in observations if not o.has_second_w]
    update = _find_update(table, readable)
    base = _find_base(table, thin, update is not None and special.DROPOUT not in update)
    return Diagnosis(base, update or (), update_known=update is not None)


def _tell_apart(observation: Observation) -> tuple[bool, bool, bool]:
    """Rank a challenge by how much it tells: most wrong forms are then refuted by the first one."""
    challenge = observation.question.challenge
    return challenge.dtype != "bfloat16", challenge.rank > 1, challenge.bias


def _find(table: Sequence[Mistake], fits: Fits, most: int = 2) -> tuple[Mistake, ...] | None:
    """Return the first of the smallest sets of mistakes that fit; an empty one where nothing is wrong."""
    for count in range(most + 1):
        sets = list(combinations(table, count))
        for mistakes in sorted(sets, key=lambda found: any("constant" in m.changes for m in found)):
            form = apply(*mistakes)
            if form is not None and fits(form):
                return mistakes
    return None


def _prefer_total(found: tuple[Mistake, ...], table: Sequence[Mistake], fits: Fits) -> tuple[Mistake, ...]:
    """Return mistakes in which the factor of the update is the whole factor, where another pair is the same layer.

    2 · (W(x) + B(A(x))) is 2 · W(x) + 2 · B(A(x)): whoever wrote it, the update is multiplied by 2.
    """
    factors = [m.changes["output_factor"] for m in found if "output_factor" in m.changes]
    if not factors or not any("scale" in m.changes for m in found):
        return found
    bases = [m for m in table if m.changes == {"base_factor": factors[0]}]
    pairs = ((scale, base) for scale in table if set(scale.changes) == {"scale"} for base in bases)
    return next((pair for pair in pairs if (form := apply(*pair)) is not None and fits(form)), found)


def _explain_each(
    observations: Sequence[Observation], explain: Callable[[Observation, Form, int], bool], form: Form
) -> bool:
    """Return True if one order of reading A and B explains all challenges."""
    orders = range(min(len(o.adapters) for o in observations))
    return any(all(explain(o, form, order) for o in observations) for order in orders)


def _find_base(table: Sequence[Mistake], observations: Sequence[Observation], update_known: bool) -> tuple[Cause, ...]:
    own = [m for m in table if m.part is Part.BASE]
    found = _find(own, lambda form: bool(observations) and all(o.explain_base(form) for o in observations))
    if found is None:
        return (special.OTHER_W,) if special.uses_other_w(observations) else ()
    return tuple(m.cause for m in found) if update_known else list_either(found)


def _find_update(table: Sequence[Mistake], readable: Sequence[Observation]) -> tuple[Cause, ...] | None:
    """Return the mistakes in the update alone; None where no known mistake explains it."""
    own = [m for m in table if m.part is Part.UPDATE]
    if not readable:
        return None
    found = _find(own, lambda form: _explain_each(readable, Observation.explain_update, form))
    if found is None:
        return special.find_dropout(readable) or None
    return tuple(m.cause for m in found)


def list_causes(diagnosis: Diagnosis) -> Iterator[Cause]:
    """Yield all that is wrong."""
    yield from (*diagnosis.base, *diagnosis.whole, *diagnosis.update)
