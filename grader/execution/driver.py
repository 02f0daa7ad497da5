"""Drives one kernel through a notebook's cells and the probes, with nbclient.

An error in a cell does not stop later cells; a cell that needs a name from further down is run once more at the end,
unless all methods have been trained by then. A cell that exceeds its limit is interrupted, and so is one that is silent
when there is nothing left to wait for; when the kernel does not come back, it is given up. The transport bounds what a
kernel may send, and stops it beyond; the driver decides how much of that is kept.
"""

import asyncio
import logging
import queue
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from grader.execution.admission import Admission, Stage
from grader.execution.outputs import simplify_content
from grader.execution.progress import Listener
from grader.execution.record import ProbeOutcome
from grader.model import CellRecord, Method, RunStatus
from grader.protocol import events
from grader.protocol.out_of_order import find_out_of_order
from grader.sandbox.transport import MalformedMessage, OutputLimit

HEADING: Final = re.compile(r"^#{1,6}[ \t]+(\S.*?)[ \t#]*$", re.MULTILINE)
MAX_CELL_TEXT: Final = 20_000  # characters of output kept per cell
MAX_OUTPUTS_PER_CELL: Final = 200
MAX_CELL_BYTES: Final = 4 * 2**20  # held per cell: text, and pictures
MAX_HELD_BYTES: Final = 16 * 2**20  # of all cells together
MAX_RECORDED: Final = 1_000_000  # characters of output and tracebacks of all cells, in their records
LEAST_RECORDED: Final = 200  # of each, whatever the others print
MAX_ERROR: Final = 1_000
PROBE_FAMILIES: Final = 4

# How nbclient meets nonsense.
UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError)
BUNDLES: Final = ("display_data", "execute_result", "update_display_data")

QUIET: Final = logging.getLogger("grader.execution.nbclient")  # its warnings are in the record
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False

CellStatus = Literal["ok", "error", "timeout"]
PROBE_OUTCOMES: Final = {"ok": ProbeOutcome.ANSWERED, "error": ProbeOutcome.FAILED, "timeout": ProbeOutcome.TIMEOUT}


@dataclass(frozen=True)
class Limits:
    """Wall-clock limits in seconds."""

    ready_s: int = 120
    cell_s: float = 1800
    notebook_s: float = 3600
    probe_s: float = 60
    interrupt_s: float = 10  # for a kernel to come back after an interrupt
    silent_s: float | None = None  # for a cell that sends nothing when all methods have been trained; None: unlimited

    @property
    def total_s(self) -> float:
        """Return the longest that a run can take: start, cells, a last interrupt, probes."""
        return self.ready_s + self.notebook_s + self.interrupt_s + PROBE_FAMILIES * (self.probe_s + self.interrupt_s)


class KernelLost(Exception):
    """The kernel cannot be used any more; `status` tells why."""

    def __init__(self, status: RunStatus, reason: str, where: str = "") -> None:
        """Make the error. `reason`: a sentence; `where`: words for its end that tell what the kernel was doing."""
        super().__init__(f"{reason} {where}".rstrip())
        self.status, self.where = status, where


