"""Drives one kernel through a notebook's cells and the probes, with nbclient.

An error in a cell does not stop later cells; a cell that a name defined further down stopped is run once more at the
end, unless all methods have been trained by then. A cell that exceeds its limit is interrupted; when the kernel does
not come back, it is given up. How much a kernel may send, and in which form, is the transport's business (it stops a
kernel that passes a bound); here is decided how much of it is kept.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from grader.execution.out_of_order import find_out_of_order
from grader.execution.progress import Listener
from grader.execution.record import ProbeOutcome
from grader.model import CellRecord, Method, RunStatus
from grader.protocol import events
from grader.sandbox.transport import MalformedMessage, OutputLimit

MAX_CELL_TEXT: Final = 20_000  # characters of output kept per cell
MAX_OUTPUTS_PER_CELL: Final = 200
MAX_CELL_BYTES: Final = 4 * 2**20  # kept per cell: text, and pictures
MAX_ERROR: Final = 1_000
PROBE_FAMILIES: Final = 4
MAX_TRAININGS: Final = 1_000
MAX_STEPS: Final = 10**9
MAX_FILES: Final = 4_096  # announced; one per change of a file

UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)  # how nbclient meets nonsense
BUNDLES: Final = ("display_data", "execute_result", "update_display_data")

QUIET: Final = logging.getLogger("grader.execution.nbclient")  # what it warns of is in the record
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False

CellStatus = Literal["ok", "error", "timeout", "not_run"]


@dataclass(frozen=True)
class Limits:
    """Wall-clock limits in seconds."""

    ready_s: int = 120
    cell_s: float = 1800
    notebook_s: float = 3600
    probe_s: float = 60
    interrupt_s: float = 10  # for a kernel to come back after an interrupt

    @property
    def total_s(self) -> float:
        """No run takes longer: start, cells, a last interrupt, probes."""
        return self.ready_s + self.notebook_s + self.interrupt_s + PROBE_FAMILIES * (self.probe_s + self.interrupt_s)


class KernelLost(Exception):
    """The kernel is of no use any more; `status` says why."""

    def __init__(self, status: RunStatus, reason: str, where: str = "") -> None:
        """`reason`: a sentence; `where`: the words at its end that say what the kernel was doing."""
        super().__init__(f"{reason} {where}".rstrip())
        self.status, self.where = status, where


class Client(NotebookClient):
    """nbclient with bounds on what it keeps, and with our events taken out of the outputs."""

    def __init__(
        self,
        notebook: NotebookNode,
        listener: Listener,
        training_cells: dict[int, int],
        written: set[tuple[str, str]],
        **options: Any,
    ) -> None:
        """Two that fill up: the cell in which each training began; name and digest of each file that was announced."""
        super().__init__(notebook, allow_errors=True, store_widget_state=False, log=QUIET, **options)
        self.listener, self.training_cells, self.written = listener, training_cells, written
        self.method = Method.FULL
        self.methods: dict[int, Method] = {}  # of the trainings that began
        self.ended: set[int] = set()  # trainings
        self.kept = 0
        self.failure: Exception | None = None  # why we stopped listening
        self.listening: asyncio.Task[Any] | None = None

    async def _async_poll_output_msg(self, parent_msg_id: str, cell: NotebookNode, cell_index: int) -> None:
        """As nbclient does, but give the cell up as soon as a message cannot be taken.

        nbclient itself would notice when the cell ends, which it may never do. Timers get their turn however fast
        messages come in.
        """
        self.kept = 0
        self.listen_alone()
        client: Any = self.kc
        try:
            while True:
                message = await client.iopub_channel.get_msg(timeout=None)
                if not self.is_event(message, cell_index) and message["parent_header"].get("msg_id") == parent_msg_id:
                    self.process_message(message, cell, cell_index)
                await asyncio.sleep(0)
        except CellExecutionComplete:
            return
        except Exception as error:  # the transport refuses a message, or nbclient cannot make sense of one
            self.failure = error
            if self.task_poll_for_reply is not None:
                self.task_poll_for_reply.cancel()

    def listen_alone(self) -> None:
        """End the listening for a cell that exceeded its limit: it would take the messages of the next one."""
        if self.listening:
            self.listening.cancel()
        self.listening = asyncio.current_task()

    def is_event(self, message: dict[str, Any], cell_index: int) -> bool:
        """Take an event in, whichever request it belongs to: a cell that was given up may still have one to tell."""
        event = message["content"]["data"].get(events.MIME) if message["msg_type"] == "display_data" else None
        if isinstance(event, dict):
            self.on_event(event, cell_index)
        return isinstance(event, dict)

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        """Drop what exceeds the cell's bounds, and hand the rest to nbclient."""
        kind, content = msg["msg_type"], msg["content"]
        self.kept += _size(content)
        full = self.kept > MAX_CELL_BYTES or len(cell.outputs) >= MAX_OUTPUTS_PER_CELL
        if full and kind in ("stream", *BUNDLES):
            append_cut(cell.outputs, content)
            return None
        return super().process_message(msg, cell, cell_index)

    def on_event(self, event: dict[str, Any], cell_index: int) -> None:
        """Tell the listener, or note a file. Events come from the notebook's process: a file counts only
        where its digest was announced here, and nothing else is believed."""
        index, step, steps = (_parse_whole(event.get(name)) for name in ("index", "step", "steps"))
        if event.get("kind") == "training_begin" and index is not None and index < MAX_TRAININGS:
            self.training_cells.setdefault(index, cell_index)
            self.method = next((m for m in Method if m.value == event.get("method")), Method.FULL)
            self.methods.setdefault(index, self.method)
        elif event.get("kind") == "training_end" and index in self.methods:
            self.ended.add(index)
        elif event.get("kind") == "training_step" and step is not None and steps is not None:
            self.listener.on_training_step(self.method, step, steps)
        elif event.get("kind") == "written" and len(self.written) < MAX_FILES:
            name, digest = event.get("name"), event.get("sha256")
            if isinstance(name, str) and isinstance(digest, str) and len(name) + len(digest) < MAX_ERROR:
                self.written.add((name, digest))


