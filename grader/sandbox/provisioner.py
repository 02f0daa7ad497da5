"""Kernels for nbclient: a kernel manager whose kernels live in a sandbox.

`SandboxManager` is what `nbclient.NotebookClient(notebook, km=…)` takes. Its provisioner (the interface that
jupyter_client has for kernels that are no plain child process) opens a link to a supervisor, hands it five listening
unix sockets, and from then on only asks how the kernel ended, if it did, and orders its end.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from jupyter_client.connect import KernelConnectionInfo

from grader.errors import GraderError
from grader.sandbox.folders import open_socket_folder
from grader.sandbox.link import KernelRequest, Link
from grader.sandbox.manager import STEP_S, BoundedManager, StoppableProvisioner
from grader.sandbox.policy import Ending, SandboxPolicy, Stop, Workspace
from grader.sandbox.transport import open_bounded_socket

PORTS: Final = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}  # unix: numbers
START_S: Final = 120.0  # at most, until a kernel listens


class SandboxProvisioner(StoppableProvisioner):
    """The life of one kernel in a sandbox."""

    parent: "SandboxManager"

    def __init__(self, *, open_link: Callable[[], Link], workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._open_link = open_link
        self._workspace = workspace
        self._link: Link | None = None
        self.ready = False
        self.ending: Ending | None = None

    @property
    def has_process(self) -> bool:
        return self._link is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        return {"cmd": []}  # the supervisor knows what to run

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel and wait until it listens. Raises GraderError when it does not."""
        self._link = self._open_link()
        with open_listeners(self.parent.ip) as listeners:
            info = {**self.parent.get_connection_info(), "key": self.parent.session.key.decode()}
            request = KernelRequest(self._workspace, self.parent.folder, info, listeners)
            self._link.send(request.to_message(), tuple(listeners.values()))
        await self._wait_until_ready()
        return self.parent.get_connection_info()

    async def poll(self) -> int | None:
        """Return None while the kernel lives, else an exit code: 0 is dead as well, and 1 stands for unknown."""
        self.listen()
        if self.ending is None:
            return None
        return self.ending.exit_code if self.ending.exit_code is not None else 1

    async def cleanup(self, restart: bool = False) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def stop(self, reason: Stop | None) -> None:
        link = self._link  # a thread of the broker's may stop the kernel while another closes the link
        if link is not None and self.ending is None:
            try:
                link.send({"stop": reason})
            except OSError:
                self.listen()

    def listen(self) -> None:
        """Note what the supervisor has reported so far."""
        link = self._link
        if link is None or self.ending is not None:
            return
        try:
            for message in link.receive():
                self.ready = self.ready or message["event"] == "ready"
                if message["event"] == "ended":
                    self.ending = Ending.from_message(message["ending"])
        except EOFError:
            self.ending = Ending(fault="the supervisor of the sandbox ended without a report")

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while not self.ready and self.ending is None and time.monotonic() < deadline:
            self.listen()
            await asyncio.sleep(STEP_S)
        if not self.ready:
            ending = self.ending or Ending(fault=f"it did not answer within {START_S:.0f} s")
            stopped = f", stopped for passing its limit on {ending.stopped_by}" if ending.stopped_by else ""
            why = ending.fault or f"it ended with code {ending.exit_code}{stopped}"
            await self.cleanup()
            raise GraderError(f"No kernel could be started in the sandbox: {why}. Run `make doctor`.")


class SandboxManager(BoundedManager):
    """A kernel manager for one kernel in one sandbox."""

    def __init__(self, policy: SandboxPolicy, workspace: Workspace, open_link: Callable[[], Link]) -> None:
        super().__init__(policy)
        self.transport, self.ip, self.cache_ports = "ipc", str(self.folder / "z"), False
        for name, port in PORTS.items():
            setattr(self, name, port)
        self.provisioner: SandboxProvisioner = SandboxProvisioner(open_link=open_link, workspace=workspace, parent=self)

    @property
    def ending(self) -> Ending | None:
        self.provisioner.listen()
        return self.provisioner.ending

    async def _end(self) -> Ending:
        self.provisioner.stop(None)
        while self.provisioner.has_process and self.ending is None:
            await asyncio.sleep(STEP_S)
        return self.ending or Ending(fault="the kernel was never started")

    def _create_connected_socket(self, channel: str, identity: bytes | None = None) -> Any:
        import zmq

        connected = open_bounded_socket(self.context, zmq.DEALER)  # jupyter_client's manager opens none but control
        connected.connect(self._make_url(channel))
        return connected

    def write_connection_file(self, **kwargs: Any) -> None:
        """Write none: the key travels to the supervisor in the request."""

    def _reconcile_connection_info(self, info: Any) -> None:
        """Keep the connection information: the kernel got it from here."""


@contextmanager
def open_listeners(stem: str) -> Iterator[dict[int, int]]:
    """Open unix sockets at `<stem>-<port>` that listen already; yield port -> descriptor. Hand them on inside."""
    with contextlib.ExitStack() as opened:
        listeners = {port: opened.enter_context(socket.socket(socket.AF_UNIX)) for port in PORTS.values()}
        for port, listener in listeners.items():
            listener.bind(f"{stem}-{port}")
            listener.listen(8)
            listener.setblocking(False)  # zmq expects it of a descriptor that it is given
        yield {port: listener.fileno() for port, listener in listeners.items()}


def run_script(open_link: Callable[[], Link], workspace: Workspace, script: str, timeout_s: float) -> Ending:
    """Run trusted Python source in a sandbox instead of a kernel; for self-tests."""
    with open_socket_folder("kernel") as folder, contextlib.closing(open_link()) as link:
        deadline = time.monotonic() + timeout_s
        try:
            link.send(KernelRequest(workspace, folder, script=script).to_message())
            while time.monotonic() < deadline:
                for message in link.receive():
                    if message["event"] == "ended":
                        return Ending.from_message(message["ending"])
                time.sleep(STEP_S)
        except (OSError, EOFError) as error:
            return Ending(fault=f"the supervisor of the sandbox ended without a report ({error})")
    return Ending(fault=f"it did not answer within {timeout_s:.0f} s")
