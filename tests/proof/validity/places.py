"""Are causes found where they are? `python -m tests.proof.validity.places [NAMES…]` answers for the mutants.

A mutant is the reference with one mistake, so the lines that differ are known. A place is *right* if it is

- on a changed line; where lines were only taken away, on the line before or after the gap, or
- elsewhere in the smallest statement that holds such a line (of a compound statement only its first line counts).

A mistake that is spread over the notebook (a name that is used in several cells) may be found at any of its lines, and
where a mutant adds or replaces a whole definition, at any line of it.
"""

import ast
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer
from rich.console import Console

from grader import pipeline
from grader.cli.app import main
from grader.execution.setup import UNSANDBOXED
from grader.judging.runner import Judgement
from grader.model import Place, Profile
from grader.reporting.terminal import make_console
from tests.proof.validity.corpus import Base, CaseKind, CorpusCase
from tests.proof.validity.corpus_run import load
from tests.proof.validity.verdicts import CaseResult, examine

WANTED: Final = 0.95  # of the mutants whose checks name a place
Lines = frozenset[tuple[int, int]]  # cell and line


@dataclass(frozen=True)
class Change:
    """The lines of a mutant that differ from the reference (`exact`), and all at which its mistake is found."""

    exact: Lines
    accepted: Lines


def find_change(base: Base, case: CorpusCase) -> Change:
    """Return where a mutant differs from the reference."""
    sources = [*base.cells.values()]
    pairs = [(cell, sources[cell] if cell < len(sources) else "", new) for cell, new in enumerate(case.cells)]
    exact = {(cell, line) for cell, old, new in pairs for line in _list_changed(old, new)}
    around = {(cell, line) for cell, changed in exact for line in _list_enclosing(case.cells[cell], changed)}
    return Change(frozenset(exact), frozenset(exact | around))


def _list_changed(old: str, new: str) -> Iterator[int]:
    """Yield the changed lines of a cell; the lines around a gap where lines were only taken away."""
    before, after = old.splitlines(), new.splitlines()
    for kind, _, _, first, last in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        filled = [number for number in range(first, last) if after[number].strip()]
        if kind != "equal":
            yield from (number + 1 for number in filled or (n for n in (first - 1, last) if 0 <= n < len(after)))


def _list_enclosing(source: str, line: int) -> Iterable[int]:
    """Return the lines of the smallest statement that holds a line; of a compound one, its first line."""
    try:
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt)]
    except SyntaxError:  # a mutant whose mistake it is
        return ()
    holding = [node for node in nodes if node.lineno <= line <= (node.end_lineno or node.lineno)]
    smallest = min(holding, key=lambda node: (node.end_lineno or node.lineno) - node.lineno, default=None)
    if smallest is None:
        return ()
    last = smallest.lineno if hasattr(smallest, "body") else smallest.end_lineno or smallest.lineno
    return range(smallest.lineno, last + 1)


@dataclass(frozen=True)
class Found:
    """A place that was named for a mutant."""

    case: str
    check: str
    place: Place | None
    right: bool
    exact: bool


def compare(base: Base, result: CaseResult) -> tuple[Found, ...]:
    """Return the places of the checks that a mutant failed, compared with its change."""
    change = find_change(base, result.case)
    return tuple(_compare_one(result.case.id, judgement, change) for judgement in result.words)


def _compare_one(case: str, judgement: Judgement, change: Change) -> Found:
    place = judgement.place
    spot = (place.cell, place.line) if place else (-1, -1)
    return Found(case, judgement.id, place, spot in change.accepted, spot in change.exact)


def summarise(found: Sequence[Found]) -> Mapping[str, str]:
    """Return the figures: of failed checks, and of mutants (right where all their places are)."""
    named = [one for one in found if one.place]
    wrong = {one.case for one in named if not one.right}
    cases, mutants = {one.case for one in named}, {one.case for one in found}
    return {
        "Failed checks that name a place": f"{len(named)} of {len(found)}",
        "Places that are right": f"{sum(one.right for one in named)} of {len(named)}",
        "Places on the changed line itself": f"{sum(one.exact for one in named)} of {len(named)}",
        "Mutants whose checks name a place": f"{len(cases)} of {len(mutants)}",
        "Mutants all of whose places are right": f"{len(cases - wrong)} of {len(cases)}",
    }


def measure(console: Console, names: Sequence[str], seed: int = pipeline.DEFAULT_SEED) -> bool:
    """Run the mutants whose names begin so, and print each place that is wrong or missing. Returns whether few are."""
    base, corpus = load()
    chosen = [case for case in corpus if case.kind is CaseKind.MUTANT and not case.training]
    if names:
        chosen = [case for case in chosen if case.id.startswith(tuple(names))]
    found: list[Found] = []
    with pipeline.open_setup(Profile.STRUCTURE, seed, UNSANDBOXED) as used:  # the corpus is our own
        for result in examine(base, chosen, used):
            compared = compare(base, result)
            found += compared
            for line in _describe(compared, show_all=bool(names)):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    for name, figure in summarise(found).items():
        console.print(f"{name}: {figure}", markup=False, highlight=False)
    named, wrong = {one.case for one in found if one.place}, {one.case for one in found if one.place and not one.right}
    return len(wrong) <= (1 - WANTED) * len(named)


def _describe(found: Iterable[Found], show_all: bool) -> Iterator[str]:
    for one in found:
        if show_all or not one.right:
            mark = "right" if one.right else "wrong" if one.place else "none"
            where = f"cell {one.place.cell + 1}, line {one.place.line}: {one.place.source}" if one.place else "–"
            yield f"{mark:5} {one.case}, {one.check}: {where}"


def run(
    only: Annotated[list[str] | None, typer.Argument(help="beginnings of names of mutants; all by default")] = None,
) -> None:
    """Say for how many mutants the place of the cause is right."""
    raise typer.Exit(0 if measure(make_console(), only or ()) else 2)


if __name__ == "__main__":
    main(lambda: typer.run(run))
