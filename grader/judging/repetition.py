"""One mistake costs once: what a later step fails by the cause that cost points in an earlier step is blocked there.
What the notebook as a whole fails by it is blocked, too.

Such a check, and what waits for it, keeps its points. A cause is named by the suite (`fail(..., cause=...)`), and only
where the facts of both steps show the same one: `pre_classifier` frozen in the models of steps 2 and 3, for example.
"""

from collections.abc import Sequence
from dataclasses import replace

from grader.judging.runner import Judgement
from grader.model import Verdict

RUN = "run"  # checks of the notebook as a whole: of no step


def excuse_repetitions(judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """Return the judgements, in their order, with repeated failures and what waits for them blocked at no cost."""
    first: dict[str, Judgement] = {}
    for judgement in sorted(judgements, key=_rank_step):
        if judgement.verdict is Verdict.FAILED and judgement.cause:
            first.setdefault(judgement.cause, judgement)
    found = [_compare(judgement, first.get(judgement.cause)) for judgement in judgements]
    sources = {judgement.id: first[judgement.cause] for judgement in found if judgement.repeats}
    return tuple(_follow(judgement, found, sources) for judgement in found)


def _get_step(judgement: Judgement) -> str:
    return judgement.id.split(".")[0]


def _rank_step(judgement: Judgement) -> tuple[bool, str]:
    step = _get_step(judgement)
    return step == RUN, step


def _compare(judgement: Judgement, source: Judgement | None) -> Judgement:
    """Block a failure whose cause cost points in an earlier step."""
    if judgement.verdict is not Verdict.FAILED or source is None or _get_step(source) in (RUN, _get_step(judgement)):
        return judgement
    return _block(judgement, source, judgement.rationale)


def _follow(judgement: Judgement, found: Sequence[Judgement], sources: dict[str, Judgement]) -> Judgement:
    """Block at no cost what waits for nothing but repeated failures."""
    passed = {other.id for other in found if other.verdict is Verdict.PASSED}
    missing = [name for name in judgement.requires if name not in passed]
    if judgement.verdict is not Verdict.BLOCKED or not missing or not set(missing) <= set(sources):
        return judgement
    return judgement if judgement.repeats else _block(judgement, sources[missing[0]], judgement.rationale)


def _block(judgement: Judgement, source: Judgement, rationale: str) -> Judgement:
    words = f"{rationale} It is the mistake that “{source.title}” names, and costs points there only."
    return replace(judgement, verdict=Verdict.BLOCKED, rationale=words, repeats=source.id)
