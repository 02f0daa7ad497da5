"""A class whose grades are known beforehand: the reference, mutants and variants, with the verdicts of their tables."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from grader.model import Result, Verdict
from tests.proof.demo.classroom import build_notebook
from tests.proof.validity.corpus import CaseKind, CorpusCase
from tests.proof.validity.corpus_run import load


def choose(size: int) -> tuple[CorpusCase, ...]:
    """The reference, and cases from all over the corpus."""
    base, cases = load()
    untrained = [case for case in cases if not case.training]
    reference = CorpusCase("reference", CaseKind.VARIANT, "the reference", False, tuple(base.cells.values()), 0)
    return (reference, *untrained[:: len(untrained) // (size - 1)][: size - 1])


def write(cases: Sequence[CorpusCase], folder: Path) -> None:
    """Write a notebook for each case, named as the case."""
    folder.mkdir(parents=True)
    for case in cases:
        (folder / f"{case.id}.ipynb").write_bytes(build_notebook(case.cells))


def count_results(results: Path) -> int:
    """Count the submissions of a class that have a result."""
    return sum(1 for _ in results.glob("submissions/*/result.json"))


def find_changed(cases: Sequence[CorpusCase], results: Path, partly: bool = False) -> Iterator[str]:
    """Name what is lost or is not as the corpus says. `partly`: what has no result yet may still get one."""
    for case in cases:
        path = results / "submissions" / case.id / "result.json"
        if not path.is_file():
            yield from () if partly else (f"{case.id} has no result",)
            continue
        result = Result.model_validate_json(path.read_bytes())
        found = {verdict: {check.id for check in result.checks if check.verdict is verdict} for verdict in Verdict}
        repeated = found[Verdict.BLOCKED] & case.failed  # by a cause that cost points in an earlier step
        for verdict, seen, expected in (
            (Verdict.FAILED, found[Verdict.FAILED] | repeated, case.failed),
            (Verdict.BLOCKED, found[Verdict.BLOCKED] - repeated, case.blocked),
            (Verdict.ERROR, found[Verdict.ERROR], frozenset()),
        ):
            if seen != expected:
                yield f"{case.id}: {verdict} {sorted(seen)}, expected {sorted(expected)}"
