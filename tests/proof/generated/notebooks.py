"""Generated programs as whole notebooks, executed and judged in profile `structure` on the path of the corpus."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Final

from rich.console import Console

from grader import pipeline
from grader.execution.setup import UNSANDBOXED
from grader.model import FrozenModel, Profile
from tests.proof.generated.programs import Program
from tests.proof.generated.proof import RESULTS, RUN_BY, digest_conditions
from tests.proof.validity.corpus import Base, CaseKind, CorpusCase
from tests.proof.validity.ledger import append, read
from tests.proof.validity.verdicts import examine

LEDGER: Final = RESULTS / "notebooks.jsonl"
MADE_BY: Final = (*RUN_BY, "tests.proof.generated.notebooks")


class NotebookFinding(FrozenModel):
    """What is not as expected of a program as a whole notebook, and the code that it was found with."""

    conditions: str
    id: str
    surprise: str = ""


def build_case(program: Program, base: Base) -> CorpusCase:
    """The notebook with a program's cells, as a case that every check has to pass."""
    cells = program.list_sources(base)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(base.cells.values(), cells, strict=True)))
    return CorpusCase(program.id, CaseKind.VARIANT, "a generated program", seen=False, cells=cells, departs=shared)


def prove_notebooks(console: Console, programs: Sequence[Program], base: Base) -> dict[str, str]:
    """Return the id of each program with what is not as expected, or "". Each is kept as soon as it is found."""
    where = digest_conditions(run_by=MADE_BY)
    known = {found.id: found.surprise for found in read(LEDGER, NotebookFinding) if found.conditions == where}
    missing = [program for program in programs if program.id not in known]
    with console.status("running whole notebooks") as status:
        for number, (name, surprise) in enumerate(run_notebooks(missing, base), start=1):
            known[name] = surprise
            append(LEDGER, NotebookFinding(conditions=where, id=name, surprise=surprise))
            status.update(f"{number} of {len(missing)} whole notebooks: {name}")
    return {program.id: known[program.id] for program in programs}


def run_notebooks(programs: Iterable[Program], base: Base) -> Iterator[tuple[str, str]]:
    """Yield the id of each program with what is not as expected; nothing where all checks pass."""
    cases = [build_case(program, base) for program in programs]
    if not cases:
        return
    with pipeline.open_setup(Profile.STRUCTURE, pipeline.DEFAULT_SEED, UNSANDBOXED) as used:
        for result in examine(base, cases, used):
            yield result.case.id, "; ".join(result.surprises)
