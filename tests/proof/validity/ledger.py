"""Results of long runs, one JSON line each, so that what was interrupted is resumed and nothing is run twice."""

import json
from pathlib import Path
from typing import TypeVar

from grader.model import FrozenModel
from grader.paths import MEASURED

Line = TypeVar("Line", bound=FrozenModel)


def locate_ledger(name: str) -> Path:
    """The file that holds the lines of this name."""
    return MEASURED / f"{name}.jsonl"


def read(path: Path, kind: type[Line]) -> tuple[Line, ...]:
    """All lines, none without a file. A line that was cut off by a crash is left out."""
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(kind.model_validate_json(line) for line in lines if _is_whole(line))


def append(path: Path, line: FrozenModel) -> None:
    """Add a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{line.model_dump_json()}\n")  # a line before it may have been cut off by a crash


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
