"""The whole corpus, executed and judged: with one seed, and again with others, since no verdict may depend on a draw.

A seed decides what the probes ask, where trainings begin, and in which order they read. A round takes minutes, so it is
stored, and holds as long as nothing has changed that a verdict follows from.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import Field

from grader import pipeline
from grader.batch.digests import SUITE, VERSIONS, digest_files
from grader.closure import Tree, closure
from grader.execution.job import Setup
from grader.model import FrozenModel
from grader.paths import ROOT
from tests.proof.validity.corpus import CorpusCase
from tests.proof.validity.figures import Matrix, Row
from tests.proof.validity.ledger import read

RESULTS: Final = ROOT / "results" / "validity"
LEDGER: Final = RESULTS / "rounds.jsonl"
CASES: Final = ("tests/corpus/mutants", "tests/corpus/variants", "tests/corpus/habits")
LETTERS: Final = "tests.proof.validity.figures"  # what verdicts become, from the execution on


class Round(FrozenModel):
    """All verdicts with one seed."""

    seed: int
    conditions: str
    letters: dict[str, str]  # case -> a letter for each check, in the matrix's order
    surprises: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # cases that were not judged as expected
    lora: dict[str, tuple[int, int]] = Field(default_factory=dict)  # layer -> seeds, flipped verdicts of LoRA checks
    measured: str = ""  # the day


def digest_code(tree: Tree | None = None) -> str:
    """Digest the code and the corpus that the verdicts of a round follow from. Raises GraderError."""
    tree = tree or Tree(ROOT)
    return digest_files(tree, closure(tree, [LETTERS, *SUITE, "reference/solution.ipynb", *CASES, VERSIONS]))[:16]


def digest_conditions(used: Setup, tree: Tree | None = None) -> str:
    """Digest all that the verdicts of a round depend on besides its seed. Raises GraderError."""
    return f"{digest_code(tree)} {used.checkpoint.sha256[:16]} {used.reviews.sha256[:16]}"


def make_round(matrix: Matrix, seed: int, where: str) -> Round:
    """The round that a matrix stands for."""
    rows = (*matrix.rows, *matrix.notebooks)
    surprises = {row.case.id: row.surprises for row in rows if row.surprises}
    return Round(seed=seed, conditions=where, letters={row.case.id: row.letters for row in rows}, surprises=surprises)


def rebuild_matrix(
    one: Round, checks: Sequence[str], corpus: Sequence[CorpusCase], notebooks: Sequence[CorpusCase]
) -> Matrix:
    """The matrix that a round was made from."""

    def build(cases: Sequence[CorpusCase]) -> tuple[Row, ...]:
        return tuple(Row(c, one.letters[c.id], one.surprises.get(c.id, ())) for c in cases if c.id in one.letters)

    return Matrix(tuple(checks), build(corpus), build(notebooks))


def load_known(where: str) -> tuple[Round, ...]:
    """Stored rounds under these conditions, the one with the usual seed first; none while that one is missing."""
    found = {r.seed: r for r in read(LEDGER, Round) if r.conditions == where}
    return tuple(found[seed] for seed in sorted(found)) if pipeline.DEFAULT_SEED in found else ()


def find_flips(rounds: Iterable[Round], checks: Sequence[str]) -> tuple[str, ...]:
    """Verdicts that differ from those of the first round: "seed 3, scale_alpha: step3.lora_forward is ·, not F"."""
    first, *others = [*rounds] or [Round(seed=0, conditions="", letters={})]
    return tuple(
        f"seed {other.seed}, {name}: {check} is {theirs}, not {ours}"
        for other in others
        for name in first.letters
        for check, ours, theirs in zip(checks, first.letters[name], other.letters.get(name, ""), strict=False)
        if ours != theirs
    )
