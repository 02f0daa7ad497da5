"""Which files of this repository a module depends on, read off its source. Nothing is imported for it.

    closure(Tree(ROOT), ["grader.execution.run"])  ->  ("grader/__init__.py", "grader/assets/__init__.py", …)

A module depends on

- the modules that it imports, at once or later in a function, and on the packages that these lie in. What only a type
  checker imports (`if TYPE_CHECKING:`) does not count.
- modules that a string names: `"grader.sandbox.zygote"` is started with `-m`, imported by name, or loaded by a worker.
  After `"-m"` the name of a package stands for its `__main__`.
- files that a string names by their path: `"grader/kernel"` is copied as it stands, and counts whole.
- what a string names without a path: a file beside it (`"zygote.py"`), data of its room (`"feedback.html"`), or a
  folder beside it that is no package (`"templates"`).

Templates name each other in the same way. A string that is there by chance makes a closure larger than it has to be,
never smaller. Names that are put together while a program runs are not seen; so write such names out.
"""

import ast
import re
from collections.abc import Iterable, Iterator
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
        """The same files, but for one with another content. No file is added by it."""
        other = type(self)(self.root)
        other._contents, other._found = {**self._contents, name: content}, self._found
        vars(other).update(names=self.names, data=self.data, folders=self.folders)
        return other

    @cached_property
    def names(self) -> frozenset[str]:
        """Everything that a closure may hold: code and its data, without what Python or a desktop left there."""
        paths = (path for package in PACKAGES for path in (self.root / package).rglob("*") if path.is_file())
        names = (path.relative_to(self.root).as_posix() for path in paths)
        return frozenset(name for name in names if not _is_litter(name))

    @cached_property
    def data(self) -> tuple[str, ...]:
        """What of it is no module."""
        return tuple(name for name in self.names if not name.endswith(".py"))

    @cached_property
    def folders(self) -> frozenset[str]:
        """All folders of these files."""
        return frozenset(parent.as_posix() for name in self.names for parent in PurePosixPath(name).parents)

    def read(self, name: str) -> bytes:
        """The content of a file. Raises GraderError."""
        if name not in self._contents:
            try:
                self._contents[name] = (self.root / name).read_bytes()
            except OSError as error:
                raise GraderError(f"Cannot read {name} ({error.strerror}); restore it.") from error
        return self._contents[name]

    def holds(self, name: str) -> bool:
        """Whether there is a file of this name, of ours or beside it: `data/rubric.toml`."""
        inside = name == PurePosixPath(name).as_posix() and not name.startswith(("/", "."))
        return name in self.names or (inside and (self.root / name).is_file())

    def list_folder(self, folder: str) -> frozenset[str]:
        """All files in a folder, at any depth."""
        return frozenset(name for name in self.names if name.startswith(f"{folder}/"))

    def expand(self, entry: str) -> frozenset[str]:
        """The files that a module, file or folder stands for. Raises GraderError where there is none."""
        if found := self.list_folder(entry) or frozenset(locate_module(self, entry)):
            return found
        if self.holds(entry):
            return frozenset({entry})
        raise GraderError(f"There is no {entry} in {self.root}; restore it.")

    def find_direct(self, name: str) -> frozenset[str]:
        """The files that one file names."""
        key = (name, self.read(name))
        if key not in self._found:
            self._found[key] = frozenset(_resolve_references(self, name)) - {name}
        return self._found[key]


@dataclass(frozen=True)
class References:
    """What a source names, ours or not."""

    imports: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()


def closure(tree: Tree, entries: Iterable[str], without: Iterable[str] = ()) -> tuple[str, ...]:
    """All files that the entries depend on, directly or not, and themselves; sorted.

    Args:
        entries: modules (`grader.student`), files and folders (`tests/public`).
        without: files and folders that are left out, with what only they depend on.

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
    """Whether a file is one of the places, or in a folder that is one."""
    return any(name == place or name.startswith(f"{place}/") for place in places)


def locate_module(tree: Tree, module: str) -> Iterator[str]:
    """The file of a module, after those of the packages that it lies in. Nothing where it is none of ours."""
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
    """Of `grader.model.Profile`, the module that the name is in."""
    while name and not (found := tuple(locate_module(tree, name))):
        name = name.rpartition(".")[0]
    yield from found if name else ()


def _resolve_string(tree: Tree, name: str, text: str) -> Iterator[str]:
    """The files that a string in the file `name` stands for, in each of the ways that the top of this module lists."""
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
    """`grader/reporting` for all that is below it."""
    return "/".join(PurePosixPath(name).parts[:2])


@cache
def read_references(source: bytes, is_python: bool = True) -> References:
    """What a module or a template names."""
    text = source.decode("utf-8", "replace")
    strings = frozenset(STRING.findall(text))
    if not is_python:
        return References(strings=strings)
    programs = frozenset(f"{name}.__main__" for name in PROGRAM.findall(text))
    return References(frozenset(_list_imports(ast.parse(source))), strings | programs)


def _list_imports(node: ast.AST) -> Iterator[str]:
    """`grader.model.Profile` for `from grader.model import Profile`, from all statements that are ever run."""
    for statement in _list_statements(node):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            where = "." * statement.level + (statement.module or "")
            yield from (f"{where}{'' if where.endswith('.') else '.'}{alias.name}" for alias in statement.names)
        else:
            yield from _list_imports(statement)


def _list_statements(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in the blocks of a statement."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == TYPES_ONLY:
        yield from node.orelse
        return
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        found = getattr(node, block, ())
        yield from found if isinstance(found, list) else ()


def _is_litter(name: str) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in PurePosixPath(name).parts)
