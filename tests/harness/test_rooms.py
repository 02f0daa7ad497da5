"""Which room may import which: along the flow of data, without a circle, and nothing of the kernel's."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from grader.closure import read_references
from grader.paths import ROOT

# From the facts to the command line. A room imports only rooms to the left of it, and itself.
ORDER = (
    *("assignment", "errors", "text", "paths", "packages", "model", "closure"),
    *("protocol", "kernel"),
    *("intake", "assets", "machine", "sandbox", "challenges", "execution", "evidence", "oracle", "judging"),
    *("canary", "pipeline", "grades", "similarity", "reporting", "gradebook"),
    *("batch", "review", "student", "authoring", "cli", "__main__"),
)
# The kernel's code is copied beside the student's: it holds nothing but what the protocol says.
MAY_IMPORT_THE_KERNEL = {"student": "runs inside the student's own notebook, where there is no other kernel"}
MAX_LINES = 45
MAX_PARAMETERS = 8


def module_name(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / "grader").rglob("*.py"))}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def ours(name: str) -> str:
    """The module of ours that a name stands for or lies in; nothing for others."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


IMPORTED = {module: read_references(path.read_bytes()).imports for module, path in MODULES.items()}
IMPORTS: Mapping[str, frozenset[str]] = {
    module: frozenset(found for name in names if (found := ours(name))) - {module} for module, names in IMPORTED.items()
}
PAIRS = sorted({(room(module), room(other)) for module, others in IMPORTS.items() for other in others})


def cycle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_room_has_its_place() -> None:
    assert {room(module) for module in MODULES} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize(("importer", "imported"), [pair for pair in PAIRS if pair[0] != pair[1]])
def test_imports_follow_the_data(importer: str, imported: str) -> None:
    if imported != "__init__":  # the version
        assert ORDER.index(imported) < ORDER.index(importer)


@pytest.mark.parametrize("room_", ["protocol", "kernel"])
def test_the_witness_knows_nothing_else(room_: str) -> None:
    assert {imported for importer, imported in PAIRS if importer == room_} <= {"protocol", room_}


def test_trusted_code_imports_nothing_of_the_kernels() -> None:
    importers = {importer for importer, imported in PAIRS if imported == "kernel"} - {"kernel"}
    assert importers == set(MAY_IMPORT_THE_KERNEL)


def test_no_module_is_in_a_circle() -> None:
    assert cycle(IMPORTS) == []


def test_a_circle_would_be_seen() -> None:
    assert cycle({"a": ["b"], "b": ["c"], "c": ["a"]})


@pytest.mark.parametrize("module", MODULES)
def test_the_product_imports_no_tests(module: str) -> None:
    assert not [name for name in IMPORTED[module] if name.split(".")[0] == "tests"]


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    folders = ("grader", "tests/public", "tests/hidden", "tests/proof")
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{path.relative_to(ROOT)}: {node.name}", node


def test_no_function_is_too_long() -> None:
    lengths = {name: (node.end_lineno or node.lineno) - node.lineno + 1 for name, node in functions()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_function_has_too_many_parameters() -> None:
    counts = {name: count_parameters(node.args) for name, node in functions()}
    assert {name: count for name, count in counts.items() if count > MAX_PARAMETERS} == {}


def count_parameters(arguments: ast.arguments) -> int:
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])