class Client(NotebookClient):
    """nbclient with bounds on what it keeps, and with the grader's events taken out of the outputs."""

    def __init__(self, driver: "Driver", **options: Any) -> None:
        """Connect to a kernel; the listener and the records are those of the driver."""
        super().__init__(driver.notebook, allow_errors=True, store_widget_state=False, log=QUIET, **options)
        self.driver = driver
        self.kept = self.held = 0  # bytes of what the running cell has sent, and of what is kept of all cells
        self.failure: Exception | None = None  # why the listening ended
        self.listening: asyncio.Task[Any] | None = None
        self.silenced = False  # the running cell was interrupted because it sent nothing

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: NotebookNode, cell_index: int) -> None:
        """As nbclient does, but give the cell up as soon as a message cannot be taken.

        nbclient itself would notice when the cell ends, which it may never do. Timers get their turn however fast
        messages come in.
        """
        self.kept, self.silenced = 0, False
        self.clear_display_id_mapping(cell_index)  # it may have run before
        self.listen_alone()
        try:
            while True:
                message = await self.receive()
                if not self.is_event(message, cell_index) and message["parent_header"].get("msg_id") == parent_msg_id:
                    self.process_message(message, cell, cell_index)
                await asyncio.sleep(0)
        except CellExecutionComplete:
            return
        except Exception as error:  # the transport refuses a message, or nbclient cannot make sense of one
            self.failure = error
            if self.task_poll_for_reply is not None:
                self.task_poll_for_reply.cancel()

    async def receive(self) -> dict[str, Any]:
        """Return the next message. A cell that is silent for too long is interrupted, once."""
        client, manager = cast(Any, self.kc), cast(Any, self.km)
        try:
            return await client.iopub_channel.get_msg(
                timeout=self.driver.limits.silent_s
                if self.driver.complete and not self.driver.admission.faults
                else None
            )
        except queue.Empty:
            self.silenced = True
            await manager.interrupt_kernel()
            return await client.iopub_channel.get_msg(timeout=None)

    def listen_alone(self) -> None:
        """End the listening for a cell that exceeded its limit: it would take the messages of the next one."""
        if self.listening:
            self.listening.cancel()
        self.listening = asyncio.current_task()

    def is_event(self, message: dict[str, Any], cell_index: int) -> bool:
        """Take an event in, whichever request it belongs to: a cell that was given up may still have one to tell."""
        event = message["content"]["data"].get(events.MIME) if message["msg_type"] == "display_data" else None
        if isinstance(event, dict):
            self.on_event(event, self.driver.admission.take(event), cell_index)
        return isinstance(event, dict)

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        """Drop what exceeds the cell's bounds or is no text and no picture, and hand the rest to nbclient."""
        kind = msg["msg_type"]
        content = msg["content"] = simplify_content(kind, msg["content"])
        size = _measure_bytes(content) if kind in ("stream", "error", *BUNDLES) else 0
        self.kept, self.held = self.kept + size, self.held + size
        too_much = self.kept > MAX_CELL_BYTES or self.held > MAX_HELD_BYTES
        full = too_much or len(cell.outputs) >= MAX_OUTPUTS_PER_CELL
        if full and kind in ("stream", *BUNDLES):
            self.held -= size
            _append_cut(cell.outputs, content)
            return None
        return super().process_message(msg, cell, cell_index)

    def _update_display_id(self, display_id: str, msg: dict[str, Any]) -> None:
        """As nbclient does, of displays that are still there: it keeps where they were, whatever ran since."""
        cells = self.nb["cells"]
        for index, places in self._display_id_map.get(display_id, {}).items():
            outputs = cells[index].outputs if index < len(cells) else ()
            places[:] = [at for at in places if at < len(outputs) and "data" in outputs[at]]
        super()._update_display_id(display_id, msg)

    def on_event(self, event: dict[str, Any], kind: str, cell_index: int) -> None:
        """Tell the listener of an event that counts."""
        driver = self.driver
        if kind == "training_begin":
            driver.training_cells[event["index"]] = cell_index
        elif kind == "training_step":
            methods = driver.admission.methods
            method = methods.get(event.get("index", 0)) or Method.FULL
            driver.listener.on_training_step(method, event["step"], event["steps"])


def _measure_bytes(content: dict[str, Any]) -> int:
    """Return the bytes that the texts take in memory: one wide character makes four of each other one."""
    texts = (*content.get("data", {}).values(), content.get("text", ""), content.get("evalue", ""))
    return sum(map(sys.getsizeof, (*texts, *content.get("traceback", ()))))


def _append_cut(outputs: list[NotebookNode], content: dict[str, Any]) -> None:
    """Add the beginning of a text to the last stream, unless that is long already."""
    last = outputs[-1] if outputs else {}
    if last.get("output_type") == "stream" and len(last["text"]) < MAX_CELL_TEXT:
        last["text"] += content.get("text", "")[:MAX_CELL_TEXT]


