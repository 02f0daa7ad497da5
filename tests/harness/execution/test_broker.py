"""The disposable process between controller and kernel: what it costs to have one."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from grader import paths
from grader.execution import broker
from grader.execution.progress import SilentListener
from grader.execution.record import ProbeOutcome
from grader.model import CellRecord, RunStatus
from grader.sandbox import Backend
from tests.harness import needs

PROGRAM = """
import sys
from pathlib import Path

with Path(sys.argv[1]).open("a") as file:
    file.write(__name__ + " ")

from grader.execution import broker
from grader.execution.progress import Silent

if __name__ == "__main__":
    order = broker.Order({}, {}, "", "", {}, "", (), {}, "")  # with which no broker can do anything
    try:
        broker.run(order, Silent(), 1.0)
    except broker.BrokerLost as lost:
        print(lost)
"""


def test_a_broker_imports_nothing_of_the_program_that_started_it(tmp_path: Path) -> None:
    """multiprocessing would: seconds for each notebook where that program has imported torch."""
    program, imported = tmp_path / "program.py", tmp_path / "imported"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(program), str(imported)]
    environ = {"PYTHONPATH": str(paths.ROOT), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, cwd=paths.ROOT)
    assert done.stdout == "it died\n"
    assert imported.read_text(encoding="utf-8") == "__main__ "


CONTROLLER = """
import sys
from dataclasses import asdict
from pathlib import Path
from nbformat.v4 import new_code_cell, new_notebook
from grader.errors import GraderError
from grader.execution import broker
from grader.execution.driver import Limits
from grader.execution.progress import Silent
from grader.sandbox import Backend, Policy, select

class Loud(Silent):
    def cell_started(self, index, total, first_line):
        print("running", flush=True)

def main(folder):
    for name in ("job", "evidence", "output"):
        (folder / name).mkdir()
    with select(Policy(wall_s=300), only=Backend(sys.argv[1])) as sandbox:
        notebook = new_notebook(cells=[new_code_cell("import time; time.sleep(600)")])
        parts = [str(folder / name) for name in ("job", "evidence", "output")]
        order = broker.Order(
            notebook, sandbox.ticket(), *parts[:2], {}, "1", (), asdict(Limits()), parts[2]
        )
        broker.run(order, Loud(), 600)

if __name__ == "__main__":
    try:
        main(Path(sys.argv[2]))
    except GraderError as error:
        print(error, flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""
ENDED_S = 60  # on a busy machine
BACKENDS = [Backend.NONE, Backend.WARM, Backend.BUBBLEWRAP, Backend.LANDLOCK]


@dataclass
class Controller:
    """A running one, and everything that it has started."""

    process: subprocess.Popen[str]
    family: list[psutil.Process]
    temporary: Path

    def end(self, number: int) -> tuple[str, str]:
        """Send it a signal: to it alone if nothing can be done about that signal, else to all, as a terminal does."""
        (os.kill if number == signal.SIGKILL else os.killpg)(self.process.pid, number)
        said = self.process.communicate(timeout=ENDED_S)
        _, alive = psutil.wait_procs(self.family, timeout=ENDED_S)
        assert [process.cmdline() for process in alive] == []
        return said

    def left(self) -> list[str]:
        """What is left of kernels, zygotes and connections."""
        return [path.name for path in self.temporary.iterdir() if path.name.startswith(("a4-kernel", "a4-zygote"))]


@pytest.fixture
def controller(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Controller]:
    """One whose notebook is running."""
    if request.param is not Backend.NONE:
        needs.require_backend(request.param)
    program = tmp_path / "program.py"
    program.write_text(CONTROLLER, encoding="utf-8")
    temporary = Path(tempfile.mkdtemp(prefix="t"))  # short: socket paths end at 107 bytes
    temporary.chmod(0o755)
    environ = {**os.environ, "PYTHONPATH": str(paths.ROOT), "TMPDIR": str(temporary)}
    command = [sys.executable, str(program), request.param.value, str(tmp_path)]
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        if (first := process.stdout.readline()) != "running\n":
            assert process.stderr is not None
            pytest.fail(first + process.stderr.read())
        family = psutil.Process(process.pid).children(recursive=True)
        try:
            yield Controller(process, family, temporary)
        finally:
            for one in (*family, process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
    shutil.rmtree(temporary)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("controller", BACKENDS, indirect=True)
def test_nothing_outlives_a_killed_controller(controller: Controller) -> None:
    controller.end(signal.SIGKILL)
    assert controller.left() == []


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("controller", BACKENDS, indirect=True)
def test_ctrl_c_ends_a_broker_without_a_word(controller: Controller) -> None:
    assert controller.end(signal.SIGINT) == ("stopped\n", "")
    assert controller.left() == []


def test_texts_that_are_no_unicode_reach_the_controller() -> None:
    """JSON of a kernel's can hold lone surrogates, and so can names of files."""
    ours, theirs = multiprocessing.Pipe()
    cell = CellRecord(index=0, source="1", duration_s=1.5, status="error", output="a\ud800b", error="E: é \udc80")
    report = broker.Report(
        status=RunStatus.OK,
        reason="\udc80",
        cells=(cell,),
        training_cells={1: 2},
        probes={"lora": ProbeOutcome.ANSWERED},
        timings={"cells": 0.25},
        peak_memory_mib=3,
        written=frozenset({("a\ud800", "digest")}),
        refused=("\udc80: unsuitable name",),
    )
    broker._Sender(theirs).send(report)
    arrived = broker._listen(ours, SilentListener(), time.monotonic() + 60)
    assert arrived == report.model_copy(
        update={
            "reason": "?",
            "cells": (cell.model_copy(update={"output": "a?b", "error": "E: é ?"}),),
            "written": frozenset({("a?", "digest")}),
            "refused": ("?: unsuitable name",),
        }
    )


@pytest.mark.skipif(sys.platform == "win32", reason="brokers are not forked there")
@pytest.mark.parametrize("controller", BACKENDS, indirect=True)
def test_a_controller_waits_for_its_broker_even_when_their_server_is_gone(controller: Controller) -> None:
    """A signal to all ends that server; a broker that is not waited for writes into folders that are being removed."""
    started = psutil.Process(controller.process.pid).children()
    [server] = [one for one in started if "multiprocessing.forkserver" in " ".join(one.cmdline())]
    [its_broker] = server.children()
    server.kill()
    controller.process.send_signal(signal.SIGINT)
    assert controller.process.communicate(timeout=ENDED_S) == ("stopped\n", "")
    assert not its_broker.is_running()
