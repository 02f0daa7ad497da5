"""Kernels for nbclient: a kernel manager whose kernels live in a sandbox.

`SandboxManager` is what `nbclient.NotebookClient(notebook, km=…)` takes. Its provisioner (the interface
jupyter_client has for kernels that are no plain child process) opens a line to a supervisor, hands it five listening
unix sockets, and from then on only asks and listens: is it dead, how did it end, please stop. nbclient does not shut
down a manager that was handed to it; `await manager.close()` (or `manager.close_now()`) does, and returns how the
kernel ended.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning.provisioner_base import KernelProvisionerBase

from grader.errors import GraderError
from grader.sandbox.folders import open_socket_folder
from grader.sandbox.handover import remove
from grader.sandbox.link import Link
from grader.sandbox.policy import Ending, SandboxPolicy, Stop, Workspace
from grader.sandbox.transport import BoundedManager, open_bounded_socket

PORTS: Final = (1, 2, 3, 4, 5)  # names of unix sockets, as jupyter_client numbers them
PORT_NAMES: Final = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
STEP_S: Final = 0.005
START_S: Final = 120.0  # at most, until a kernel listens
BACKLOG: Final = 8


class SandboxProvisioner(KernelProvisionerBase):
    """The life of one kernel, as jupyter_client wants to see it."""

    parent: "SandboxManager"

    def __init__(self, *, open_line: Callable[[], Link], workspace: Workspace, **kwargs: Any):
        super().__init__(**kwargs)
        self._open_line = open_line
        self._workspace = workspace
        self._line: Link | None = None
        self.ready = False
        self.ending: Ending | None = None

    @property
    def has_process(self) -> bool:
        return self._line is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        return {"cmd": []}  # the supervisor knows what to run

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel and wait until it listens. Raises GraderError when it does not."""
        self._line = self._open_line()
        with Listeners(self.parent.ip, PORTS) as listeners:
            info = {**self.parent.get_connection_info(), "key": self.parent.session.key.decode()}
            message = build_request(self._workspace, self.parent.folder, info=info, ports=PORTS)
            self._line.send(message, listeners.descriptors)
        await self._wait_until_ready()
        return self.parent.get_connection_info()

    async def poll(self) -> int | None:
        """None while the kernel lives, else an exit code: 0 is dead as well, and 1 stands for unknown."""
        self._listen()
        if self.ending is None:
            return None
        return self.ending.exit_code if self.ending.exit_code is not None else 1

    async def wait(self) -> int | None:
        while await self.poll() is None:
            await asyncio.sleep(STEP_S)
        self._close_line()
        return await self.poll()

    async def send_signal(self, signum: int) -> None:
        """No signal but the last: kernels in a sandbox are interrupted by message."""

    async def kill(self, restart: bool = False) -> None:
        self.stop(None)

    async def terminate(self, restart: bool = False) -> None:
        self.stop(None)

    async def cleanup(self, restart: bool = False) -> None:
        self._close_line()
        self.parent.remove_folder()

    def stop(self, reason: Stop | None) -> None:
        """Have the supervisor record the reason and kill. Returns at once."""
        line = self._line  # a thread of the broker's may stop the kernel while another closes the line
        if line is not None and self.ending is None:
            try:
                line.send({"stop": reason})
            except OSError:
                self._listen()

    def _listen(self) -> None:
        line = self._line
        if line is None or self.ending is not None:
            return
        try:
            for message in line.receive():
                self.ready = self.ready or message["event"] == "ready"
                if message["event"] == "ended":
                    self.ending = Ending.from_message(message)
        except EOFError:
            self.ending = Ending(fault="the supervisor of the sandbox vanished")

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not self.ready and self.ending is None and time.monotonic() < deadline:
            self._listen()
            await asyncio.sleep(STEP_S)
        if not self.ready:
            reason = "it did not answer in time" if self.ending is None else _explain(self.ending)
            self._close_line()
            raise GraderError(f"No kernel could be started in the sandbox: {reason}. See `make doctor`.")

    def _close_line(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


class SandboxManager(BoundedManager):
    """A kernel manager for one kernel in one sandbox."""

    def __init__(self, policy: SandboxPolicy, workspace: Workspace, open_line: Callable[[], Link]) -> None:
        super().__init__(policy, lambda reason: self.provisioner.stop(reason))
        self._held = contextlib.ExitStack()
        self.folder = self._held.enter_context(open_socket_folder("kernel"))
        self.transport, self.ip, self.cache_ports = "ipc", str(self.folder / "z"), False
        for name, port in zip(PORT_NAMES, PORTS, strict=True):
            setattr(self, name, port)
        self.provisioner: SandboxProvisioner = SandboxProvisioner(open_line=open_line, workspace=workspace, parent=self)

    def remove_folder(self) -> None:
        """Remove the folder unless the supervisor has."""
        _remove_if_left(self.folder)
        self._held.close()

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(argv=[], language="python", display_name="sandbox", interrupt_mode="message")

    @property
    def ending(self) -> Ending | None:
        self.provisioner._listen()
        return self.provisioner.ending

    async def _end(self) -> Ending:
        self.provisioner.stop(None)
        while self.provisioner.has_process and self.ending is None:
            await asyncio.sleep(STEP_S)
        await self.cleanup_resources()
        return self.ending or Ending(fault="the kernel was never started")

    def _create_connected_socket(self, channel: str, identity: bytes | None = None) -> Any:
        import zmq

        connected = open_bounded_socket(self.context, zmq.DEALER)  # jupyter_client's manager opens none but control
        connected.connect(self._make_url(channel))
        return connected

    def write_connection_file(self, **kwargs: Any) -> None:
        """None: the key travels to the supervisor in the request."""

    def _reconcile_connection_info(self, info: Any) -> None:
        """It is ours already."""


class Listeners:
    """Unix sockets that listen already, at `<stem>-<port>`; open until they have been handed on."""

    def __init__(self, stem: str, ports: Iterable[int]) -> None:
        self._sockets = []
        for port in ports:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{stem}-{port}")
            listener.listen(BACKLOG)
            listener.setblocking(False)  # zmq expects it of a descriptor that it is given
            self._sockets.append(listener)

    @property
    def descriptors(self) -> list[int]:
        return [listener.fileno() for listener in self._sockets]

    def __enter__(self) -> "Listeners":
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._sockets:
            listener.close()


def build_request(
    workspace: Workspace,
    folder: Path,
    *,
    info: dict[str, Any] | None = None,
    ports: Iterable[int] = (),
    script: str = "",
) -> dict[str, Any]:
    """What a supervisor is asked for. `folder` belongs to this kernel alone and is removed by the supervisor."""
    return {
        "job": str(workspace.job.absolute()),
        "evidence": str(workspace.evidence.absolute()),
        "environ": dict(workspace.environ),
        "folder": str(folder),
        "info": info or {},
        "ports": list(ports),
        "script": script,
    }


def run_script(open_line: Callable[[], Link], workspace: Workspace, script: str, timeout_s: float) -> Ending:
    """Run trusted Python source in a sandbox instead of a kernel; for self-tests."""
    with open_socket_folder("kernel") as folder:
        line = open_line()
        try:
            line.send(build_request(workspace, folder, script=script))
            return _wait_for_ending(line, timeout_s)
        except (OSError, EOFError) as error:
            return Ending(fault=f"the supervisor vanished ({error})")
        finally:
            line.close()
            _remove_if_left(folder)


def _wait_for_ending(line: Link, timeout_s: float) -> Ending:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for message in line.receive():
            if message["event"] == "ended":
                return Ending.from_message(message)
        time.sleep(STEP_S)
    return Ending(fault="no answer in time")


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError):
        remove(folder)


def _explain(ending: Ending) -> str:
    return ending.fault or f"it ended with code {ending.exit_code}, stopped by {ending.stopped_by or 'nobody'}"
