"""A notebook that is open in JupyterLab, driven through the browser: cells are written, run and read there."""

import time
from collections.abc import Callable
from typing import Any, Final

from tests.proof.student_hour.kit_folder import NOTEBOOK
from tests.proof.student_hour.server import Lab

LIMIT_S: Final = 240  # for a cell; the longest runs the whole file
POLL_S: Final = 0.1
PANEL: Final = "const panel = window.jupyterapp.shell.currentWidget, cells = panel.content;"
CELL: Final = f"{PANEL} const cell = cells.widgets.find(one => one.model.id === arguments[0]);"
START: Final = f"""{CELL}
    cells.activeCellIndex = cells.widgets.indexOf(cell);
    cells.deselectAll();
    const run = window.hourRun = {{began: performance.now()}};
    window.jupyterapp.commands.execute('notebook:run-cell').then(() => {{run.ended = performance.now()}});"""
RUN_S: Final = "const run = window.hourRun; return run.ended ? (run.ended - run.began) / 1000 : null;"
READ: Final = f"""{CELL}
    const outputs = cell.outputArea.node.querySelectorAll('.jp-OutputArea-output');
    return Array.from(outputs, one => one.innerText).join('\\n');"""
# By how much the output of a cell is wider than its place.
SURPLUS: Final = f"""{CELL}
    const parts = [cell.outputArea.node, ...cell.outputArea.node.querySelectorAll('.jp-OutputArea-output')];
    return Math.max(...parts.map(one => one.scrollWidth - one.clientWidth));"""
LENGTH: Final = f"""{PANEL}
    const boxes = cells.widgets.map(one => one.node.getBoundingClientRect());
    return Math.ceil(boxes[boxes.length - 1].bottom - boxes[0].top);"""
SHOW: Final = f"{CELL} cell.outputArea.node.scrollIntoView({{block: arguments[1]}});"
STATUS: Final = "return window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"
DIALOG: Final = "document.querySelector('.jp-Dialog .jp-mod-accept')"


class LiveNotebook:
    """The notebook in the browser's page."""

    def __init__(self, driver: Any, lab: Lab) -> None:
        """Open the notebook, and wait for its kernel. `driver`: of selenium."""
        self.driver = driver
        driver.set_script_timeout(LIMIT_S)
        driver.get(f"{lab.address}/lab/tree/{NOTEBOOK}?reset&token={lab.token}")
        self._wait(lambda: driver.execute_script(f"return window.jupyterapp && (() => {{{STATUS}}})()") == "idle")

    def write(self, cell: str, source: str) -> None:
        """Replace the source of a cell."""
        self.driver.execute_script(f"{CELL} cell.model.sharedModel.setSource(arguments[1]);", cell, source)

    def run(self, cell: str, interrupt_s: float | None = None) -> float:
        """Run a cell as Ctrl+Enter does, and return the seconds that it took; interrupt it after some, if asked to."""
        self.driver.execute_script(START, cell)
        if interrupt_s is not None:
            time.sleep(interrupt_s)
            self.command("notebook:interrupt-kernel")
        self._wait(lambda: self.driver.execute_script(RUN_S) is not None)
        return float(self.driver.execute_script(RUN_S))

    def read(self, cell: str) -> str:
        """Return the text that a reader sees below a cell."""
        return str(self.driver.execute_script(READ, cell))

    def count(self, cell: str) -> int:
        """Return the number in a cell's `In [ ]`."""
        return int(self.driver.execute_script(f"{CELL} return cell.model.executionCount;", cell))

    def measure_surplus(self, cell: str) -> int:
        """Return by how many pixels the output of a cell is wider than its place, so that it has to be scrolled."""
        return int(self.driver.execute_script(SURPLUS, cell))

    def show(self, cell: str, block: str = "start") -> None:
        """Scroll to the output of a cell."""
        self.driver.execute_script(SHOW, cell, block)

    def measure_length(self) -> int:
        """Return the height of the whole notebook in pixels."""
        return int(self.driver.execute_script(LENGTH))

    def show_beginning(self) -> None:
        """Scroll to the first cell."""
        self.driver.execute_script(f"{PANEL} cells.widgets[0].node.scrollIntoView();")

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab and wait for its end."""
        self.driver.execute_async_script(f"const done = arguments[arguments.length - 1]; {EXECUTE}", name, arguments)

    def restart(self) -> None:
        """Restart the kernel by the menu's command, and say yes to its question."""
        self.driver.execute_script("window.jupyterapp.commands.execute('notebook:restart-kernel');")
        self._wait(lambda: bool(self.driver.execute_script(f"return {DIALOG} !== null")))
        self.driver.execute_script(f"{DIALOG}.click()")
        self._wait(lambda: not self.driver.execute_script(f"return {DIALOG} !== null"))
        self._wait(lambda: self.driver.execute_script(STATUS) == "idle")

    def _wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not ready():
            if time.monotonic() > deadline:
                raise TimeoutError(f"JupyterLab did not get ready within {LIMIT_S} s.")
            time.sleep(POLL_S)


EXECUTE: Final = "window.jupyterapp.commands.execute(arguments[0], arguments[1]).then(() => done(), () => done());"
