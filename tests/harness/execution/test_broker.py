"""The disposable process between controller and kernel: what it costs to have one."""

import contextlib
import io
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
from grader.model import CellRecord, RunStatus
from grader.sandbox import Backend
from tests.harness import needs

PROGRAM = """
import sys
from pathlib import Path

with Path(sys.argv[1]).open("a") as file:
    file.write(__name__ + " ")

from grader.execution import broker
from grader.execution.progress import SilentListener

if __name__ == "__main__":
    order = broker.BrokerRequest({}, {}, "", "", {}, "", (), {}, "")  # with which no broker can do anything
    try:
        broker.run(order, SilentListener(), 1.0)
    except broker.BrokerLost as lost:
        print(lost)
"""


def test_a_broker_imports_nothing_of_the_program_that_started_it(tmp_path: Path) -> None:
    """It would take seconds for each notebook where that program has imported torch."""
    program, imported = tmp_path / "program.py", tmp_path / "imported"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(program), str(imported)]
    environ = {"PYTHONPATH": str(paths.ROOT), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, cwd=paths.ROOT)
    assert (done.stdout, imported.read_text(encoding="utf-8")) == ("it died\n", "__main__ ")


CONTROLLER = """
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from nbformat.v4 import new_code_cell, new_notebook
from grader.errors import GraderError
from grader.execution import broker
from grader.execution.driver import Limits
from grader.execution.progress import SilentListener
from grader.sandbox import Backend, SandboxPolicy, select

class Loud(SilentListener):
    def on_cell_start(self, index, total, first_line):
        print("running", flush=True)

def main(folder):
    for name in ("job", "evidence", "output"):
        (folder / name).mkdir()
    with select(SandboxPolicy(wall_s=300), only=Backend(sys.argv[1])) as sandbox:
        notebook = new_notebook(cells=[new_code_cell("import time; time.sleep(600)")])
        parts = [str(folder / name) for name in ("job", "evidence", "output")]
        order = broker.BrokerRequest(notebook, sandbox.ticket(), *parts[:2], {}, "1", (), asdict(Limits()), parts[2])
        broker.run(order, Loud(), 600)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
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
    """A controller whose notebook is running."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such signals")
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


on_each_backend = pytest.mark.parametrize("controller", BACKENDS, indirect=True)


@on_each_backend
@pytest.mark.parametrize(("number", "said"), [("SIGKILL", None), ("SIGINT", ("stopped\n", ""))], ids=["kill", "ctrl-C"])
def test_nothing_outlives_a_controller(controller: Controller, number: str, said: tuple[str, str] | None) -> None:
    found = controller.end(signal.Signals[number])
    assert said in (None, found)
    assert controller.left() == []


def test_texts_that_are_no_unicode_reach_the_controller() -> None:
    """JSON of a kernel's can hold lone surrogates, and so can names of files."""
    pipe = io.BytesIO()
    cell = CellRecord(index=0, source="1", duration_s=1.5, status="error", output="a\ud800b", error="E: é \udc80")
    files = {"written": frozenset({("a\ud800", "digest")}), "refused": ("\udc80: unsuitable name",)}
    report = broker.Report(status=RunStatus.OK, reason="\udc80", cells=(cell,), training_cells={1: 2}, **files)
    broker._Sender(pipe).send(report)
    pipe.seek(0)
    arrived = broker._listen(pipe, SilentListener(), time.monotonic() + 60)
    readable = cell.model_copy(update={"output": "a?b", "error": "E: é ?"})
    files = {"written": frozenset({("a?", "digest")}), "refused": ("?: unsuitable name",)}
    assert arrived == report.model_copy(update={"reason": "?", "cells": (readable,), **files})


@on_each_backend
def test_a_controller_waits_for_its_broker(controller: Controller) -> None:
    """A broker that is not waited for writes into folders that are being removed."""
    started = psutil.Process(controller.process.pid).children()
    [its_broker] = [one for one in started if broker.COMMAND[-1] in one.cmdline()]
    controller.process.send_signal(signal.SIGINT)
    assert controller.process.communicate(timeout=ENDED_S) == ("stopped\n", "")
    assert not its_broker.is_running()


LOST = [
    pytest.param(b'["close", 1]\n', 60, "no message", id="no method of a listener"),
    pytest.param(b'["on_cell_start", 0]\n', 60, "no message", id="arguments are missing"),
    pytest.param(b'["stage", "%s"]\n' % (b"x" * 101), 60, "no message", id="a long text"),
    pytest.param(b'{"status": "ok"}\n', 60, "no message", id="half a report"),
    pytest.param(b"", 60, "it died", id="without a word"),
    pytest.param(b'["stage", ', 60, "it died", id="within a message"),
    pytest.param(b'["stage", "%s"]\n' % (b"x" * 190), 60, "it died", id="beyond the longest message"),
    pytest.param(b"", -1, "it did not finish in time", id="stopped for taking too long"),
]


@pytest.mark.parametrize(("output", "left_s", "reason"), LOST)
def test_a_broker_is_lost(output: bytes, left_s: float, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "MAX_RECORD_BYTES", 200)
    with pytest.raises(broker.BrokerLost, match=reason):
        broker._listen(io.BytesIO(output), SilentListener(), time.monotonic() + left_s)


BEGAN = """["on_cell_start", 0, 1, "x"]"""
ENDS = [
    pytest.param(f"print('{BEGAN}', flush=True); os._exit({broker.GIVEN_UP})", True, id="it gives up"),
    pytest.param(f"print('{BEGAN}', flush=True); os.abort()", True, id="a library aborts"),
    pytest.param("os.abort()", False, id="before a cell has begun"),
    pytest.param(f"print('{BEGAN}', flush=True); os.kill(os.getpid(), 9)", False, id="somebody kills it"),
    pytest.param(f"print('{BEGAN}', flush=True); sys.exit(1)", False, id="a mistake of ours"),
]


@pytest.mark.parametrize(("program", "of_the_notebook"), ENDS)
def test_whose_fault_the_end_of_a_broker_is(
    program: str, of_the_notebook: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that is refused while messages are read was asked for by the notebook."""
    monkeypatch.setattr(broker, "COMMAND", (sys.executable, "-c", f"import os, sys; sys.stdin.readline(); {program}"))
    order = broker.BrokerRequest({}, {}, "", "", {}, "", (), {}, "")
    if of_the_notebook:
        assert broker.run(order, SilentListener(), 60.0).status is RunStatus.PROTOCOL_VIOLATION
    else:
        with pytest.raises(broker.BrokerLost, match="it died"):
            broker.run(order, SilentListener(), 60.0)


def test_a_broker_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that does not look at its input any more."""
    monkeypatch.setattr(broker, "COMMAND", (sys.executable, "-c", "import time; time.sleep(600)"))
    monkeypatch.setattr(broker, "GRACE_S", 1.0)
    monkeypatch.setattr(broker, "LATE_S", 1.0)
    order = broker.BrokerRequest({}, {}, "", "", {}, "", (), {}, "")
    with pytest.raises(broker.BrokerLost, match="it did not finish in time"):
        broker.run(order, SilentListener(), 0.0)
