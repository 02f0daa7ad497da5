"""Drives one kernel through a notebook's cells and the probes, with nbclient.

An error in a cell does not stop later cells. A cell that exceeds its limit is interrupted; when the kernel does not
come back, it is given up. Whatever a kernel sends is text to be kept within bounds, never trusted.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from grader.execution.progress import Listener
from grader.execution.record import ProbeOutcome
from grader.kernel import events
from grader.model import CellRecord, Method, RunStatus

MAX_CELL_TEXT = 20_000  # characters of output kept per cell
MAX_ERROR = 1_000
PROBE_FAMILIES = 4
MAX_OUTPUTS_PER_CELL = 200
MAX_RUN_BYTES = 64 * 2**20  # characters that a whole notebook may send


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


class OutputLimit(Exception):
    """The kernel sent more than is kept."""


class KernelLost(Exception):
    """The kernel is of no use any more; `status` says why."""

    def __init__(self, status: RunStatus, reason: str) -> None:
        """Keep the status beside the sentence."""
        super().__init__(reason)
        self.status = status


class Client(NotebookClient):
    """nbclient with bounds on what it keeps, and with our events taken out of the outputs."""

    listener: Listener
    received = 0
    training_cells: dict[int, int]
    method = Method.FULL

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        """Count, take out events, and hand the rest to nbclient."""
        content = msg["content"]
        self.received += _size(content)
        if self.received > MAX_RUN_BYTES:
            raise OutputLimit(f"the notebook sent more than {MAX_RUN_BYTES // 2**20} MiB of output")
        event = content.get("data", {}).get(events.MIME) if msg["msg_type"] == "display_data" else None
        if isinstance(event, dict):
            self._on_event(event, cell_index)
            return None
        if len(cell.outputs) >= MAX_OUTPUTS_PER_CELL and msg["msg_type"] in ("stream", "display_data"):
            _append_cut(cell.outputs, content)
            return None
        return super().process_message(msg, cell, cell_index)

    def _on_event(self, event: dict[str, Any], cell_index: int) -> None:
        kind, index = event.get("kind"), event.get("index")
        if kind == "training_begin" and isinstance(index, int) and len(self.training_cells) < 1_000:
            self.training_cells.setdefault(index, cell_index)
            self.method = Method(event["method"]) if event.get("method") in set(Method) else Method.FULL
        elif kind == "training_step" and isinstance(event.get("step"), int) and isinstance(event.get("steps"), int):
            self.listener.training_step(self.method, event["step"], event["steps"])


def _size(content: dict[str, Any]) -> int:
    return len(content.get("text", "")) + sum(len(str(value)) for value in content.get("data", {}).values())


def _append_cut(outputs: list[NotebookNode], content: dict[str, Any]) -> None:
    last = outputs[-1]
    if last.get("output_type") == "stream" and len(last.text) < MAX_CELL_TEXT:
        last.text += content.get("text", "")


@dataclass
class Driver:
    """One notebook in one kernel. `cells` fills up as the run proceeds, so that a lost kernel loses no records."""

    notebook: NotebookNode
    limits: Limits
    listener: Listener
    cells: list[CellRecord] = field(default_factory=list)
    training_cells: dict[int, int] = field(default_factory=dict)
    probes: dict[str, ProbeOutcome] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)

    def run(self, manager: AsyncKernelManager, bootstrap: str, probes: Sequence[tuple[str, str]]) -> None:
        """Run bootstrap, cells and probes (family, code). Raises KernelLost when the kernel cannot go on."""
        self.probes = {family: ProbeOutcome.NOT_RUN for family, _ in probes}
        with self.started(manager) as client:
            with self.timed("bootstrap"):
                self.housekeeping(client, bootstrap)
            with self.timed("cells"):
                self.run_cells(client)
            with self.timed("probes"):
                for family, code in probes:
                    self.probes[family] = self.probe(client, family, code)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds of a block to `timings`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.perf_counter() - began

    @contextmanager
    def started(self, manager: AsyncKernelManager) -> Iterator[Client]:
        """A client connected to a running kernel."""
        client = Client(
            self.notebook, km=manager, allow_errors=True, startup_timeout=self.limits.ready_s, store_widget_state=False
        )
        client.listener, client.training_cells = self.listener, self.training_cells
        client.iopub_timeout = self.limits.interrupt_s
        began = time.perf_counter()
        with client.setup_kernel():
            self.timings["kernel start"] = time.perf_counter() - began
            yield client

    def housekeeping(self, client: Client, code: str) -> None:
        """Run code of ours; an error in it is not the student's fault."""
        cell, index = self.scratch_cell(client, code)
        error = self.execute(client, cell, index, self.limits.ready_s)
        if error is not None:
            raise KernelLost(RunStatus.INFRA_ERROR, f"the kernel could not be prepared: {error}")

    def scratch_cell(self, client: Client, code: str) -> tuple[NotebookNode, int]:
        """A cell that is not part of the student's notebook: nbclient wants a place to put it."""
        client.nb = new_notebook(cells=[*self.notebook.cells, new_code_cell(code)])
        return client.nb.cells[-1], len(client.nb.cells) - 1

    def run_cells(self, client: Client) -> None:
        """All cells in order, each recorded as it ends."""
        client.nb = self.notebook
        code = [
            (i, cell) for i, cell in enumerate(self.notebook.cells) if cell.cell_type == "code" and cell.source.strip()
        ]
        deadline = time.monotonic() + self.limits.notebook_s
        for position, (index, cell) in enumerate(code):
            self.listener.cell_started(position, len(code), cell.source.strip().splitlines()[0][:200])
            self.run_cell(client, cell, index, deadline)

    def run_cell(self, client: Client, cell: NotebookNode, index: int, deadline: float) -> None:
        """One cell of the student's, whatever becomes of it."""
        allowed = max(1.0, min(self.limits.cell_s, deadline - time.monotonic()))
        began = time.perf_counter()
        status = "timeout"
        try:
            error = self.execute(client, cell, index, allowed)
            status = "ok" if error is None else "timeout" if error == "" else "error"
        finally:
            self.cells.append(_record(cell, index, time.perf_counter() - began, status))
        if time.monotonic() > deadline:
            raise KernelLost(RunStatus.TIMEOUT, f"the notebook took longer than {self.limits.notebook_s:.0f} s")

    def execute(self, client: Client, cell: NotebookNode, index: int, allowed_s: float) -> str | None:
        """Run one cell. None: fine; "" : interrupted at its limit; otherwise the error's one line."""
        client.timeout = max(1, round(allowed_s))
        try:
            client.execute_cell(cell, index, store_history=True)
        except CellTimeoutError:
            self.bring_back(client, allowed_s)
            return ""
        except DeadKernelError:
            raise KernelLost(RunStatus.KERNEL_DIED, f"the kernel died in cell {index}") from None
        except OutputLimit as error:
            raise KernelLost(RunStatus.OUTPUT_LIMIT, f"{error} (cell {index})") from None
        except CellExecutionError as error:
            return str(error.evalue)
        return error_line(cell.outputs) or None

    def bring_back(self, client: Client, allowed_s: float) -> None:
        """Interrupt a cell that went on for too long; give the kernel up if it does not answer."""
        client.km.interrupt_kernel()
        client.timeout = max(1, round(self.limits.interrupt_s))
        scratch = new_code_cell("pass")
        try:
            notebook, client.nb = client.nb, new_notebook(cells=[scratch])
            client.execute_cell(scratch, 0, store_history=False)
            client.nb = notebook
        except (CellTimeoutError, DeadKernelError):
            raise KernelLost(
                RunStatus.TIMEOUT, f"a cell went on after its {allowed_s:.0f} s and could not be stopped"
            ) from None

    def probe(self, client: Client, family: str, code: str) -> ProbeOutcome:
        """One family of probes; its failure is an observation."""
        self.listener.stage(f"asking: {family}")
        cell, index = self.scratch_cell(client, code)
        error = self.execute(client, cell, index, self.limits.probe_s)
        return ProbeOutcome.ANSWERED if error is None else ProbeOutcome.TIMEOUT if error == "" else ProbeOutcome.FAILED


def _record(cell: NotebookNode, index: int, seconds: float, status: str) -> CellRecord:
    return CellRecord(
        index=index,
        source=cell.source,
        duration_s=round(seconds, 3),
        status=status,
        output=output_text(cell.outputs),
        error=error_line(cell.outputs),
        traceback="\n".join(line for o in cell.outputs if o.output_type == "error" for line in o.traceback)[
            :MAX_CELL_TEXT
        ],
    )


def error_line(outputs: Sequence[NotebookNode]) -> str:
    """The last error of a cell on one line, or nothing."""
    errors = [output for output in outputs if output.output_type == "error"]
    return f"{errors[-1].ename}: {errors[-1].evalue}"[:MAX_ERROR] if errors else ""


def output_text(outputs: Sequence[NotebookNode]) -> str:
    """Text of a cell's outputs, cut to a bounded length."""
    parts = []
    for output in outputs:
        if output.output_type == "stream":
            parts.append(output.text)
        elif output.output_type in ("display_data", "execute_result"):
            parts.append(str(output.data.get("text/plain", "")) + "\n")
    text = "".join(parts)
    return text if len(text) <= MAX_CELL_TEXT else text[:MAX_CELL_TEXT] + "\n[cut]"
