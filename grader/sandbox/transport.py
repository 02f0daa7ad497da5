"""The asker's side of a kernel's messages: what comes in is bounded, counted and checked before anybody uses it.

The kernel listens on unix sockets that the asker created (provisioner.py); connecting never follows a path that the
student could have changed, and a connection that breaks is not made again. zmq queues few messages per socket and drops
the connection at a frame above the cap, so that what waits unread is bounded; the kernel's side queues without a limit,
inside its own memory limit, so that an honest kernel never loses a message and a missing one means a limit was passed.

`Intake` counts bytes and messages and checks the form of each message. What passes a cap, or has a form that no
honest kernel sends, stops the kernel (`on_violation` records the reason and kills) and raises. nbclient, which is
waiting for a reply at that moment, sees a dead kernel.

One thing zmq cannot bound: a message of endlessly many frames, each below the cap, is collected until its last frame.
So the client also looks at the memory of its own process. A process that reads from hostile kernels should have a limit
of its own besides.

Comm messages (widgets) are of no use without a browser and are passed on as belonging to no request.
"""

import asyncio
import contextlib
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import psutil
import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from traitlets import Any as AnyTrait
from traitlets import Type
from zmq.utils.monitor import parse_monitor_message

from grader.sandbox.policy import MIB, Ending, SandboxPolicy, Stop

LARGEST_FRAME_MIB: Final = 8
MOST_WAITING: Final = 4  # × the largest frame: what one socket may hold unread
LOOK_EVERY_S: Final = 0.02
GROWTH: Final = 2  # what admitted output may take as parsed messages, as a multiple of its bytes
SLACK_MIB: Final = 40  # growth that has nothing to do with messages
GRACE_S: Final = 0.5  # between a broken connection and the news that the kernel is dead
READY_STEP_S: Final = 0.3

# What each message must hold for nbclient to use it: field -> type.
CONTENT: Final[Mapping[str, Mapping[str, type | tuple[type, ...]]]] = {
    "status": {"execution_state": str},
    "stream": {"name": str, "text": str},
    "display_data": {"data": dict, "metadata": dict},
    "update_display_data": {"data": dict, "metadata": dict},
    "execute_result": {"data": dict, "metadata": dict},
    "error": {"ename": str, "evalue": str, "traceback": list},
    "clear_output": {"wait": bool},
    "execute_input": {"code": str},
    "execute_reply": {"status": str},
    "kernel_info_reply": {"language_info": dict},
}
Violation = Callable[[Stop], None]


class OutputLimit(Exception):
    """The kernel sent more than the policy allows. It has been stopped with the reason `output`."""


class MalformedMessage(Exception):
    """The kernel sent what no honest kernel sends. It has been stopped with the reason `protocol`."""


