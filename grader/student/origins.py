"""Where the definitions come from that a notebook uses: its own cells, or files that are not handed in with it."""

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final

from grader import assignment
from grader.judging.places.code import DEFINITIONS, parse_cell
from grader.kernel.namespace import Bindings, is_definition
from grader.student.guards import attempt

WANTED: Final = frozenset(name for names in assignment.LOOKED_FOR.values() for name in names)
RUNS: Final = re.compile(r"^\s*%run\s+(?:-\w\s+)*['\"]?([\w./-]+?\.py)\b", re.MULTILINE)
NOT_WRITING: Final = re.compile(rf"{RUNS.pattern}|#.*", re.MULTILINE)
KIT: Final = "grader"  # what the notebook imports its checks from


@dataclass(frozen=True)
class Origin:
    """A definition that comes from a file. `judged`: questions are put to it; else grading does not see it."""

    name: str
    file: str
    judged: bool


def collect_definitions(sources: Sequence[str]) -> str:
    """Return the code of what is looked for, from the cells that are Python: one that is not costs only itself."""
    trees = filter(None, map(parse_cell, sources))
    nodes = (node for tree in trees for node in tree.body if isinstance(node, DEFINITIONS) and node.name in WANTED)
    return "\n".join(map(ast.unparse, nodes))


def find_origin(family: str, bindings: Bindings, namespace: Mapping[str, Any], sources: Sequence[str]) -> Origin | None:
    """Return the file that a definition comes from; None for one of the notebook's cells, and where there is none.

    The handout's name may hold what was imported after a cell had defined it: that is what the notebook uses now.
    """
    found, name = bindings.lookup(family), assignment.LOOKED_FOR[family][0]
    imported = attempt(_find_imported, namespace.get(name)) if found is None or found[0] == name else None
    if imported is not None:
        return Origin(name, imported, judged=False)
    file = attempt(_locate, found[1]) if found else None
    return Origin(found[0], file, judged=True) if found and file and not _is_written(file, sources) else None


def _find_imported(value: Any) -> str | None:
    """Return the file, else the module, of a class or function of a library or of a file elsewhere."""
    if not issubclass(type(value), (FunctionType, type)) or is_definition(value):
        return None
    return _locate(value) or (value.__module__ if _find_module(value) else None)


def _locate(value: Any) -> str | None:
    """Return the file of the module that defines a class or function; None for one of the notebook's cells."""
    file = getattr(_find_module(value), "__file__", None)
    return str(file) if file else None


def _find_module(value: Any) -> ModuleType | None:
    """Return the module that has a class or function under its name.

    None has what a cell defines, and what a library's decorator makes of it.
    """
    name = value.__module__
    module = sys.modules.get(name) if name != "__main__" else None
    return module if module is not None and vars(module).get(value.__qualname__) is value else None


def _is_written(file: str, sources: Sequence[str]) -> bool:
    """Return True if a cell may write the file, as `%%writefile` and `!wget` do: then it is there in grading, too."""
    name = Path(file).name
    return any(name in NOT_WRITING.sub("", source) for source in sources)


def list_absent(folder: Path, sources: Sequence[str]) -> list[str]:
    """Return the files beside a notebook that its cells import or run, and that no cell writes."""
    names = dict.fromkeys(name for source in sources for name in _list_used(source))
    files = (folder / name for name in names)
    found = [file for file in files if file.is_file() or any(file.with_suffix("").glob("*.py"))]
    return [_show(file) for file in found if not _is_written(file.name, sources)]


def _list_used(source: str) -> Iterator[str]:
    """Yield the files that the imports of a cell would be of, if they are beside the notebook."""
    yield from RUNS.findall(source)
    for node in ast.walk(parse_cell(source) or ast.Module([], [])):
        if isinstance(node, ast.Import):
            yield from (f"{alias.name.split('.')[0]}.py" for alias in node.names if not _is_known(alias.name))
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module and not _is_known(node.module):
            yield f"{node.module.split('.')[0]}.py"


def _is_known(module: str) -> bool:
    top = module.split(".")[0]
    return top == KIT or top in sys.stdlib_module_names


def _show(file: Path) -> str:
    return file.name if file.is_file() else f"{file.stem}/"
