"""Imports of packages that are not here: harmless, until one of them is used."""

import ast
from typing import Any

import pytest

from grader.kernel.compat.missing_imports import ImportGuard, Missing

ABSENT = "package_of_nobody"


def run(source: str) -> dict[str, Any]:
    """The variables of a cell that was run."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(ImportGuard().visit(ast.parse(source)), "<cell>", "exec"), namespace)
    return namespace


IMPORTS = [
    pytest.param(f"import {ABSENT}", ABSENT, id="module"),
    pytest.param(f"import {ABSENT}.part", ABSENT, id="part of a package"),
    pytest.param(f"import {ABSENT} as pn", "pn", id="by another name"),
    pytest.param(f"import {ABSENT}, json", "json", id="with others"),
    pytest.param(f"from {ABSENT} import Thing", "Thing", id="name"),
    pytest.param(f"from {ABSENT}.part import Thing as T", "T", id="name by another"),
    pytest.param(f"from {ABSENT} import *", "below", id="everything"),
]


@pytest.mark.parametrize(("line", "name"), IMPORTS)
def test_the_lines_below_are_run(line: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    namespace = run(f"{line}\nbelow = 1")
    assert namespace["below"] == 1
    assert name in namespace
    assert capsys.readouterr().out == f"[grading] the package {ABSENT} is not installed on this machine\n"


USES = [
    pytest.param("Thing()", id="called"),
    pytest.param("Thing.attribute", id="asked for an attribute"),
    pytest.param("Thing['x']", id="indexed"),
    pytest.param("Thing.attribute = 1", id="written to"),
    pytest.param("class Mine(Thing): ...", id="derived from"),
    pytest.param("with Thing: ...", id="entered"),
    pytest.param("list(Thing)", id="iterated over"),
]


@pytest.mark.parametrize("use", USES)
def test_what_is_used_is_missed(use: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"No module named '{ABSENT}'") as raised:
        run(f"from {ABSENT} import Thing\n{use}")
    assert raised.value.name == ABSENT


ASKED = f"try:\n    import {ABSENT}\n    there = True\nexcept ImportError:\n    there = False"


def test_who_asks_whether_it_is_there_is_told() -> None:
    assert run(ASKED)["there"] is False


GONE = [  # of packages that are here: the line, what is missed, and what is there all the same
    pytest.param("from packaging import nothing, version", "nothing", "version", id="name"),
    pytest.param("from packaging.version import Nothing as N, Version", "N", "Version", id="name by another"),
    pytest.param("from packaging.gone import Thing\nimport packaging", "Thing", "packaging", id="module"),
    pytest.param("import packaging.gone as gone, packaging.version", "gone", "packaging", id="module by another name"),
]


@pytest.mark.parametrize(("line", "missed", "there"), GONE)
def test_what_a_package_has_dropped_is_missed_where_it_is_used(line: str, missed: str, there: str) -> None:
    namespace = run(f"{line}\ndef annotated(x: {missed} | None) -> {missed}: ...\nbelow = 1")
    assert namespace["below"] == 1
    assert not isinstance(namespace[there], Missing)
    with pytest.raises(ImportError, match="packaging"):
        namespace[missed]()


KEPT = [
    pytest.param("import json\nfrom pathlib import Path", id="installed"),
    pytest.param("x = 1", id="no import"),
    pytest.param("from json import nothing_of_that_name", id="a name that Python lacks"),
    pytest.param("from . import sibling", id="relative"),
]


@pytest.mark.parametrize("source", KEPT)
def test_everything_else_stays_as_it_is(source: str) -> None:
    assert ast.dump(ImportGuard().visit(ast.parse(source))) == ast.dump(ast.parse(source))


def test_whoever_looks_at_all_variables_sees_an_object() -> None:
    missing = Missing(ImportError(ABSENT))
    assert not hasattr(missing, "__wrapped__")
    assert not callable(getattr(missing, "__torch_function__", None))
