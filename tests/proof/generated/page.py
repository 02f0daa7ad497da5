"""docs/generated.md: what generated programs and generated mistakes show, in a page."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from tests.proof.generated.generator import count_choices
from tests.proof.generated.proof import Outcome
from tests.proof.validity.training import Rate

COMMAND: Final = "make prove"
INTRODUCTION: Final = f"""# Programs and mistakes that nobody wrote by hand

Written by `{COMMAND}`; not edited by hand. Everything follows from seeds: program `g17` is the same on every machine.

A *program* is what a student writes in five places: the counting function, the extraction, the LoRA layer, freezing
and wrapping. It is right by construction, so every check has to pass. It is executed with models of DistilBERT's size,
from which everything is recorded that a training finds at its start, and again with models 48 wide, which take two
training steps; its functions and its layer answer the ordinary probes. The ordinary suite judges the evidence. A
*mutant* is a right program with one edit. Some check has to fail, unless the edit changes nothing that matters.
"""
UNSHOWN: Final = """## What is not shown

- Other ways to write a right program than those that the generator knows.
- Mistakes of more than one edit, and mistakes elsewhere in the notebook: `tests/corpus` has those.
- Accuracy, which two steps do not show.
"""
VARIES: Final = """## What varies

For each dimension: the number of its choices, and in how many programs the rarest and the most frequent one is.
"""
MOST: Final = 12  # survivors and false fails in the page; all of them are printed


def render(outcome: Outcome) -> str:
    """The page."""
    return "\n".join(
        [INTRODUCTION, *_render_figures(outcome), _render_choices(outcome), *_render_mutants(outcome), UNSHOWN]
    )


def list_figures(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    """The figures, in words."""
    right = len(outcome.programs)
    failed = sum(name in outcome.programs for name in outcome.false_fails)
    rate = Rate("", failed, right)
    notebooks = Rate("", sum(map(bool, outcome.notebooks.values())), len(outcome.notebooks))
    equivalent = sum(reason is not None for _, _, reason in outcome.list_unkilled())
    return (
        ("right programs", f"{right:,}, of which {outcome.distinct:,} differ in more than names and comments"),
        ("of them failed", _render_rate(rate)),
        ("run as whole notebooks, too, and failed there", _render_rate(notebooks)),
        ("mutants", f"{len(outcome.mutants):,}"),
        ("killed by a check", f"{outcome.killed:,}"),
        ("equivalent, by a reason", f"{equivalent:,}"),
        ("survivors", f"{len(outcome.survivors):,}"),
    )


def _render_rate(rate: Rate) -> str:
    if not rate.runs:
        return "not run"
    return f"{rate.happened:,} of {rate.runs:,}: a rate below {rate.bound:.2%} (95 % confidence)"


def _render_figures(outcome: Outcome) -> Iterator[str]:
    yield f"Measured on {outcome.measured}, on code `{outcome.conditions}`.\n"
    rows = "\n".join(f"| {what} | {figure} |" for what, figure in list_figures(outcome))
    yield f"| Figure | Measured |\n| --- | --- |\n{rows}\n"
    wrong = [f"{name}: {said}" for name, said in outcome.false_fails.items()]
    wrong += [f"{name}, as a notebook: {said}" for name, said in outcome.notebooks.items() if said]
    if wrong:
        yield "\n".join(f"- **failed, and is right**: {text}" for text in wrong[:MOST]) + "\n"


def _render_choices(outcome: Outcome) -> str:
    """How often the choices of each dimension were made: the rarest and the most frequent."""
    pieces: dict[str, list[str]] = {}
    for dimension, counts in sorted(count_choices(outcome.programs.values()).items()):
        piece, _, name = dimension.partition(": ")
        rare, often = min(counts.values()), max(counts.values())
        pieces.setdefault(piece, []).append(f"{name} {len(counts)} ({rare:,} to {often:,})")
    rows = "\n".join(f"| {piece} | {'; '.join(found)} |" for piece, found in pieces.items())
    return f"{VARIES}\n| Piece | Dimensions |\n| --- | --- |\n{rows}\n"


def _render_mutants(outcome: Outcome) -> Iterator[str]:
    kinds = Counter(mutant.edit.kind for mutant in outcome.mutants.values())
    yield "## Mistakes\n\n" + ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common()) + ".\n"
    reasons = Counter(reason for _, _, reason in outcome.list_unkilled() if reason)
    if reasons:
        yield (
            "Equivalent are:\n\n" + "\n".join(f"- {count}: {reason}" for reason, count in reasons.most_common()) + "\n"
        )
    if outcome.survivors:
        yield "Survivors:\n\n" + "\n".join(f"- {text}" for text in outcome.survivors[:MOST]) + "\n"
