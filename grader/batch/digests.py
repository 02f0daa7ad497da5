"""Short hashes of what a result depends on. Anything else may change without making a stored result wrong.

The *execution digest* stands for the code that decides what ends up in evidence and ledger; when it changes, notebooks
are executed again. The *judging digests*, one for each part, stand for what makes a result of that; when one changes,
stored evidence is judged again. `grader.closure` finds the files of each by following imports. Files count byte by
byte: students read docstrings.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from grader.closure import Tree, closure, is_below

CHARS: Final = 32
EXECUTION: Final = "execution"  # beside the names of the judging parts
VERSIONS: Final = "requirements.lock"
SUITE: Final = ("tests/public", "tests/hidden", "tests/conftest.py")
STAGES: Final = (  # what a worker goes through until evidence and ledger are written
    "grader.intake.notebook",
    "grader.execution.setup",
    "grader.execution.run",
    "grader.batch.ledger",
)
# It wires both stages: its own text counts for the first, and all that it imports for the second.
WORKER: Final = "grader/batch/worker_tools.py"


def digest_execution(root: Path) -> str:
    """Digest the code that executes; computed once in a process. Raises GraderError."""
    return _digest_all(root)[EXECUTION]


def digest_judging(root: Path) -> dict[str, str]:
    """Digest suite, rubric, calibration, judging code, reports and versions, by name. Raises GraderError."""
    return {name: digest for name, digest in _digest_all(root).items() if name != EXECUTION}


@cache
def _digest_all(root: Path) -> dict[str, str]:
    tree = Tree(root)
    return {name: digest_files(tree, files) for name, files in list_parts(tree).items()}


def list_parts(tree: Tree) -> dict[str, tuple[str, ...]]:
    """List the files behind each digest, by its name. Raises GraderError."""
    judging = closure(tree, [WORKER, *SUITE])
    return {
        EXECUTION: tuple(sorted({*closure(tree, STAGES), WORKER, VERSIONS})),
        "suite": tuple(name for name in judging if is_below(name, SUITE)),
        "rubric": ("data/rubric.toml",),
        "calibration": ("data/calibration.json",),
        "judge": tuple(name for name in judging if not is_below(name, SUITE)),
        "reports": closure(tree, ["grader.reporting.files"]),
        "versions": (VERSIONS,),
    }


def digest_files(tree: Tree, names: Iterable[str]) -> str:
    """Digest names and contents of files. Raises GraderError."""
    hasher = hashlib.sha256()
    for name in names:
        hasher.update(f"{name}\0".encode())
        hasher.update(_hash(tree.read(name)))
    return hasher.hexdigest()[:CHARS]


@cache
def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def hash_values(*parts: object) -> str:
    """Hash plain values, to name what depends on them."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:CHARS]
