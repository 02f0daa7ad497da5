"""Finding what the student defined, whatever happened to the names afterwards.

A notebook rebinds names: a variable called `copy` hides the module, `extract = extract(model)` replaces the function by
its result, a definition is repeated (the last one counts). So after every cell the interesting bindings are noted:
the last callable under each name we look for, and the module behind each name that once was one.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class Bindings:
    """Remembers callables and modules by the names they were bound to."""

    def __init__(self, names: Mapping[str, tuple[str, ...]]) -> None:
        """`names`: what to look for -> accepted names, best first."""
        self.names = names
        self.callables: dict[str, Any] = {}
        self.modules: dict[str, ModuleType] = {}
        self.order: dict[str, int] = {}

    def note(self, namespace: Mapping[str, Any]) -> None:
        """Take note of a namespace after a cell."""
        for name, value in list(namespace.items()):
            if isinstance(value, ModuleType) and name not in self.modules:
                self.modules[name] = value
            elif _is_definition(value) and self.callables.get(name) is not value:
                self.callables[name] = value
                self.order[name] = len(self.order) if name not in self.order else max(self.order.values()) + 1

    def lookup(self, what: str) -> tuple[str, Callable[..., Any]] | None:
        """The name and object for `what`: an exact name, else one that differs in case or underscores only."""
        exact = [name for name in self.names[what] if name in self.callables]
        loose = {_loose(name) for name in self.names[what]}
        similar = [name for name in self.callables if _loose(name) in loose]
        found = exact or sorted(similar, key=self.order.__getitem__, reverse=True)
        return (found[0], self.callables[found[0]]) if found else None

    @contextmanager
    def restored(self, namespace: dict[str, Any]) -> Iterator[None]:
        """Undo shadowing of modules for a while: `nn = 5` at the end of a notebook must not break its functions."""
        hidden = {name: namespace[name] for name, module in self.modules.items() if namespace.get(name, module) is not module}
        namespace.update({name: self.modules[name] for name in hidden})
        try:
            yield
        finally:
            namespace.update(hidden)


def _loose(name: str) -> str:
    return name.replace("_", "").lower()


def _is_definition(value: Any) -> bool:
    return (inspect.isfunction(value) or inspect.isclass(value)) and getattr(value, "__module__", "") == "__main__"
