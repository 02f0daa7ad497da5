"""otter-grader and nbgrader on the same notebook, each in an environment of its own. An extra: it needs a registry.

Both are asked for as little as they can do: otter runs one trivial public test, nbgrader one trivial test cell.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import nbformat

from bench.fixed_cost import notebook
from bench.outcome import Part, median_of

INSTALL_S: Final = 600
RUN_S: Final = 300
TEST: Final = """OK_FORMAT = True

test = {"name": "q1", "points": 1, "suites": [{"cases": [{"code": ">>> 1 + 1\\n2"}], "type": "doctest"}]}
"""
TOOLS: Final = ("otter-grader", "nbgrader")


def measured(rounds: int) -> Part:
    """Seconds of each tool for one notebook, as its command is called."""
    with tempfile.TemporaryDirectory(prefix="a4-peers-") as name:
        folder = Path(name)
        try:
            found = {tool: _measured(tool, folder / tool, rounds) for tool in TOOLS}
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
            return Part("peers", skipped=f"They could not be run: {type(error).__name__}: {error!s:.300}")
    return Part("peers", found)


def _measured(tool: str, folder: Path, rounds: int) -> dict[str, Any]:
    python = _environment(folder / "venv", tool)
    command = {"otter-grader": _otter, "nbgrader": _nbgrader}[tool](folder, python)
    seen = []
    for _ in range(rounds):
        began = time.perf_counter()
        _call(command, folder)
        seen.append({"seconds": time.perf_counter() - began})
    return {**median_of(seen), "rounds": rounds}


def _environment(folder: Path, tool: str) -> Path:
    """This environment's packages are visible, so that the notebook finds torch; the tool's own come before them."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    places = [path for path in sys.path if path.endswith("site-packages")]
    own = next(folder.rglob("site-packages"))
    (own / "beside.pth").write_text("\n".join(places) + "\n", encoding="utf-8")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", tool]
    subprocess.run(install, check=True, timeout=INSTALL_S)
    return python


def _call(command: list[str], folder: Path) -> None:
    """Run it as in an activated environment: nbgrader looks for a program of its own."""
    environ = {**os.environ, "PATH": f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    subprocess.run(command, cwd=folder, env=environ, check=True, timeout=RUN_S, capture_output=True)


def _otter(folder: Path, python: Path) -> list[str]:
    (folder / "tests").mkdir()
    (folder / "tests" / "q1.py").write_text(TEST, encoding="utf-8")
    made = notebook()
    cell = nbformat.v4.new_code_cell
    made.cells.insert(0, cell("import otter\ngrader = otter.Notebook()"))
    made.cells.append(cell('grader.check("q1")'))
    nbformat.write(made, folder / "notebook.ipynb")
    _call([str(python), "-m", "otter", "generate", "--tests-dir", "tests", "--no-requirements"], folder)
    return [str(python), "-m", "otter", "run", "notebook.ipynb", "-a", "autograder.zip", "--no-logo"]


def _nbgrader(folder: Path, python: Path) -> list[str]:
    course = folder
    _write_assignment(course / "source" / "a4" / "a4.ipynb")
    _call([str(python), "-m", "nbgrader", "generate_assignment", "a4", "--create", "--force"], course)
    submitted = course / "submitted" / "student" / "a4"
    submitted.mkdir(parents=True)
    released = nbformat.read(course / "release" / "a4" / "a4.ipynb", as_version=4)
    nbformat.write(released, submitted / "a4.ipynb")
    return [str(python), "-m", "nbgrader", "autograde", "a4", "--create", "--force"]


def _write_assignment(path: Path) -> None:
    path.parent.mkdir(parents=True)
    made = notebook()
    test = nbformat.v4.new_code_cell("assert 1 + 1 == 2")
    test.metadata["nbgrader"] = {
        "grade": True,
        "grade_id": "q1",
        "locked": True,
        "points": 1,
        "schema_version": 3,
        "solution": False,
        "task": False,
    }
    made.cells.append(test)
    nbformat.write(made, path)