def _parse_whole(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_STEPS else None


def _size(content: dict[str, Any]) -> int:
    """Roughly the characters of an output."""
    bundle = sum(len(str(value)) for value in content.get("data", {}).values())
    lines = content.get("traceback", ())
    return bundle + sum(len(str(content.get(name, ""))) for name in ("text", "evalue")) + sum(map(len, lines))


def append_cut(outputs: list[NotebookNode], content: dict[str, Any]) -> None:
    """Keep the end of a long text visible as long as it is short."""
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
    written: set[tuple[str, str]] = field(default_factory=set)  # name and SHA-256 of what the witness announced

    def run(self, manager: AsyncKernelManager, bootstrap: str, probes: Sequence[tuple[str, str]]) -> None:
        """Run bootstrap, cells and probes (family, code). Raises KernelLost when the kernel cannot go on."""
        self.probes = {family: ProbeOutcome.NOT_RUN for family, _ in probes}
        with self.start_client(manager) as client:
            with self.measure_time("bootstrap"):
                self.run_own_code(client, bootstrap)
            with self.measure_time("cells"):
                self.run_cells(client)
            with self.measure_time("probes"):
                for family, code in probes:
                    self.probes[family] = self.probe(client, family, code)

    @contextmanager
    def measure_time(self, name: str) -> Iterator[None]:
        """Add the seconds of a block to `timings`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - began

    @contextmanager
    def start_client(self, manager: AsyncKernelManager) -> Iterator[Client]:
        """A client connected to a running kernel. The kernel is left to whoever owns the manager."""
        client = Client(
            self.notebook,
            self.listener,
            self.training_cells,
            self.written,
            km=manager,
            startup_timeout=self.limits.ready_s,
        )
        client.iopub_timeout = max(1, round(self.limits.interrupt_s))
        began = time.perf_counter()
        try:
            with client.setup_kernel():
                self.timings["kernel start"] = time.perf_counter() - began
                self.when_started()
                yield client
        finally:
            if client.kc is not None:
                client.kc.stop_channels()

    def run_own_code(self, client: Client, code: str) -> None:
        """Run code of ours; an error in it is not the student's fault."""
        try:
            error = self.run_scratch(client, code, self.limits.ready_s, "while it was prepared")
        except KernelLost as lost:
            raise KernelLost(RunStatus.INFRA_ERROR, f"the kernel could not be prepared: {lost}") from None
        if error is not None:
            raise KernelLost(RunStatus.INFRA_ERROR, f"the kernel could not be prepared: {error or 'it took too long'}")

    def run_scratch(self, client: Client, code: str, allowed_s: float, where: str) -> str | None:
        """Run a cell that is not part of the student's notebook: nbclient wants a place to put it."""
        client.nb = new_notebook(cells=[*self.notebook.cells, new_code_cell(code)])
        return self.execute(client, client.nb.cells[-1], len(client.nb.cells) - 1, allowed_s, where)

    def run_cells(self, client: Client) -> None:
        """All cells in order, each recorded as it ends."""
        client.nb = self.notebook
        total = len(self.notebook.cells)
        code = [(i, cell) for i, cell in enumerate(self.notebook.cells) if is_code(cell)]
        deadline = time.monotonic() + self.limits.notebook_s
        for index, cell in code:
            self.listener.on_cell_start(index, total, cell.source.strip().splitlines()[0][:200])
            self.run_cell(client, index, deadline, self.cells.append)
        if {client.methods[training] for training in client.ended} != set(Method):
            self.run_out_of_order(client, deadline)

    def run_out_of_order(self, client: Client, deadline: float) -> None:
        """Once more the cells that came too early. Their new record tells how they ended in their place."""
        done = {self.training_cells[training] for training in client.ended}
        sources, errors = [cell.source for cell in self.cells], [cell.error for cell in self.cells]
        for position in find_out_of_order(
            sources, errors, {p for p, cell in enumerate(self.cells) if cell.index in done}
        ):
            self.listener.stage("running again what came too early")
            first = self.cells[position]

            def keep(record: CellRecord, position: int = position, error: str = first.error) -> None:
                self.cells[position] = record.model_copy(update={"first_error": error})

            self.run_cell(client, first.index, deadline, keep)

    def run_cell(self, client: Client, index: int, deadline: float, keep: Callable[[CellRecord], None]) -> None:
        """One cell of the student's, whatever becomes of it."""
        cell = self.notebook.cells[index]
        allowed_s = max(1.0, min(self.limits.cell_s, deadline - time.monotonic()))
        began = time.perf_counter()
        status: CellStatus = "timeout"
        try:
            error = self.execute(client, cell, index, allowed_s, f"in cell {index + 1}")
            status = "ok" if error is None else "timeout" if error == "" else "error"
        except KernelLost as lost:
            status = "timeout" if lost.status is RunStatus.TIMEOUT else "error"
            raise
        finally:
            keep(_record(cell, index, time.perf_counter() - began, status))
        if time.monotonic() > deadline:
            raise KernelLost(RunStatus.TIMEOUT, f"the notebook took longer than {self.limits.notebook_s:.0f} s")

    def execute(self, client: Client, cell: NotebookNode, index: int, allowed_s: float, where: str) -> str | None:
        """Run one cell. None: fine; "" : interrupted at its limit; otherwise the error's one line."""
        client.timeout = max(1, round(allowed_s))
        try:
            client.execute_cell(cell, index, store_history=True)
        except CellTimeoutError:
            self.bring_back(client, allowed_s, where)
            return ""
        except DeadKernelError:
            raise build_loss(client.failure, where) from None
        except (OutputLimit, MalformedMessage, *UNREADABLE) as error:
            raise build_loss(error, where) from error
        if client.failure is not None:
            raise build_loss(client.failure, where)
        return find_error_line(cell.outputs) or None

    def bring_back(self, client: Client, allowed_s: float, where: str) -> None:
        """Interrupt a cell that went on for too long; give the kernel up if it does not answer."""
        manager: Any = client.km
        run_sync(manager.interrupt_kernel)()
        client.timeout = max(1, round(self.limits.interrupt_s))
        notebook, client.nb = client.nb, new_notebook(cells=[new_code_cell("pass")])
        try:
            client.execute_cell(client.nb.cells[0], 0, store_history=False)
        except (CellTimeoutError, DeadKernelError):
            reason = f"the kernel went on for more than its {allowed_s:.0f} s and could not be stopped"
            raise KernelLost(RunStatus.TIMEOUT, reason, where) from None
        client.nb = notebook

    def probe(self, client: Client, family: str, code: str) -> ProbeOutcome:
        """One family of probes; its failure is an observation."""
        self.listener.stage(f"asking: {family}")
        error = self.run_scratch(client, code, self.limits.probe_s, f"when asked about {family}")
        return ProbeOutcome.ANSWERED if error is None else ProbeOutcome.TIMEOUT if error == "" else ProbeOutcome.FAILED


def is_code(cell: NotebookNode) -> bool:
    """Whether there is anything to run in a cell."""
    return bool(cell.cell_type == "code" and cell.source.strip())


def build_loss(failure: Exception | None, where: str) -> KernelLost:
    """What the end of a kernel means. `failure`: why we stopped listening, None when the process is gone.

    Where the transport stopped the kernel, the sandbox has recorded a reason, and that is what counts.
    """
    if failure is None:
        return KernelLost(RunStatus.KERNEL_DIED, "the kernel died", where)
    return KernelLost(RunStatus.PROTOCOL_VIOLATION, f"the kernel sent what no kernel sends ({failure!s:.200})", where)


def _record(cell: NotebookNode, index: int, seconds: float, status: CellStatus) -> CellRecord:
    lines = [line for o in cell.outputs if o.output_type == "error" for line in o.traceback]
    return CellRecord(
        index=index,
        source=cell.source,
        duration_s=round(seconds, 3),
        status=status,
        output=join_output_text(cell.outputs),
        error=find_error_line(cell.outputs),
        traceback="\n".join(lines)[:MAX_CELL_TEXT],
    )


def find_error_line(outputs: Sequence[NotebookNode]) -> str:
    """The last error of a cell on one line, or nothing."""
    errors = [output for output in outputs if output.output_type == "error"]
    return f"{errors[-1].ename}: {errors[-1].evalue}"[:MAX_ERROR] if errors else ""


def join_output_text(outputs: Sequence[NotebookNode]) -> str:
    """Text of a cell's outputs, cut to a bounded length."""
    parts = []
    for output in outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type in ("display_data", "execute_result"):
            parts.append(str(output.data.get("text/plain", "")) + "\n")
    text = "".join(parts)
    return text if len(text) <= MAX_CELL_TEXT else text[:MAX_CELL_TEXT] + "\n[cut]"
