"""Generated programs as whole notebooks, executed and judged in profile `structure` on the path of the corpus."""

from collections.abc import Iterable, Iterator
from itertools import takewhile

from grader import pipeline
from grader.execution.setup import UNSANDBOXED
from grader.model import Profile
from tests.proof.generated.programs import Program
from tests.proof.validity.corpus import Base, CaseKind, CorpusCase
from tests.proof.validity.verdicts import examine


def build_case(program: Program, base: Base) -> CorpusCase:
    """The notebook with a program's cells, as a case that every check has to pass."""
    cells = program.list_sources(base)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(base.cells.values(), cells, strict=True)))
    return CorpusCase(program.id, CaseKind.VARIANT, "a generated program", seen=False, cells=cells, departs=shared)


def run_notebooks(programs: Iterable[Program], base: Base) -> Iterator[tuple[str, str]]:
    """Yield the id of each program with what is not as expected; nothing where all checks pass."""
    cases = [build_case(program, base) for program in programs]
    with pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, UNSANDBOXED) as used:
        for result in examine(base, cases, used) if cases else ():
            yield result.case.id, "; ".join(result.surprises)
