"""otter-grader and nbgrader on the same notebook, each in an environment of its own. An extra: it needs a registry.

Both are asked for as little as they can do: one test each, which asks whether the notebook ran to its end. nbclient
alone runs it in turns with them.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import SubprocessError
from typing import Any, Final, NamedTuple

import nbformat

from tests.proof.speed.fixed_cost import build_notebook, run_bare
from tests.proof.speed.outcome import Part, compute_medians, measure_time

INSTALL_S: Final = 600
RUN_S: Final = 300
RAN: Final = "len(list(model.parameters())) > 100"  # of the last cells: a tool that finds no torch would be fast
TEST: Final = f"""OK_FORMAT = True

test = {{"name": "q1", "points": 1, "suites": [{{"cases": [{{"code": ">>> {RAN}\\nTrue"}}], "type": "doctest"}}]}}
"""


class Peer(NamedTuple):
    """The call of a tool for one notebook, and the score that it then gave."""

    command: list[str]
    score: Callable[[], float]


def measure(rounds: int) -> Part:
    """Seconds of each tool for one notebook, as its command is called."""
    with tempfile.TemporaryDirectory(prefix="a4-peers-") as name:
        try:
            found = {tool: _measure_tool(prepare, Path(name) / tool, tool, rounds) for tool, prepare in TOOLS.items()}
        except (SubprocessError, OSError, RuntimeError) as error:
            return Part("peers", skipped=f"They could not be run: {type(error).__name__}: {error!s:.300}")
    return Part("peers", found)


def _measure_tool(prepare: Callable[[Path, Path], Peer], folder: Path, tool: str, rounds: int) -> dict[str, Any]:
    peer = prepare(folder, _environment(folder / "venv", tool))
    alone = partial(_call, peer.command, folder)
    seen = [{"seconds": measure_time(alone)[0], "bare_s": run_bare()} for _ in range(rounds)]
    if peer.score() != 1:
        raise RuntimeError(f"{tool} gave {peer.score()} of 1 point: the notebook did not run to its end in it.")
    return {**compute_medians(seen), "rounds": rounds}


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


def _otter(folder: Path, python: Path) -> Peer:
    (folder / "tests").mkdir()
    (folder / "tests" / "q1.py").write_text(TEST, encoding="utf-8")
    made = build_notebook()
    made.cells.insert(0, nbformat.v4.new_code_cell("import otter\ngrader = otter.Notebook()"))
    made.cells.append(nbformat.v4.new_code_cell('grader.check("q1")'))
    nbformat.write(made, folder / "notebook.ipynb")
    _call([str(python), "-m", "otter", "generate", "--tests-dir", "tests", "--no-requirements"], folder)
    command = [str(python), "-m", "otter", "run", "notebook.ipynb", "-a", "autograder.zip", "--no-logo"]
    results = folder / "results.json"
    return Peer(command, lambda: sum(test.get("score", 0) for test in json.loads(results.read_bytes())["tests"]))


def _nbgrader(folder: Path, python: Path) -> Peer:
    (folder / "source" / "a4").mkdir(parents=True)
    made = build_notebook()
    test = nbformat.v4.new_code_cell(f"assert {RAN}")
    facts = {"grade": True, "locked": True, "solution": False, "task": False}
    test.metadata["nbgrader"] = {"grade_id": "q1", "points": 1, "schema_version": 3, **facts}
    made.cells.append(test)
    nbformat.write(made, folder / "source" / "a4" / "a4.ipynb")
    _call([str(python), "-m", "nbgrader", "generate_assignment", "a4", "--create", "--force"], folder)
    submitted = folder / "submitted" / "student" / "a4"
    submitted.mkdir(parents=True)
    shutil.copy(folder / "release" / "a4" / "a4.ipynb", submitted)

    def score() -> float:
        _call([str(python), "-m", "nbgrader", "export"], folder)
        with (folder / "grades.csv").open(encoding="utf-8", newline="") as file:
            return sum(float(row["raw_score"]) for row in csv.DictReader(file))

    return Peer([str(python), "-m", "nbgrader", "autograde", "a4", "--create", "--force"], score)


TOOLS: Final = {"otter-grader": _otter, "nbgrader": _nbgrader}