@dataclass
class Driver:
    """One notebook in one kernel. `cells` fills up as the run proceeds, so that a lost kernel loses no records."""

    notebook: NotebookNode
    limits: Limits
    listener: Listener
    when_started: Callable[[], None] = lambda: None  # called when the kernel runs and nothing of it has been read
    cells: list[CellRecord] = field(default_factory=list)
    training_cells: dict[int, int] = field(default_factory=dict)
    probes: dict[str, ProbeOutcome] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    admission: Admission = field(default_factory=Admission)
    recorded: int = 0  # characters of output and tracebacks, in the records so far

    @property
    def complete(self) -> bool:
        """Return True if a training of each method has ended."""
        return self.admission.complete

    def run(self, manager: AsyncKernelManager, bootstrap: str, probes: Sequence[tuple[str, str]]) -> None:
        """Run bootstrap, cells and probes (family, code); the manager's owner ends the kernel. Raises KernelLost."""
        self.probes = {family: ProbeOutcome.NOT_RUN for family, _ in probes}
        client = Client(self, km=manager, startup_timeout=self.limits.ready_s)
        client.iopub_timeout = max(1, round(self.limits.interrupt_s))
        began = time.perf_counter()
        try:
            with client.setup_kernel():
                self.timings["kernel start"] = time.perf_counter() - began
                self.when_started()
                with self.measure_time("bootstrap"):
                    self.run_bootstrap(client, bootstrap)
                with self.measure_time("cells"):
                    self.run_cells(client)
                with self.measure_time("probes"):
                    self.run_probes(client, probes)
        finally:
            if client.kc is not None:
                client.kc.stop_channels()

    @contextmanager
    def measure_time(self, name: str) -> Iterator[None]:
        """Note the seconds of a block in `timings`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = time.perf_counter() - began

    def run_probes(self, client: Client, probes: Sequence[tuple[str, str]]) -> None:
        """Run all probes; the failure of a family is an observation."""
        for family, code in probes:
            self.listener.stage(f"asking the kernel about {family}")
            self.admission.ask(family)
            status = self.run_scratch(client, code, self.limits.probe_s, f"when asked about {family}")
            self.admission.settle(answered=status == "ok")
            self.probes[family] = PROBE_OUTCOMES[status]

    def run_bootstrap(self, client: Client, code: str) -> None:
        """Run the grader's own code; an error in it is not the student's fault."""
        try:
            status = self.run_scratch(client, code, self.limits.ready_s, "while it was prepared")
        except KernelLost as lost:
            raise KernelLost(RunStatus.INFRA_ERROR, f"the kernel could not be prepared: {lost}") from None
        if status != "ok":
            reason = "it took too long" if status == "timeout" else find_error_line(client.nb.cells[-1].outputs)
            raise KernelLost(RunStatus.INFRA_ERROR, f"the kernel could not be prepared: {reason}")

    def run_scratch(self, client: Client, code: str, allowed_s: float, where: str) -> CellStatus:
        """Run a cell that is not part of the student's notebook: nbclient wants a place to put it."""
        client.nb = new_notebook(cells=[*self.notebook.cells, new_code_cell(code)])
        return self.execute(client, client.nb.cells[-1], len(client.nb.cells) - 1, allowed_s, where)

    def run_cells(self, client: Client) -> None:
        """Run all cells in order, and record each as it ends."""
        client.nb, self.admission.stage = self.notebook, Stage.CELLS
        deadline = time.monotonic() + self.limits.notebook_s
        for index, cell in enumerate(self.notebook.cells):
            if cell.cell_type == "code" and cell.source.strip():
                self.listener.on_cell_start(index, len(self.notebook.cells), name_cell(self.notebook.cells, index))
                self.run_cell(client, index, deadline, len(self.cells))
        if not self.complete:
            self.run_out_of_order(client, deadline)

    def run_out_of_order(self, client: Client, deadline: float) -> None:
        """Run the cells that came too early once more. Their new records keep how they ended in their place."""
        positions = {cell.index: position for position, cell in enumerate(self.cells)}
        methods = self.admission.methods
        trained = [(positions[self.training_cells[t]], methods[t].value) for t in self.admission.ended]
        sources, errors = [cell.source for cell in self.cells], [cell.error for cell in self.cells]
        for position in find_out_of_order(sources, errors, trained):
            self.listener.stage("running cells again that came too early")
            self.run_cell(client, self.cells[position].index, deadline, position, errors[position])

    def run_cell(self, client: Client, index: int, deadline: float, position: int, first_error: str = "") -> None:
        """Run one cell of the student's, and put its record at a position of `cells`, whatever becomes of it."""
        cell = self.notebook.cells[index]
        allowed_s = max(1.0, min(self.limits.cell_s, deadline - time.monotonic()))
        began = time.perf_counter()
        status: CellStatus = "timeout"
        try:
            status = self.execute(client, cell, index, allowed_s, f"in cell {index + 1}")
        except KernelLost as lost:
            status = "timeout" if lost.status is RunStatus.TIMEOUT else "error"
            raise
        finally:
            seconds = round(time.perf_counter() - began, 3)
            most = max(LEAST_RECORDED, min(MAX_CELL_TEXT, MAX_RECORDED - self.recorded))
            record = _build_record(cell, index, most, duration_s=seconds, status=status, first_error=first_error)
            self.recorded += len(record.output) + len(record.traceback)
            self.cells[position : position + 1] = [record]
        if time.monotonic() > deadline:
            raise KernelLost(RunStatus.TIMEOUT, f"the notebook took longer than {self.limits.notebook_s:.0f} s")

    def execute(self, client: Client, cell: NotebookNode, index: int, allowed_s: float, where: str) -> CellStatus:
        """Run one cell; its outputs hold its error. Raises KernelLost."""
        client.timeout = max(1, round(allowed_s))
        try:
            client.execute_cell(cell, index, store_history=True)
        except CellTimeoutError:
            self.bring_back(client, allowed_s, where)
            return "timeout"
        except DeadKernelError:
            raise _explain_loss(client.failure, where) from None
        except (OutputLimit, MalformedMessage, *UNREADABLE) as error:
            raise _explain_loss(error, where) from error
        if client.failure is not None:
            raise _explain_loss(client.failure, where)
        if client.silenced:
            return "timeout"
        return "error" if find_error_line(cell.outputs) else "ok"

    def bring_back(self, client: Client, allowed_s: float, where: str) -> None:
        """Interrupt a cell that takes too long; give the kernel up if it does not answer."""
        manager: Any = client.km
        run_sync(manager.interrupt_kernel)()
        client.timeout = max(1, round(self.limits.interrupt_s))
        notebook, client.nb = client.nb, new_notebook(cells=[new_code_cell("pass")])
        try:
            client.execute_cell(client.nb.cells[0], 0, store_history=False)
        except (CellTimeoutError, DeadKernelError):
            reason = f"the kernel did not stop after its limit of {allowed_s:.0f} s"
            raise KernelLost(RunStatus.TIMEOUT, reason, where) from None
        client.nb = notebook


