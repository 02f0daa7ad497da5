"""The corpus: tables of small patches to the reference solution, each with the verdicts that it has to get.

A case is a `[[mutant]]` or a `[[variant]]` in a TOML file. What it changes is one of

- `edits`: lists of [cell id, old text, new text]; the cell id `*` stands for all cells that hold the old text
- `define`: source that takes the place of the definition of the same name, wherever the reference has it
- `again`: source that is run after the last cell, as when a notebook defines a function twice (the last one counts)

The base is the reference up to its last training, without its assertions: students who make mistakes have deleted them.
"""

import ast
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import nbformat

from grader.errors import GraderError
from tests.proof.validity.requirements import find_blocked

LAST_CELL: Final = "train-lora"  # what follows only shows results


class CaseKind(StrEnum):
    """The purpose of a case."""

    MUTANT = "mutant"
    VARIANT = "variant"


@dataclass(frozen=True)
class Base:
    """The notebook that cases are patches of: sources of its code cells by cell id, in order."""

    cells: Mapping[str, str]


@dataclass(frozen=True)
class CorpusCase:
    """One patched notebook and what the grader has to say of it. All checks but `failed` and `blocked` have to pass."""

    id: str
    kind: CaseKind
    words: str  # the mistake, or what is different
    seen: bool  # in real submissions
    cells: tuple[str, ...]
    departs: int  # index of the first cell that differs from the base
    failed: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    says: tuple[str, ...] = ()  # what the feedback must contain
    training: bool = False  # shows only in accuracy
    causes: tuple[str, ...] = ()  # ids of the mistakes that the feedback has to name


def read_base(notebook: Path) -> Base:
    """The reference solution as a base."""
    cells: dict[str, str] = {}
    for cell in nbformat.read(notebook, 4).cells:
        if cell.cell_type == "code":
            cells[cell.id] = strip_assertions(cell.source)
        if cell.id == LAST_CELL:
            return Base(cells)
    raise GraderError(f"{notebook} has no cell {LAST_CELL!r}; restore its ids.")


def strip_assertions(source: str) -> str:
    """The same cell without its top-level assertions."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assert):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "\n".join(lines).strip()


def read_corpus(folder: Path, base: Base) -> tuple[CorpusCase, ...]:
    """All cases of all tables in `folder`, mutants first. Raises GraderError for a table that does not fit."""
    found = [
        _patch_base(entry, kind, base, path)
        for kind in CaseKind
        for path in sorted((folder / f"{kind}s").glob("*.toml"))
        for entry in read_table(path, kind)
    ]
    twice = {case.id for case in found if sum(other.id == case.id for other in found) > 1}
    if twice:
        raise GraderError(f"The corpus has more than one case called {', '.join(sorted(twice))}; rename one.")
    return tuple(found)


def read_table(path: Path, name: str) -> list[dict[str, Any]]:
    """The entries `[[name]]` of a TOML file. Raises GraderError."""
    try:
        return list(tomllib.loads(path.read_text(encoding="utf-8"))[name])
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise GraderError(f"{path} is not a table of {name}s ({error}); mend it.") from error


def _patch_base(entry: Mapping[str, Any], kind: CaseKind, base: Base, path: Path) -> CorpusCase:
    try:
        cells = patch(base, entry.get("edits", ()), entry.get("define", ""), entry.get("again", ""))
        shared = takewhile(lambda pair: pair[0] == pair[1], zip(base.cells.values(), cells, strict=False))
        return build_case(entry, kind, cells, departs=sum(1 for _ in shared))
    except (LookupError, SyntaxError) as error:
        raise GraderError(f"{path}, {entry.get('id', '?')}: {error}") from error


def build_case(entry: Mapping[str, Any], kind: CaseKind, cells: Sequence[str], departs: int) -> CorpusCase:
    """The case that an entry of a table describes. Raises KeyError."""
    failed, blocked, says = (tuple(entry.get(name, ())) for name in ("failed", "blocked", "says"))
    seen, training = (entry.get(name, False) for name in ("seen", "training"))
    verdicts = frozenset(failed), find_blocked(failed, blocked)
    causes = tuple(entry.get("cause", "").split())
    return CorpusCase(entry["id"], kind, entry["words"], seen, tuple(cells), departs, *verdicts, says, training, causes)


def patch(base: Base, edits: Iterable[Sequence[str]], define: str, again: str) -> tuple[str, ...]:
    """The base's cells with a patch applied. LookupError when the patch has nothing to take hold of."""
    cells = dict(base.cells)
    for cell_id, old, new in edits:
        targets = {name: source for name, source in cells.items() if old in source and cell_id in ("*", name)}
        if not targets:
            raise LookupError(f"no {old!r} in cell {cell_id!r} of the reference")
        cells |= {name: source.replace(old, new) for name, source in targets.items()}
    if define:
        _redefine(cells, define)
    return (*cells.values(), again) if again else tuple(cells.values())


def _redefine(cells: dict[str, str], text: str) -> None:
    """Put `text` in the place of the definition that has the name of its last one."""
    name = [node.name for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))][-1]
    for cell_id, source in cells.items():
        for node in ast.parse(source).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
                lines = source.splitlines()
                lines[node.lineno - 1 : node.end_lineno] = text.strip().splitlines()
                cells[cell_id] = "\n".join(lines)
                return
    raise LookupError(f"the reference does not define {name!r}")
