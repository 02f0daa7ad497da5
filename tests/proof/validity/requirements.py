"""The checks that wait for others, read from the suite's source, so that tables need not repeat it."""

import ast
from collections.abc import Collection, Mapping
from functools import cache

from grader.paths import HIDDEN_TESTS, PUBLIC_TESTS


@cache
def read_requirements() -> Mapping[str, frozenset[str]]:
    """Return the checks that each check of the suite waits for: `@check(id, title, requires=(...))`."""
    found: dict[str, frozenset[str]] = {}
    for path in (path for folder in (PUBLIC_TESTS, HIDDEN_TESTS) for path in sorted(folder.glob("test_*.py"))):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check":
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                requires = ast.literal_eval(given["requires"]) if "requires" in given else ()
                found[ast.literal_eval(node.args[0])] = frozenset(requires)
    return found


def find_blocked(
    failed: Collection[str], blocked: Collection[str], requirements: Mapping[str, frozenset[str]] | None = None
) -> frozenset[str]:
    """Return all checks that wait for one of these, directly or not, and those that are `blocked` for other reasons.

    >>> find_blocked({"a"}, (), {"a": frozenset(), "b": frozenset("a"), "c": frozenset("b")})
    frozenset({'b', 'c'})
    """
    requirements = read_requirements() if requirements is None else requirements
    found, stopped = frozenset(blocked), frozenset(failed)
    while more := {name for name, needs in requirements.items() if needs & (found | stopped)} - found - stopped:
        found |= more
    return found