class MessageGuard:
    """Counts and checks what comes from one kernel, over all its sockets."""

    def __init__(self, policy: SandboxPolicy, on_violation: Violation) -> None:
        self._bytes_left = policy.output_mib * MIB
        self.growth_mib = GROWTH * policy.output_mib + SLACK_MIB
        self._messages_left = policy.output_messages
        self.stop = on_violation

    def admit(self, frames: list[bytes]) -> None:
        """Count one message. Raises OutputLimit."""
        self._bytes_left -= sum(map(len, frames))
        self._messages_left -= 1
        if self._bytes_left < 0 or self._messages_left < 0:
            self.stop(Stop.OUTPUT)
            raise OutputLimit("the notebook printed more than is allowed")

    def check(self, parse: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Parse one message and check its form. Raises MalformedMessage."""
        try:
            message = parse()
            _check_form(message)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
            self.stop(Stop.PROTOCOL)
            raise MalformedMessage(f"malformed message from the kernel: {type(error).__name__}") from error
        return {**message, "parent_header": {}} if message["msg_type"].startswith("comm") else message


def _check_form(message: dict[str, Any]) -> None:
    header, content = message["header"], message["content"]
    if not (isinstance(header, dict) and isinstance(content, dict) and isinstance(message["parent_header"], dict)):
        raise TypeError("header, parent header and content are objects")
    if not (isinstance(header["msg_type"], str) and isinstance(header["msg_id"], str)):
        raise TypeError("a message has a type and an id")
    if not isinstance(content.get("transient", {}), dict | None):
        raise TypeError("transient is an object")
    if not isinstance((content.get("transient") or {}).get("display_id", ""), str | None):
        raise TypeError("a display id is a text")
    for field, kind in CONTENT.get(header["msg_type"], {}).items():
        if content.get("status") in ("aborted", "abort") and field not in content:
            continue
        if not isinstance(content[field], kind):
            raise TypeError(f"{field} has the wrong type")
    if not all(isinstance(line, str) for line in content.get("traceback") or ()):
        raise TypeError("a traceback is a list of texts")


class GuardedChannel(AsyncZMQSocketChannel):
    """A channel whose messages pass an `Intake`. The client sets it right after the channel is made."""

    intake: MessageGuard | None = None

    async def _recv(self, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # as its own base does
        assert self.socket is not None
        assert self.intake is not None
        frames: list[bytes] = await self.socket.recv_multipart(**kwargs)
        self.intake.admit(frames)
        return self.intake.check(lambda: self._parse(frames))

    def _parse(self, frames: list[bytes]) -> dict[str, Any]:
        _, rest = self.session.feed_identities(frames)
        message: dict[str, Any] = self.session.deserialize(rest)
        return message


def open_bounded_socket(context: Any, kind: int, *, retry: bool = False) -> Any:
    """A zmq socket that holds little, connects once (unless it may have to wait for a listener), and closes at once."""
    socket = context.socket(kind)
    socket.linger = 0
    socket.maxmsgsize = LARGEST_FRAME_MIB * MIB
    socket.rcvhwm = MOST_WAITING
    if not retry:
        socket.reconnect_ivl = -1
    return socket


class BoundedClient(AsyncKernelClient):
    """A kernel client over bounded, counted channels, without heartbeat and standard input."""

    intake = AnyTrait()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._monitored: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []

    shell_channel_class = Type(GuardedChannel)
    iopub_channel_class = Type(GuardedChannel)
    control_channel_class = Type(GuardedChannel)
    stdin_channel_class = Type(GuardedChannel)

    def _create_connected_socket(self, channel: str, identity: bytes | None = None) -> Any:
        kinds = {"iopub": zmq.SUB, "shell": zmq.DEALER, "control": zmq.DEALER, "stdin": zmq.DEALER}
        socket = open_bounded_socket(self.context, kinds[channel], retry=self.transport == "tcp")
        if identity:
            socket.identity = identity
        if channel in ("iopub", "shell"):
            self._watch(socket)
        socket.connect(self._make_url(channel))
        return socket

    def start_channels(
        self, shell: bool = True, iopub: bool = True, stdin: bool = False, hb: bool = False, control: bool = True
    ) -> None:
        """Open the channels. Heartbeat and standard input stay closed whatever is asked for."""
        super().start_channels(shell=shell, iopub=iopub, stdin=False, hb=False, control=control)
        for channel in (self.shell_channel, self.iopub_channel, self.control_channel):
            channel.intake = self.intake
        self._tasks.append(asyncio.ensure_future(self._weigh()))

    def stop_channels(self) -> None:
        for task in self._tasks:
            task.cancel()
        for socket in self._monitored:
            with contextlib.suppress(zmq.ZMQError):
                socket.disable_monitor()
        self._monitored.clear()
        for name in ("_shell_channel", "_iopub_channel", "_control_channel", "_stdin_channel"):
            channel = getattr(self, name)
            if channel is not None:
                channel.stop()
        if self._created_context and not self.context.closed:
            self.context.destroy(linger=0)

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers on both channels. Raises RuntimeError when it does not.

        The inherited one waits 0.2 s for silence; here the end of the answer is what is waited for.
        """
        deadline = time.monotonic() + (timeout or 60.0)
        while time.monotonic() < deadline:
            request = self.kernel_info()
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(max(READY_STEP_S, 2.0)):
                    await self._wait_for_reply(request)
                async with asyncio.timeout(READY_STEP_S):
                    await self._wait_until_idle(request)
                    return
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
        raise RuntimeError("Kernel did not become ready in time")

    async def _wait_for_reply(self, request: str) -> None:
        while True:
            message = await self.shell_channel.get_msg(timeout=None)
            if message["parent_header"].get("msg_id") == request:
                self._handle_kernel_info_reply(message)
                return

    async def _wait_until_idle(self, request: str) -> None:
        while True:
            message = await self.iopub_channel.get_msg(timeout=None)
            ours = message["parent_header"].get("msg_id") == request
            if ours and message["content"].get("execution_state") == "idle":
                return

    def _watch(self, socket: Any) -> None:
        """Notice when the connection breaks though the kernel lives: a frame above the cap does that."""
        monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._monitored.append(socket)
        self._tasks.append(asyncio.ensure_future(self._wait_for_break(monitor)))

    async def _weigh(self) -> None:
        """Stop the kernel when this process grows by more than the admitted output explains."""
        process = psutil.Process()
        most = process.memory_info().rss + self.intake.growth_mib * MIB
        while process.memory_info().rss < most:
            await asyncio.sleep(LOOK_EVERY_S)
        self.intake.stop(Stop.OUTPUT)

    async def _wait_for_break(self, monitor: Any) -> None:
        parse_monitor_message(await monitor.recv_multipart())
        await asyncio.sleep(GRACE_S)
        if await self.is_alive():
            self.intake.stop(Stop.OUTPUT)


class BoundedManager(AsyncKernelManager):
    """A kernel manager whose clients are bounded, and which knows how its kernel ended. Use it once.

    nbclient neither shuts down a manager that was handed to it nor closes the channels it opened: `close` does both.
    """

    def __init__(self, policy: SandboxPolicy, on_violation: Violation) -> None:
        super().__init__()
        self._intake = MessageGuard(policy, on_violation)
        self._clients: list[BoundedClient] = []

    @property
    def client_factory(self) -> Any:
        return BoundedClient

    def client(self, **kwargs: Any) -> BoundedClient:  # type: ignore[override]  # the base knows blocking clients
        client: Any = super().client(intake=self._intake, **kwargs)
        self._clients.append(client)
        return cast(BoundedClient, client)

    @property
    @abstractmethod
    def ending(self) -> Ending | None:
        """How the kernel ended; None while it lives."""

    async def close(self) -> Ending:
        """Kill the kernel if it lives, wait for its evidence, remove what it used. Safe to call twice."""
        for client in self._clients:
            client.stop_channels()
        self._clients.clear()
        return await self._end()

    close_now = run_sync(close)

    @abstractmethod
    async def _end(self) -> Ending: ...
