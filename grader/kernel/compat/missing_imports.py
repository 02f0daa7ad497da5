"""Packages that are not installed here. An import of one does not end its cell: many are imported and never used.

Using one that is not decorative (see `stub_packages`) raises the error that its import would have raised.
"""

import ast
import importlib.util
from typing import Any, NoReturn

MADE = f"__import__({__name__!r}, fromlist=['MissingPackage']).MissingPackage"


class MissingPackage:
    """A package that is not here, or something in it. Importing it did no harm; using it raises ModuleNotFoundError."""

    def __init__(self, name: str, *derived: Any) -> None:
        """`name` of the package. With more arguments, a class statement derives a class of that name from this."""
        object.__setattr__(self, "_package", derived[0][0]._package if derived else name)
        if derived:
            self._miss()

    def _miss(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ModuleNotFoundError(f"No module named {self._package!r}", name=self._package)

    def __getattr__(self, name: str) -> Any:
        """Raise; names of protocols are simply missing, since whoever looks at all variables asks for them."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self._miss()

    __call__ = __getitem__ = __iter__ = __enter__ = __exit__ = __setattr__ = _miss


class ImportGuard(ast.NodeTransformer):
    """Has the lines below a failing import run, where it stands directly in a cell: `try: import x` asks for x."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        """Guard the imports of a cell."""
        node.body = [guard_import(statement) if _fails(statement) else statement for statement in node.body]
        return ast.fix_missing_locations(node)


def guard_import(statement: Any) -> ast.stmt:
    """Put an import in a `try` whose handler binds its names to what says that the package is missing."""
    package = _get_package(statement)
    bound = [alias.asname or alias.name.partition(".")[0] for alias in statement.names if alias.name != "*"]
    lines = [f"{name} = {MADE}({package!r})" for name in bound]
    lines.append(f"print('[grading] the package {package} is not installed on this machine')")
    handler = ast.ExceptHandler(ast.Name("ModuleNotFoundError", ast.Load()), None, ast.parse("\n".join(lines)).body)
    return ast.copy_location(ast.Try([statement], [handler], [], []), statement)


def _get_package(statement: Any) -> str:
    name = statement.module if isinstance(statement, ast.ImportFrom) else statement.names[0].name
    return str(name or "").partition(".")[0]


def _fails(statement: ast.stmt) -> bool:
    """Return True for the import of a package that is nowhere. Of several in one statement, the first decides."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)) or getattr(statement, "level", None):
        return False
    try:
        return importlib.util.find_spec(_get_package(statement)) is None
    except (ImportError, ValueError):
        return False