def _explain_loss(failure: Exception | None, where: str) -> KernelLost:
    """Build the error for a lost kernel. `failure`: why the listening ended, None when the process is gone."""
    if failure is None:
        return KernelLost(RunStatus.KERNEL_DIED, "the kernel died", where)
    return KernelLost(RunStatus.PROTOCOL_VIOLATION, f"the kernel sent malformed messages ({failure!s:.200})", where)


def name_cell(cells: Sequence[NotebookNode], index: int) -> str:
    """Name a code cell for whoever waits: by the heading above it, else by its first line that says something."""
    above = (cell.source for cell in reversed(cells[:index]) if cell.cell_type == "markdown")
    headings = next((found for source in above if (found := HEADING.findall(source))), [""])
    lines = (line.strip() for line in cells[index].source.splitlines())
    telling = next((line for line in lines if line and not line.startswith(("#", "raise "))), "")
    return (headings[-1] or telling or cells[index].source.strip())[:200]


def _build_record(cell: NotebookNode, index: int, most: int, **rest: Any) -> CellRecord:
    """Return the record of a cell. `most`: characters of its output, and of a traceback; `rest`: other fields."""
    lines = [line for output in cell.outputs if output.output_type == "error" for line in output.traceback]
    return CellRecord(
        index=index,
        source=cell.source,
        output=_join_text(cell.outputs, most),
        error=find_error_line(cell.outputs),
        traceback="\n".join(lines)[:most],
        **rest,
    )


def find_error_line(outputs: Sequence[NotebookNode]) -> str:
    """Return the last error of a cell on one line, or nothing."""
    errors = [output for output in outputs if output.output_type == "error"]
    return f"{errors[-1].ename}: {errors[-1].evalue}"[:MAX_ERROR] if errors else ""


def _join_text(outputs: Sequence[NotebookNode], most: int) -> str:
    parts = []
    for output in outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type in ("display_data", "execute_result"):
            parts.append(f"{output.data.get('text/plain', '')}\n")
    text = "".join(parts)
    return text if len(text) <= most else text[:most] + "\n[cut]"
