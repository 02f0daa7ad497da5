"""Finding what the student defined, whatever happened to the names afterwards.

A notebook rebinds names: a variable called `copy` hides the module, `extract = extract(model)` replaces the function by
its result, `sum` becomes a number, a definition is repeated (the last one counts). So after every cell the interesting
bindings are noted: the last definition under each name, and what each name stood for that was once imported.
"""

import ast
import builtins
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

from grader.protocol.source import UNPARSABLE

KEPT_BUILTINS = ("input", "open", "exit", "quit", "display", "get_ipython", "print")
MISSING = object()
PACKAGES = "site-packages"  # of an environment beside the notebook; those of the grader are in a hidden folder


class Bindings:
    """Definitions and imports of a notebook, by the names they were bound to."""

    def __init__(self, names: Mapping[str, tuple[str, ...]]) -> None:
        """`names`: what to look for -> accepted names, best first."""
        self.names = names
        self.callables: dict[str, Any] = {}  # in the order of their last definition
        self.in_files: dict[str, Any] = {}  # defined in files that the notebook has written and imports whole
        self.imported: dict[str, Any] = {}

    def note(self, namespace: dict[str, Any], source: str = "") -> None:
        """Take note of a namespace after a cell with this source."""
        for name, value in list(namespace.items()):
            with suppress(Exception):  # a student's object may raise anything when it is asked for an attribute
                if is_definition(value):
                    self._remember(name, value)
                elif isinstance(value, ModuleType) or inspect.isroutine(value) or inspect.isclass(value):
                    self.imported.setdefault(name, value)
        self._note_overwritten(namespace, source)
        for module in _list_own([*namespace.values()]):
            self.in_files |= _list_defined(module)

    def _remember(self, name: str, value: Any) -> None:
        if self.callables.get(name) is not value:
            self.callables.pop(name, None)
            self.callables[name] = value

    def _note_overwritten(self, namespace: dict[str, Any], source: str) -> None:
        """`def extract` and `extract = extract(model)` in one cell: run the definition once more, to get hold of it."""
        wanted = {name for names in self.names.values() for name in names}
        for node in _list_definitions(source):
            if node.name in wanted and not is_definition(namespace.get(node.name, len)) and node.name in namespace:
                found = _execute_definition(node, namespace)
                if found is not MISSING:
                    self._remember(node.name, found)

    def lookup(self, what: str) -> tuple[str, Callable[..., Any]] | None:
        """Return name and object for `what`: an exact name, else one that differs in case or underscores only.

        The notebook's own names go before those in files that it has written and imports whole: `import my_lora`.
        """
        for callables in (self.callables, self.in_files):
            if found := self._find(what, callables) or self._find_in_class(what, callables):
                return found
        return None

    def _find(self, what: str, callables: Mapping[str, Any]) -> tuple[str, Callable[..., Any]] | None:
        loose = {_loosen(name) for name in self.names[what]}
        exact = [name for name in self.names[what] if name in callables]
        similar = [n for n in reversed([*callables]) if _loosen(n) in loose and _serves(what, callables[n])]
        return next(((name, callables[name]) for name in (*exact, *similar)), None)

    def _find_in_class(self, what: str, callables: Mapping[str, Any]) -> tuple[str, Callable[..., Any]] | None:
        """Find a function that is kept in a class and callable without an instance."""
        for cls in filter(inspect.isclass, reversed([*callables.values()])):
            for name in self.names[what]:
                if _needs_no_instance(inspect.getattr_static(cls, name, None)):
                    return name, getattr(cls, name)
        return None

    @contextmanager
    def restore(self, namespace: dict[str, Any], definitions: bool = False) -> Iterator[None]:
        """Undo shadowing for a while: `nn = 5` at the end of a notebook must not break its functions.

        Restores what was imported and built in; with `definitions`, also what the notebook itself had defined.
        """
        wanted = dict(self._find_hidden_imports(namespace)) | dict(_find_hidden_builtins(namespace))
        if definitions:
            wanted |= {name: value for name, value in self.callables.items() if namespace.get(name) is not value}
        hidden = {name: namespace.get(name, MISSING) for name in wanted}
        namespace.update(wanted)
        try:
            yield
        finally:
            for name, value in hidden.items():
                _put_back(namespace, name, value)

    def _find_hidden_imports(self, namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in self.imported.items():
            current = namespace.get(name)
            if current is not value and (isinstance(value, ModuleType) or not callable(current)):
                yield name, value


def _find_hidden_builtins(namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in namespace.items():
        if hasattr(builtins, name) and not name.startswith("_") and name not in KEPT_BUILTINS and not callable(value):
            yield name, getattr(builtins, name)


def _put_back(namespace: dict[str, Any], name: str, value: Any) -> None:
    if value is MISSING:
        namespace.pop(name, None)
    else:
        namespace[name] = value


def _list_definitions(source: str) -> list[Any]:
    """Return the functions and classes of a cell that are not inside of others."""
    try:
        body = ast.parse(source).body
    except UNPARSABLE:
        return []
    return [node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]


def _execute_definition(node: Any, namespace: dict[str, Any]) -> Any:
    """Return what a definition makes, leaving the namespace as it is."""
    before = namespace.get(node.name, MISSING)
    try:
        exec(compile(ast.Module([node], []), "<definition>", "exec"), namespace)
        return namespace.get(node.name, MISSING)
    except Exception:  # decorators and default values may be anything
        return MISSING
    finally:
        _put_back(namespace, node.name, before)


def _list_own(values: Iterable[Any]) -> list[ModuleType]:
    """Return those of the values that are modules in files of the notebook, and what of it these import whole."""
    found: list[ModuleType] = []
    waiting = [*values]
    for value in waiting:  # which grows
        with suppress(Exception):  # as in `note`
            if isinstance(value, ModuleType) and value not in found and _is_of_notebook(value.__name__):
                found.append(value)
                waiting += vars(value).values()
    return found


def _list_defined(module: ModuleType) -> dict[str, Any]:
    found = {}
    for name, value in [*vars(module).items()]:
        with suppress(Exception):  # as in `note`
            if is_definition(value):
                found[name] = value
    return found


def _serves(what: str, value: Any) -> bool:
    """Return False for a definition of another kind: a helper called `lora` is no layer."""
    return what != "lora" or not isinstance(value, FunctionType)


def _loosen(name: str) -> str:
    return name.replace("_", "").lower()


def is_definition(value: Any) -> bool:
    """Return True if the notebook itself, or a file that it has written, defines the callable `value`.

    Asks for its type and what is stored in it, since its `__getattr__` may raise anything or say yes to everything.
    """
    kind = type(value)
    if issubclass(kind, functools.partial):
        return True
    if kind is MethodType:
        value, kind = value.__func__, type(value.__func__)
    wraps = inspect.getattr_static(value, "__wrapped__", MISSING) is not MISSING
    if kind is FunctionType or issubclass(kind, type) or (wraps and callable(value)):
        return _is_of_notebook(getattr(value, "__module__", ""))
    return callable(value) and not issubclass(kind, nn.Module) and _is_of_notebook(kind.__module__)


def _is_of_notebook(module_name: Any) -> bool:
    if module_name == "__main__":
        return True
    module = sys.modules.get(module_name) if isinstance(module_name, str) else None
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)  # a folder has none
    here = Path.cwd().resolve()
    if not isinstance(file, str) or not (place := Path(file).resolve()).is_relative_to(here):
        return False
    return not any(part.startswith(".") or part == PACKAGES for part in place.relative_to(here).parts)


def _needs_no_instance(member: Any) -> bool:
    if isinstance(member, (staticmethod, classmethod)):
        return True
    if not inspect.isfunction(member):
        return False
    try:
        return next(iter(inspect.signature(member).parameters), "self") != "self"
    except (TypeError, ValueError):  # it says something else of itself
        return False
