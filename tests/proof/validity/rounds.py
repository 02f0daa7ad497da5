"""The whole corpus, executed and judged again with other seeds: no verdict may depend on a draw.

A seed decides what the probes ask, where trainings begin, and in which order they read. A round takes as long as
validation itself, so it is stored, and holds as long as nothing has changed that a verdict follows from.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from grader.execution.job import Setup
from grader.model import FrozenModel
from grader.paths import ROOT
from tests.proof.validity.figures import Matrix, get_letter
from tests.proof.validity.ledger import append, locate_ledger, read

NAME: Final = "rounds"
FOLLOWS_FROM: Final = (
    "reference", "tests/corpus/mutants", "tests/corpus/variants", "tests/public", "tests/hidden",
    "grader/kernel", "grader/oracle",
    "grader/assignment.py", "grader/case.py", "grader/definitions.py", "grader/evidence.py", "grader/lora_answers.py",
    "grader/suite.py",
)  # fmt: skip
KINDS: Final = (".py", ".toml", ".ipynb")


class Round(FrozenModel):
    """All verdicts with one seed."""

    seed: int
    circumstances: str
    letters: dict[str, str]  # specimen -> a letter for each check, in the matrix's order


def _files(path: Path) -> Iterable[Path]:
    return (path,) if path.is_file() else path.rglob("*")


def digest_conditions(used: Setup, root: Path = ROOT) -> str:
    """What the verdicts of a round depend on besides its seed."""
    digest = hashlib.sha256()
    for path in sorted(path for name in FOLLOWS_FROM for path in _files(root / name)):
        if path.suffix in KINDS:
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return f"{digest.hexdigest()[:16]} {used.checkpoint.sha256[:16]} {used.reviews.sha256[:16]}"


def make_round(matrix: Matrix, seed: int, where: str) -> Round:
    """The round that a matrix stands for."""
    rows = {f.specimen.id: "".join(get_letter(f, check) for check in matrix.checks) for f in matrix.findings}
    return Round(seed=seed, circumstances=where, letters=rows)


def load_known(where: str) -> tuple[Round, ...]:
    """Stored rounds under these circumstances, by seed."""
    found = {r.seed: r for r in read(locate_ledger(NAME), Round) if r.circumstances == where}
    return tuple(found[seed] for seed in sorted(found))


def keep(one: Round) -> None:
    """Store a round."""
    append(locate_ledger(NAME), one)


def find_flips(rounds: Iterable[Round], checks: Sequence[str]) -> tuple[str, ...]:
    """Verdicts that differ from those of the first round: "seed 3, scale_alpha: step3.lora_forward is ·, not F"."""
    first, *others = [*rounds] or [Round(seed=0, circumstances="", letters={})]
    return tuple(
        f"seed {other.seed}, {name}: {check} is {theirs}, not {ours}"
        for other in others
        for name in first.letters
        for check, ours, theirs in zip(checks, first.letters[name], other.letters.get(name, ""), strict=False)
        if ours != theirs
    )
