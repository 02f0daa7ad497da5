"""The disposable process, one per submission, that parses everything a kernel sends.

    controller ── pipes ── broker ── unix sockets ── kernel

A kernel's messages are bytes from a stranger. The broker reads them, under limits of memory and time; it sends JSON of
bounded size, which the controller validates. Whatever the bytes do to the broker, the worst that the controller sees is
a broker that is gone. Where it ended as no other process ends it (memory that is refused, an abort in a library) while
it read a notebook's messages, that is a `protocol_violation` of the notebook; otherwise it is an `infra_error`.

It reads a `BrokerRequest` from its standard input and writes messages to its standard output, a line of JSON each.
Nothing follows the request, so that its input ends when its controller is gone: then it ends its kernel and itself.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, Literal

import nbformat
import psutil
from jupyter_client.manager import AsyncKernelManager
from pydantic import Field, TypeAdapter, ValidationError

from grader.execution.admission import Suspicion, WatchedTraining
from grader.execution.driver import Driver, KernelLost, Limits
from grader.execution.outputs import disarm
from grader.execution.progress import Listener, SilentListener
from grader.execution.record import ProbeOutcome
from grader.model import CellRecord, FrozenModel, Method, RunStatus
from grader.paths import ROOT
from grader.sandbox import Ending, Stop, Workspace, attach

if TYPE_CHECKING:
    from grader.sandbox.backends.plain_process import PlainManager
    from grader.sandbox.provisioner import SandboxManager

COMMAND: Final = (sys.executable, "-P", "-m", "grader.execution.broker")
MAX_RECORD_BYTES: Final = 64 * 2**20
MAX_EXECUTED_BYTES: Final = 128 * 2**20  # of the executed notebook, which is kept for people
MEMORY_MIB: Final = 1024
GRACE_S: Final = 4.0  # beyond all limits of the notebook
LATE_S: Final = 5.0  # for a broker that is late to end itself; then it is killed
ENDING_S: Final = 20.0  # for a broker whose controller is gone to end its kernel and remove what it used
PATIENCE_S: Final = ENDING_S + 5  # of the controller with a broker that ends
STEP_S: Final = 0.1
STOPPING: Final = ("SIGINT", "SIGTERM", "SIGHUP")  # a supervisor of services sends them to all processes
EXECUTED: Final = "executed.ipynb"
GIVEN_UP: Final = 70  # exit code of a broker that cannot even report
# Ends of a process that come from inside: it gives up, or a library aborts for want of memory.
ABORTS: Final = tuple(-getattr(signal, name) for name in ("SIGABRT", "SIGSEGV", "SIGBUS") if hasattr(signal, name))
OF_ITS_OWN: Final = frozenset((GIVEN_UP, *ABORTS))
UNREADABLE: Final = "the notebook's messages could not be taken in"

ENDED: Final = {
    Stop.MEMORY: (RunStatus.MEMORY, "the notebook used more memory than it may"),
    Stop.WALL: (RunStatus.TIMEOUT, "the notebook took longer than it may"),
    Stop.CPU: (RunStatus.TIMEOUT, "the notebook used more processor time than it may"),
    Stop.DISK: (RunStatus.OUTPUT_LIMIT, "the notebook wrote more files than it may"),
    Stop.OUTPUT: (RunStatus.OUTPUT_LIMIT, "the notebook sent more output than it may"),
    Stop.PROTOCOL: (RunStatus.PROTOCOL_VIOLATION, "the notebook's process sent malformed messages"),
}


@dataclass(frozen=True)
class BrokerRequest:
    """The work of a broker. Sent as JSON."""

    notebook: dict[str, Any]
    ticket: dict[str, Any]  # of the sandbox
    job: str
    evidence: str
    environ: dict[str, str]
    bootstrap: str
    probes: tuple[tuple[str, str], ...]
    limits: dict[str, Any]
    output: str  # a folder for the executed notebook, which the kernel does not see
    key: str = ""  # of the kernel's events


class Report(FrozenModel):
    """The outcome of a run, sent at its end."""

    status: RunStatus
    reason: str
    cells: tuple[CellRecord, ...] = ()
    training_cells: dict[int, int] = Field(default_factory=dict)
    probes: dict[str, ProbeOutcome] = Field(default_factory=dict)
    timings: dict[str, float] = Field(default_factory=dict)
    peak_memory_mib: float = 0
    written: frozenset[tuple[str, str]] = frozenset()  # name and SHA-256 of files whose announcement counts
    refused: tuple[str, ...] = ()
    trainings: dict[int, WatchedTraining] = Field(default_factory=dict)
    foreign_events: int = 0  # announcements that do not count
    suspicions: tuple[Suspicion, ...] = ()
    faults: tuple[str, ...] = ()  # of the grader's own code in the kernel


# A call of the listener, made in the broker and repeated in the controller: the name of its method, and its arguments.
StageCall = tuple[Literal["stage"], Annotated[str, Field(max_length=100)]]
CellCall = tuple[Literal["on_cell_start"], int, int, Annotated[str, Field(max_length=500)]]
StepCall = tuple[Literal["on_training_step"], Method, int, int]
Message = Report | StageCall | CellCall | StepCall
MESSAGES: Final[TypeAdapter[Message]] = TypeAdapter(Message)


class BrokerLost(Exception):
    """The broker is gone, or sent something that it should not."""


def run(order: BrokerRequest, listener: Listener, deadline_s: float) -> Report:
    """Have a broker carry out the order. Raises BrokerLost."""
    search = (str(ROOT), *filter(None, (os.environ.get("PYTHONPATH"),)))
    deadline = time.monotonic() + deadline_s + GRACE_S
    process = subprocess.Popen(
        COMMAND,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # the end of its input ends it; ctrl-C would end it before it has cleaned up
    )
    too_late = threading.Timer(deadline_s + GRACE_S, _end, [process, LATE_S])
    too_late.daemon = True
    too_late.start()
    assert process.stdin is not None
    assert process.stdout is not None
    watch = _CellWatch(listener)
    with process.stdout:
        try:
            with contextlib.suppress(OSError):  # it died: no message comes
                process.stdin.write(json.dumps(vars(order)).encode() + b"\n")
                process.stdin.flush()
            return _listen(process.stdout, watch, deadline)
        except BrokerLost:
            _end(process)
            if not watch.began or process.returncode not in OF_ITS_OWN:
                raise
            return Report(status=RunStatus.PROTOCOL_VIOLATION, reason=UNREADABLE)
        finally:
            too_late.cancel()
            _end(process)


class _CellWatch(SilentListener):
    """Passes everything on, and knows whether a cell has begun: from then on a student's bytes are read."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self.began = listener, False

    def stage(self, name: str) -> None:
        self._listener.stage(name)

    def on_cell_start(self, index: int, total: int, first_line: str) -> None:
        self.began = True
        self._listener.on_cell_start(index, total, first_line)

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        self._listener.on_training_step(method, step, steps)


