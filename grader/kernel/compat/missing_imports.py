"""Imports that fail here. They do not end their cell: much is imported and never used.

A package that is not installed, a module that an installed package has dropped, or a name in it: using one of them
raises the error that its import would have raised. Decorative packages are elsewhere (see `stub_packages`).
"""

import ast
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

BIND = f"__import__({__name__!r}, fromlist=['bind']).bind"


class Missing:
    """Something that is not here. Importing it did no harm; using it raises the error of its import."""

    def __init__(self, error: Any, *derived: Any) -> None:
        """`error` of the import. With more arguments, a class statement derives a class of that name from this."""
        object.__setattr__(self, "_error", derived[0][0]._error if derived else error)
        if derived:
            self._miss()

    def _miss(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise self._error.with_traceback(None)

    def __getattr__(self, name: str) -> Any:
        """Raise; names of protocols are simply missing, since whoever looks at all variables asks for them."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self._miss()

    def __or__(self, other: Any) -> Any:
        """In an annotation, be there: `Thing | None`."""
        return self

    __ror__ = __or__
    __call__ = __getitem__ = __iter__ = __enter__ = __exit__ = __setattr__ = _miss


class ImportGuard(ast.NodeTransformer):
    """Has the lines below a failing import run, where it stands directly in a cell: `try: import x` asks for x."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        """Guard the imports of a cell."""
        node.body = [guard_import(statement) if _may_fail(statement) else statement for statement in node.body]
        return ast.fix_missing_locations(node)


def guard_import(statement: Any) -> ast.stmt:
    """Put an import in a `try` whose handler binds its names: to what is there, and to what is `Missing`."""
    module = (statement.module or "") if isinstance(statement, ast.ImportFrom) else ""
    names = {alias.name: alias.asname or alias.name for alias in statement.names if alias.name != "*"}
    handler = ast.ExceptHandler(ast.Name("ImportError", ast.Load()), None, ast.parse(_call_bind(module, names)).body)
    return ast.copy_location(ast.Try([statement], [handler], [], []), statement)


def _call_bind(module: str, names: Mapping[str, str]) -> str:
    """Write the call. Not everything of it stands in globals: in a function's `exec`, say."""
    return f"{BIND}(globals(), {module!r}, {dict(names)!r})"


def bind(namespace: dict[str, Any], module: str, names: Mapping[str, str]) -> None:
    """Bind what a failing import should have bound: name in the module (without one: module) -> variable."""
    failed = sys.exception()
    assert isinstance(failed, ImportError)
    for name, variable in names.items():
        try:
            found = __import__(module, fromlist=[name]) if module else __import__(name)
            value = getattr(found, name) if module else _follow(name, variable, found)
        except (ImportError, AttributeError) as error:
            value = Missing(error if isinstance(error, ImportError) else failed)
        namespace[variable if module else variable.partition(".")[0]] = value
    print(f"[grading] {_explain(failed)}")


def _follow(name: str, variable: str, package: Any) -> Any:
    """Return what `import a.b` binds (a), or `import a.b as c` (a.b)."""
    return package if name == variable else sys.modules[name]


def _explain(error: ImportError) -> str:
    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package not in sys.modules:
        return f"the package {package} is not installed on this machine"
    return f"an import fails on this machine, which matters only where it is used: {error}"


def _may_fail(statement: ast.stmt) -> bool:
    """Return True for imports of what does not belong to Python itself."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)) or getattr(statement, "level", None):
        return False
    names = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else [statement.module or ""]
    return any(name.partition(".")[0] not in sys.stdlib_module_names for name in names)
