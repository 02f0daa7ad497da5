"""What a result depends on, as short hashes. Anything else may change without making a stored result wrong."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CHARS: Final = 32

EXECUTION: Final = (  # the code that decides what ends up in evidence; certificates stand in for weights that are gone
    "grader/kernel",
    "grader/execution",
    "grader/sandbox",
    "grader/assignment.py",
    "grader/isolation.py",
    "grader/profiles.py",
    "grader/text.py",
    "grader/intake/notebook.py",
    "grader/oracle/certificates.py",
    "grader/oracle/challenges.py",
    "grader/assets/metric_modules",
    "grader/assets/offline_environment.py",
    "grader/batch/ledger.py",
)
JUDGING: Final = {
    "suite": ("tests/public", "tests/hidden"),
    "rubric": ("data/rubric.toml",),
    "calibration": ("data/calibration.json",),
    "judge": (
        "grader/oracle",
        "grader/kernel/naming.py",
        "grader/kernel/reviews_seen.py",
        "grader/kernel/weights.py",
        "grader/assignment.py",
        "grader/calibration.py",
        "grader/case.py",
        "grader/claims.py",
        "grader/definitions.py",
        "grader/evidence.py",
        "grader/grading.py",
        "grader/text.py",
        "grader/judging.py",
        "grader/lora_answers.py",
        "grader/model.py",
        "grader/profiles.py",
        "grader/project.py",
        "grader/scoring.py",
        "grader/suite.py",
        "grader/suite_plugin.py",
        "grader/tampering.py",
    ),
    "reports": ("grader/reporting",),
}
KINDS: Final = (".py", ".toml", ".json", ".html", ".css", ".js")


def digest_code(root: Path) -> str:
    """Of the code that executes."""
    return digest_files(root, EXECUTION)


def digest_judging(root: Path) -> dict[str, str]:
    """Of suite, rubric, calibration, judging code and reports, by name."""
    return {name: digest_files(root, paths) for name, paths in JUDGING.items()}


def digest_files(root: Path, names: Iterable[str]) -> str:
    """Of the contents of files and folders below `root`; what is not there counts as empty."""
    hasher = hashlib.sha256()
    for name in names:
        for path in _files(root / name):
            hasher.update(f"{path.relative_to(root).as_posix()}\0".encode())
            hasher.update(hashlib.sha256(path.read_bytes()).digest())
    return hasher.hexdigest()[:CHARS]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.suffix in KINDS and p.is_file() and "__pycache__" not in p.parts)


def hash_values(*parts: object) -> str:
    """One hash of plain values, as the name of what depends on them."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:CHARS]