def _end(process: subprocess.Popen[bytes], patience_s: float = PATIENCE_S) -> None:
    """End the input of a broker, wait until it has ended its kernel and itself, and kill it if it does not."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listen(messages: IO[bytes], listener: Listener, deadline: float) -> Report:
    """Repeat what the broker calls until its report. Raises BrokerLost when its output ends or is no message."""
    while True:
        line = messages.readline(MAX_RECORD_BYTES)
        if not line.endswith(b"\n"):
            raise BrokerLost("it died" if time.monotonic() < deadline else "it did not finish in time")
        try:
            message = MESSAGES.validate_json(line)
        except ValidationError:
            raise BrokerLost("it sent something that is no message") from None
        if isinstance(message, Report):
            return message
        method, *arguments = message
        getattr(listener, method)(*arguments)


class _Sender:
    """The listener inside of the broker: sends events to the controller."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def send(self, message: Message) -> None:
        """Send a message. Lone surrogates, which a kernel's JSON and file names can hold, become `?` for pydantic."""
        text = json.dumps(MESSAGES.dump_python(message, mode="json"), ensure_ascii=False)
        self._stream.write(text.encode("utf-8", "replace") + b"\n")
        self._stream.flush()

    def stage(self, name: str) -> None:
        self.send(("stage", name[:100]))

    def on_cell_start(self, index: int, total: int, first_line: str) -> None:
        self.send(("on_cell_start", index, total, first_line[:500]))

    def on_training_step(self, method: Method, step: int, steps: int) -> None:
        self.send(("on_training_step", method, step, steps))


