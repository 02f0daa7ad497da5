"""`make prove`: runs generated programs and generated mistakes, keeps what is found, and writes docs/generated.md."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from rich.console import Console

from grader.batch.digests import SUITE, VERSIONS, digest_files
from grader.closure import Tree, closure
from grader.machine.cores import count_cores
from grader.model import FrozenModel
from grader.paths import ROOT
from tests.proof.generated.bench import Bench, Finding, examine, open_bench
from tests.proof.generated.equivalence import find_reason
from tests.proof.generated.generator import generate
from tests.proof.generated.mutation import BEGIN, Mutant, list_mutants
from tests.proof.generated.programs import PIECES, Program
from tests.proof.validity.ledger import append, read

RESULTS: Final = ROOT / "results" / "generated"
LEDGER: Final = RESULTS / "found.jsonl"
RUN_BY: Final = ("tests.proof.generated.bench", "tests.proof.generated.generator", "tests.proof.generated.mutation")
MUTATED: Final = 12  # generated programs that mistakes are made in, besides the reference
MISTAKES: Final = 40  # of each


class Found(FrozenModel):
    """A finding, and the code that it was made with."""

    conditions: str
    finding: Finding


@dataclass(frozen=True)
class Outcome:
    """All findings of a run."""

    measured: str
    conditions: str
    programs: Mapping[str, Program]
    findings: Mapping[str, Finding]  # of the programs, and of what mistakes were made in
    mutants: Mapping[str, Mutant] = field(default_factory=dict)
    mutant_findings: Mapping[str, Finding] = field(default_factory=dict)
    notebooks: Mapping[str, str] = field(default_factory=dict)  # program run as a whole notebook -> what is wrong

    @property
    def false_fails(self) -> dict[str, str]:
        """Right programs that did not pass everything: what was said."""
        return {
            name: "; ".join(f"{check} {said}" for check, said in found.failed.items()) or "it died"
            for name, found in self.findings.items()
            if found.failed or found.died
        }

    @property
    def distinct(self) -> int:
        """How many programs differ in more than names, comments and annotations."""
        return len({program.compute_digest() for program in self.programs.values()})

    @property
    def killed(self) -> int:
        """How many mutants some check fails."""
        return sum(found.killed for found in self.mutant_findings.values())

    def list_unkilled(self) -> Iterator[tuple[Mutant, Finding, str | None]]:
        """The mutants that no check fails, each with the reason why it is equivalent, if there is one."""
        for name, found in self.mutant_findings.items():
            if not found.killed:
                mutant = self.mutants[name]
                yield mutant, found, find_reason(mutant.edit, self.findings[mutant.original], found)

    @property
    def survivors(self) -> list[str]:
        """Mutants that are neither killed nor equivalent, in words."""
        return [
            f"{mutant.program.id}, {mutant.edit.kind}: {mutant.edit}"
            f"{' (died)' if found.died else ''}{f' ({dict(found.failed)})' if found.failed else ''}"
            for mutant, found, reason in self.list_unkilled()
            if reason is None
        ]

    @property
    def holds(self) -> bool:
        """Whether no right program failed and no mistake survived."""
        return not (self.false_fails or self.survivors or any(self.notebooks.values()))


def prove(console: Console, programs: int, mistakes: int, jobs: int = 0) -> Outcome:
    """Run so many programs, and so many mistakes in the reference and in some of the programs."""
    chosen = {program.id: program for program in map(generate, range(programs))}
    where = digest_conditions()
    known = {found.finding.id: found.finding for found in read(LEDGER, Found) if found.conditions == where}
    with open_bench() as bench:
        mutants = {mutant.program.id: mutant for mutant in draw_mistakes(bench, mistakes)}
        right = {program.id: program for program in list_originals()} | chosen
        everything = [*(mutant.program for mutant in mutants.values()), *right.values()]
        missing = [program for program in everything if program.id not in known]
        known |= run(console, bench, missing, where, jobs or count_cores())
    return Outcome(
        measured=datetime.now(UTC).date().isoformat(),
        conditions=where,
        programs=chosen,
        findings={name: known[name] for name in right},
        mutants=mutants,
        mutant_findings={name: known[name] for name in mutants},
    )


def list_originals() -> Sequence[Program]:
    """The right programs that mistakes are made in; the first is the reference."""
    return [Program("reference", {}), *map(generate, range(MUTATED))]


def draw_mistakes(bench: Bench, count: int) -> Sequence[Mutant]:
    """Mistakes in the five pieces: all those in the reference, then as many in generated programs; fewer at random."""
    marked = {cell: bench.base.cells[cell] for cell in PIECES if BEGIN in bench.base.cells[cell]}
    reference, *generated = list_originals()
    found = list(list_mutants(reference, marked))
    for program in generated:
        own = list(list_mutants(program, program.cells))
        found += random.Random(program.id).sample(own, min(MISTAKES, len(own)))
    return found if count >= len(found) else random.Random(0).sample(found, count)


def run(console: Console, bench: Bench, programs: Sequence[Program], where: str, jobs: int) -> dict[str, Finding]:
    """Examine programs, and keep each finding."""
    found: dict[str, Finding] = {}
    with console.status("running") as status:
        for finding in examine(bench, programs, jobs):
            found[finding.id] = finding
            append(LEDGER, Found(conditions=where, finding=finding))
            status.update(f"{len(found)} of {len(programs)}: {finding.id}")
    return found


def digest_conditions(tree: Tree | None = None, run_by: Sequence[str] = RUN_BY) -> str:
    """Digest all that findings depend on; `run_by`: the modules that make them. Raises GraderError."""
    tree = tree or Tree(ROOT)
    return digest_files(tree, closure(tree, [*run_by, *SUITE, "reference/solution.ipynb", VERSIONS]))[:16]
