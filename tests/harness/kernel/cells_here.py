"""Runs cells under the shims in a shell as kernels have it. Runs in a process of its own: shell and shims patch it.

Usage: python -m tests.harness.kernel.cells_here FOLDER, with the cells as JSON on standard input. Writes what each of
them came to into FOLDER/ran.json.
"""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from IPython.utils.capture import capture_output

from grader.kernel import bootstrap, session
from grader.kernel.compat import archives, cells, environment, files, imitations, stub_packages, uploads, waiting
from grader.kernel.namespace import Bindings
from tests.proof.validity.fork_server import make_shell

INPUTS = ("train.csv", "eval.csv")


class Watcher:
    ends = 0

    def end_cell(self) -> None:
        self.ends += 1


def ran(shell: Any, source: str, bindings: Bindings, watcher: Watcher) -> dict[str, Any]:
    """One cell: its error, what it printed, and what the witness has noted by its end."""
    watcher.ends = 0
    with capture_output() as captured:
        result = shell.run_cell(source, store_history=False)
    error = result.error_before_exec or result.error_in_exec
    return {
        "error": type(error).__name__ if error else "",
        "printed": captured.stdout,
        "noted": sorted(bindings.callables),
        "ends": watcher.ends,
    }


def main(folder: Path, sources: list[str]) -> None:
    (folder / "work").mkdir()
    os.chdir(folder / "work")
    shell = make_shell()
    found = files.InputFiles({name: str(folder / name) for name in INPUTS}, str(folder / "work"))
    files._redirect_open(found)
    archives.redirect(found)
    imitations.install()
    stub_packages.install()
    uploads.redirect(found, asked=2)
    environment.fill()
    waiting.ALLOWED_S = 0.1
    cells.tolerate(shell)
    bindings, watcher = Bindings({}), Watcher()
    opened: Any = SimpleNamespace(bindings=bindings, integrity=SimpleNamespace(examine=lambda: None))
    session.open_session(opened)
    shell.events.register("post_run_cell", bootstrap.make_cell_hook(shell, watcher))  # type: ignore[arg-type]
    outcomes = [ran(shell, source, bindings, watcher) for source in sources]
    (folder / "ran.json").write_text(json.dumps(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.load(sys.stdin))