def main() -> None:
    """Run a broker: carry out the request on standard input."""
    for name in STOPPING:  # The controller gets them too and ends this process. Kernels would inherit SIG_IGN.
        if hasattr(signal, name):  # Windows has fewer
            signal.signal(getattr(signal, name), lambda number, frame: None)
    request = sys.stdin.buffer.readline()
    if not request.endswith(b"\n"):  # the controller was stopped
        return
    sender = _Sender(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # so that nothing that a library prints comes between the messages
    alone = threading.Event()
    threading.Thread(target=_watch_input, args=(alone,), daemon=True).start()
    code = 1
    try:
        sender.send(_carry_out(BrokerRequest(**json.loads(request)), sender, alone))
        code = 0
    except (MemoryError, RecursionError):
        code = GIVEN_UP
    except Exception as error:
        # The controller may be gone, and its folders with it: then nobody wants to know.
        if not (isinstance(error, OSError) and alone.wait(STEP_S)):
            traceback.print_exc()
    finally:
        os._exit(code)  # at once: sockets that wait for a kernel would hold an ordinary end up


def _watch_input(alone: threading.Event) -> None:
    """Set the event when the controller closed its end, as it also does by dying."""
    with contextlib.suppress(OSError):
        os.read(0, 1)
    alone.set()


def _bound_memory() -> None:
    """Bound this process, once the kernel runs: what a broker starts inherits its limits."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MIB * 2**20,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_the_controller(alone: threading.Event, manager: "SandboxManager | PlainManager") -> None:
    """Stop the kernel when the controller is gone. The main thread, if it still waits for one, closes the manager."""

    def watch() -> None:
        alone.wait()
        deadline = time.monotonic() + ENDING_S
        while manager.provisioner.has_process and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                manager.provisioner.stop(None)
            time.sleep(STEP_S)
        for process in psutil.Process().children(recursive=True):  # sandboxes end with this process, others do not
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(manager.folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _carry_out(order: BrokerRequest, listener: _Sender, alone: threading.Event) -> Report:
    notebook = nbformat.from_dict(order.notebook)
    driver = Driver(notebook, Limits(**order.limits), listener, when_started=_bound_memory)
    driver.admission.key = order.key
    workspace = Workspace(job=Path(order.job), evidence=Path(order.evidence), environ=order.environ)
    manager = attach(order.ticket).make_kernel_manager(workspace)
    _end_with_the_controller(alone, manager)
    lost = _drive(driver, manager, order)
    ending = manager.close_now()
    write_executed(driver.notebook, Path(order.output))
    status, reason = _choose_status(driver, lost, ending)
    return Report(
        status=status,
        reason=reason,
        cells=tuple(driver.cells),
        training_cells=driver.training_cells,
        probes=driver.probes,
        timings=driver.timings,
        peak_memory_mib=ending.peak_memory_mib,
        written=frozenset(driver.admission.written),
        trainings=driver.admission.trainings,
        foreign_events=driver.admission.refused,
        suspicions=tuple(driver.admission.suspicions),
        # Where the notebook has used up the room for evidence, what could then not be written is its own doing.
        faults=() if ending.stopped_by is Stop.DISK else tuple(driver.admission.faults),
        refused=tuple(line[:300] for line in ending.refused[:50]),
    )


def _drive(driver: Driver, manager: AsyncKernelManager, order: BrokerRequest) -> KernelLost | None:
    try:
        driver.run(manager, order.bootstrap, order.probes)
    except KernelLost as lost:
        return lost
    except (MemoryError, RecursionError) as error:  # only what a notebook sends is so large or so deep
        status = RunStatus.PROTOCOL_VIOLATION if driver.cells else RunStatus.INFRA_ERROR
        return KernelLost(status, f"{UNREADABLE} ({type(error).__name__})")
    except Exception as error:  # of ours: what a message can cause is caught where messages are taken in
        return KernelLost(RunStatus.INFRA_ERROR, f"{type(error).__name__}: {error}")
    return None


def _choose_status(driver: Driver, lost: KernelLost | None, ending: Ending) -> tuple[RunStatus, str]:
    """Return the status and its reason. A reason that the sandbox recorded counts before what the broker saw."""
    if ending.stopped_by is not None:
        status, reason = ENDED[ending.stopped_by]
        return status, f"{reason} {lost.where if lost else ''}".rstrip()
    if ending.fault:
        return RunStatus.INFRA_ERROR, ending.fault
    if lost is not None:
        return lost.status, str(lost)
    statuses = {cell.status for cell in driver.cells}
    if "timeout" in statuses and not driver.complete:
        return RunStatus.TIMEOUT, "a cell took longer than its limit and was interrupted"
    if "timeout" in statuses:  # nothing that is graded was left to do
        return RunStatus.STUDENT_ERROR, "a cell after the last training did not end and was interrupted"
    return RunStatus.STUDENT_ERROR if "error" in statuses else RunStatus.OK, ""


def write_executed(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Write the executed notebook for people, without outputs when too large. `run` looks for a full disk later."""
    disarm(notebook)
    with contextlib.suppress(OSError):
        if _write_cells(notebook, folder / EXECUTED) > MAX_EXECUTED_BYTES:
            for cell in notebook.cells:
                cell.outputs = []
            _write_cells(notebook, folder / EXECUTED)


def _write_cells(notebook: nbformat.NotebookNode, path: Path) -> int:
    """Write a notebook cell by cell, since its text as a whole takes many times the memory. Returns its bytes."""
    rest = json.dumps({name: value for name, value in notebook.items() if name != "cells"}, indent=1)
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write('{\n"cells": [')
        for number, cell in enumerate(notebook.cells):
            file.write(",\n" if number else "\n")
            file.write(json.dumps(cell, ensure_ascii=False, indent=1, sort_keys=True))
        file.write(f"\n],{rest[1:]}\n")
        return file.tell()


if __name__ == "__main__":
    main()
