"""Finds the files of this repository that a module depends on, by reading sources; imports nothing.

    closure(Tree(ROOT), ["grader.execution.run"])  ->  ("grader/__init__.py", "grader/assets/__init__.py", …)

A module depends on

- the modules that it imports, anywhere in its source, and the packages that these lie in. What only a type checker
  imports (`if TYPE_CHECKING:`) does not count.
- modules that a string names: `"grader.sandbox.zygote"` is started with `-m`, imported by name, or loaded by a worker.
  After `"-m"` a package stands for its `__main__`.
- files that a string names by their path; a folder, such as `"grader/kernel"`, counts whole.
- files that a string names without a path: one beside the module (`"zygote.py"`), data of its room
  (`"feedback.html"`), or a folder beside it that is no package (`"templates"`).

Templates name each other in the same way. A string that matches by chance makes a closure larger than necessary, never
smaller. Names that a program composes are not seen: write such names out.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import resolve_name
from pathlib import Path, PurePosixPath
from typing import Final, Self

from grader.errors import GraderError

PACKAGES: Final = ("grader", "tests")  # what can be imported from here
STRING: Final = re.compile(r"""["']([\w./-]+)["']""")
PROGRAM: Final = re.compile(r"""["']-m["'],\s*["']([\w.]+)["']""")
TYPES_ONLY: Final = "TYPE_CHECKING"


class Tree:
    """The files of a repository, each read once. Names are paths below its root, with `/` between their parts."""

    def __init__(self, root: Path) -> None:
        """`root`: the folder of `grader` and `tests`."""
        self.root = root
        self._contents: dict[str, bytes] = {}
        self._found: dict[tuple[str, bytes], frozenset[str]] = {}

    def replace(self, name: str, content: bytes) -> Self:
        """Return the same files, one of them with another content."""
        other = copy(self)
        other._contents = {**self._contents, name: content}
        return other

    @cached_property
    def names(self) -> frozenset[str]:
        """All that a closure may hold: code and its data, without the caches of Python or a desktop."""
        paths = (path for package in PACKAGES for path in (self.root / package).rglob("*") if path.is_file())
        names = (path.relative_to(self.root) for path in paths)
        return frozenset(
            name.as_posix() for name in names if not any(p.startswith(".") or p == "__pycache__" for p in name.parts)
        )

    @cached_property
    def data(self) -> tuple[str, ...]:
        """The names of files that are no modules."""
        return tuple(name for name in self.names if not name.endswith(".py"))

    @cached_property
    def folders(self) -> frozenset[str]:
        """The folders of these files."""
        return frozenset(parent.as_posix() for name in self.names for parent in PurePosixPath(name).parents)

    def read(self, name: str) -> bytes:
        """Read a file. Raises GraderError."""
        if name not in self._contents:
            try:
                self._contents[name] = (self.root / name).read_bytes()
            except OSError as error:
                raise GraderError(f"Cannot read {name} ({error.strerror}); restore it.") from error
        return self._contents[name]

    def holds(self, name: str) -> bool:
        """Return True if there is a file of this name, also outside the packages: `data/rubric.toml`."""
        inside = name == PurePosixPath(name).as_posix() and not name.startswith(("/", "."))
        return name in self.names or (inside and (self.root / name).is_file())

    def list_folder(self, folder: str) -> frozenset[str]:
        """List all files in a folder, at any depth."""
        return frozenset(name for name in self.names if name.startswith(f"{folder}/"))

    def expand(self, entry: str) -> frozenset[str]:
        """Find the files that a module, file or folder stands for. Raises GraderError where there is none."""
        if found := self.list_folder(entry) or frozenset(locate_module(self, entry)):
            return found
        if self.holds(entry):
            return frozenset({entry})
        raise GraderError(f"There is no {entry} in {self.root}; restore it.")

    def find_direct(self, name: str) -> frozenset[str]:
        """Find the files that one file names."""
        key = (name, self.read(name))
        if key not in self._found:
            self._found[key] = frozenset(_resolve_references(self, name)) - {name}
        return self._found[key]


@dataclass(frozen=True)
class References:
    """The names in a source, of files here or not."""

    imports: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()


def closure(tree: Tree, entries: Iterable[str], without: Iterable[str] = ()) -> tuple[str, ...]:
    """List the files that the entries depend on, directly or not, and their own; sorted.

    Args:
        entries: modules (`grader.student`), files and folders (`tests/public`).
        without: files and folders to leave out, with what only they depend on.

    Raises:
        GraderError: an entry is not there, or a file cannot be read.
    """
    left_out = tuple(without)
    found: set[str] = set()
    waiting = [name for entry in entries for name in tree.expand(entry)]
    while waiting:
        name = waiting.pop()
        if name not in found and not is_below(name, left_out):
            found.add(name)
            waiting += tree.find_direct(name)
    return tuple(sorted(found))


def is_below(name: str, places: Iterable[str]) -> bool:
    """Return True if a file is one of the places, or in a folder that is one."""
    return any(name == place or name.startswith(f"{place}/") for place in places)


def locate_module(tree: Tree, module: str) -> Iterator[str]:
    """Find the files of the packages that a module lies in, then its own; nothing for a module from elsewhere."""
    path = module.replace(".", "/")
    own = next((name for name in (f"{path}.py", f"{path}/__init__.py") if name in tree.names), None)
    if own:
        parents = (f"{parent.as_posix()}/__init__.py" for parent in PurePosixPath(path).parents)
        yield from (name for name in parents if name in tree.names)
        yield own


def _resolve_references(tree: Tree, name: str) -> Iterator[str]:
    references = read_references(tree.read(name), name.endswith(".py"))
    package = PurePosixPath(name).parent.as_posix().replace("/", ".")
    for imported in references.imports:
        yield from _locate_import(tree, resolve_name(imported, package))
    for text in references.strings:
        yield from _resolve_string(tree, name, text)


def _locate_import(tree: Tree, name: str) -> Iterator[str]:
    """Find the module of a name such as `grader.model.Profile`."""
    while name and not (found := tuple(locate_module(tree, name))):
        name = name.rpartition(".")[0]
    yield from found if name else ()


def _resolve_string(tree: Tree, name: str, text: str) -> Iterator[str]:
    """Find the files that a string in the file `name` stands for, in each of the ways listed at the top."""
    beside = f"{PurePosixPath(name).parent.as_posix()}/{text}"
    if "/" in text:
        yield from tree.list_folder(text) if text in tree.folders else [text] * tree.holds(text)
    elif "." in text:
        yield from locate_module(tree, text)
        yield from {beside} & tree.names
        yield from (data for data in tree.data if data.endswith(f"/{text}") and is_below(data, [_find_room(name)]))
    elif beside in tree.folders and f"{beside}/__init__.py" not in tree.names:
        yield from tree.list_folder(beside)


def _find_room(name: str) -> str:
    """Return `grader/reporting` for all that is below it."""
    return "/".join(PurePosixPath(name).parts[:2])


@cache
def read_references(source: bytes, is_python: bool = True) -> References:
    """Read the names in a module or a template."""
    text = source.decode("utf-8", "replace")
    strings = frozenset(STRING.findall(text))
    if not is_python:
        return References(strings=strings)
    programs = frozenset(f"{name}.__main__" for name in PROGRAM.findall(text))
    return References(frozenset(_list_imports(ast.parse(source))), strings | programs)


def _list_imports(node: ast.AST) -> Iterator[str]:
    """List `grader.model.Profile` for `from grader.model import Profile`, from all statements that ever run."""
    for statement in _list_statements(node):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            where = "." * statement.level + (statement.module or "")
            yield from (f"{where}{'' if where.endswith('.') else '.'}{alias.name}" for alias in statement.names)
        else:
            yield from _list_imports(statement)


def _list_statements(node: ast.AST) -> Iterator[ast.AST]:
    """List the statements in the blocks of a statement."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == TYPES_ONLY:
        yield from node.orelse
        return
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        found = getattr(node, block, ())
        yield from found if isinstance(found, list) else ()
