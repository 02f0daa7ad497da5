"""What a module depends on: imports of every kind, programs, folders that are copied, templates; and nothing else."""

from pathlib import Path

import pytest

from grader.closure import Tree, closure
from grader.errors import GraderError
from grader.paths import ROOT

FILES = {
    "grader/__init__.py": "",
    "grader/text.py": "",
    "grader/room/__init__.py": "from grader.room import shared",
    "grader/room/shared.py": "",
    "grader/room/tool.py": "",
    "grader/room/templates/page.html": '{% extends "base.html" %}',
    "grader/room/templates/base.html": "<style>",
    "grader/room/templates/other.html": "",
    "grader/room/copied/metric.py": "import grader.text",
    "grader/program/__init__.py": "",
    "grader/program/__main__.py": "",
    "grader/other/page.html": "",
    "tests/public/test_a.py": "",
    "tests/public/__pycache__/test_a.pyc": "",
    "data/rubric.toml": "",
    "docs/page.html": "",
    "LICENSE": "",
}
ROOM = ("grader/room/__init__.py", "grader/room/shared.py")
DEPENDS = [
    pytest.param("import os, json", (), id="nothing of ours"),
    pytest.param("import grader.text", ("grader/text.py",), id="import"),
    pytest.param("from grader.text import cut", ("grader/text.py",), id="a name in a module"),
    pytest.param("from grader import text", ("grader/text.py",), id="a module in a package"),
    pytest.param("from . import text", ("grader/text.py",), id="relative"),
    pytest.param("from grader.room.tool import x", ("grader/room/tool.py", *ROOM), id="with what packages import"),
    pytest.param("def f():\n    from grader import text", ("grader/text.py",), id="import in a function"),
    pytest.param(
        "try:\n    pass\nexcept E:\n    from grader import text", ("grader/text.py",), id="import in a handler"
    ),
    pytest.param("match x:\n    case 1:\n        import grader.text", ("grader/text.py",), id="import in a case"),
    pytest.param("if TYPE_CHECKING:\n    import grader.text", (), id="import for types"),
    pytest.param(
        "if TYPE_CHECKING:\n    pass\nelse:\n    import grader.text", ("grader/text.py",), id="import otherwise"
    ),
    pytest.param('run("-m", "grader.room.tool")', ("grader/room/tool.py", *ROOM), id="program"),
    pytest.param(
        'run("-m", "grader.program")', ("grader/program/__init__.py", "grader/program/__main__.py"), id="its main"
    ),
    pytest.param('find("grader.program")', ("grader/program/__init__.py",), id="a package by name"),
    pytest.param("import_module('grader.text')", ("grader/text.py",), id="a module by name"),
    pytest.param('say("see `python -m grader.text`")', (), id="a sentence about a module"),
    pytest.param('copy("grader/program")', ("grader/program/__init__.py", "grader/program/__main__.py"), id="a folder"),
    pytest.param('copy("tests/public")', ("tests/public/test_a.py",), id="a folder without litter"),
    pytest.param('read("data/rubric.toml")', ("data/rubric.toml",), id="a file"),
    pytest.param('read("../data/rubric.toml", "./LICENSE", "/etc/hosts")', (), id="a file elsewhere"),
    pytest.param('run("text.py")', ("grader/text.py",), id="a file beside"),
]


def make(root: Path, **sources: str) -> Tree:
    for name, text in {**FILES, **sources}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return Tree(root)


@pytest.mark.parametrize(("source", "expected"), DEPENDS)
def test_what_a_module_depends_on(source: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    found = closure(make(tmp_path, **{"grader/main.py": source}), ["grader.main"])
    assert found == tuple(sorted({"grader/__init__.py", "grader/main.py", *expected}))


IN_A_ROOM = [
    pytest.param('render("page.html")', ("templates/base.html", "templates/page.html"), id="template and its base"),
    pytest.param('render("base.html")', ("templates/base.html",), id="template"),
    pytest.param('read("copied")', ("copied/metric.py", "../text.py"), id="folder that is no package"),
]


@pytest.mark.parametrize(("source", "expected"), IN_A_ROOM)
def test_data_of_the_same_room(source: str, expected: tuple[str, ...], tmp_path: Path) -> None:
    found = closure(make(tmp_path, **{"grader/room/main.py": source}), ["grader.room.main"])
    names = {(Path("grader/room") / name).as_posix().replace("room/../", "") for name in expected}
    assert set(found) == {"grader/__init__.py", "grader/room/main.py", *ROOM, *names}


def test_what_is_left_out_takes_along_what_only_it_needs(tmp_path: Path) -> None:
    tree = make(tmp_path, **{"grader/main.py": "import grader.room.tool, grader.program", "grader/program/x.py": ""})
    assert closure(tree, ["grader.main"], without=["grader/room"]) == (
        "grader/__init__.py",
        "grader/main.py",
        "grader/program/__init__.py",
    )


@pytest.mark.parametrize("entry", ["grader.nothing", "grader/nothing.py", "tests/hidden"])
def test_an_entry_that_is_not_there(entry: str, tmp_path: Path) -> None:
    with pytest.raises(GraderError, match=f"There is no {entry}"):
        closure(make(tmp_path), [entry])


def test_a_replaced_file_counts_with_what_it_imports_now(tmp_path: Path) -> None:
    tree = make(tmp_path, **{"grader/main.py": "import grader.text"})
    changed = tree.replace("grader/main.py", b"import grader.program")
    assert "grader/text.py" in closure(tree, ["grader.main"])
    assert closure(changed, ["grader.main"])[-1] == "grader/program/__init__.py"


TOGETHER = [
    pytest.param("grader.execution.run", "grader/kernel/training/budget.py", id="the kernel is copied whole"),
    pytest.param("grader.execution.run", "grader/sandbox/zygote.py", id="the zygote is a program"),
    pytest.param("grader.execution.run", "grader/sandbox/backends/launch.py", id="so is a launcher"),
    pytest.param("grader.assets.metrics", "grader/assets/metric_module.py", id="metrics are data"),
    pytest.param("grader.reporting.feedback", "grader/reporting/templates/style.css", id="style"),
    pytest.param("grader.reporting.cohort.dashboard", "grader/reporting/templates/dashboard.js", id="script"),
    pytest.param("grader.batch.session", "grader/batch/worker_tools.py", id="workers load it by name"),
]


@pytest.mark.parametrize(("entry", "file"), TOGETHER)
def test_what_no_import_shows(entry: str, file: str) -> None:
    assert file in closure(Tree(ROOT), [entry])


def test_what_the_kernel_imports_is_nothing_of_the_hosts() -> None:
    found = closure(Tree(ROOT), ["grader/kernel", "grader/protocol"])
    assert {"/".join(name.split("/")[:2]) for name in found} == {
        "grader/kernel",
        "grader/protocol",
        "grader/__init__.py",
    }
