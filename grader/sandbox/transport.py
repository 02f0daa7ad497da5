"""The grader's side of a kernel's messages: they are bounded, counted and checked before anything uses them.

The kernel listens on unix sockets that the grader created (provisioner.py). Connecting follows no path that the student
could have changed, and a broken connection is not made again. zmq queues few messages per socket and drops the
connection at a frame above the cap, so that what waits unread is bounded. The kernel's side queues without a limit,
inside its own memory limit: an honest kernel loses no message, and a missing one means that a limit was passed.

`MessageGuard` counts bytes and messages and checks the form of each message. A message that passes a cap, or has a form
that no honest kernel sends, stops the kernel (`on_violation` records the reason and kills) and raises. nbclient, which
waits for a reply at that moment, sees a dead kernel.

zmq cannot bound one thing: it collects a message of endlessly many frames, each below the cap, until the last frame. So
the client also watches the memory of its own process. A process that reads from hostile kernels should have a limit of
its own besides.

Comm messages (widgets) need a browser; they are passed on as belonging to no request.
"""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final, NoReturn, cast

import psutil
import zmq
import zmq.asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from nbclient.exceptions import DeadKernelError
from traitlets import Any as AnyTrait
from traitlets import Type
from zmq.utils.monitor import parse_monitor_message

from grader.sandbox.policy import MIB, SandboxPolicy, Stop

LARGEST_FRAME_MIB: Final = 8
MOST_WAITING: Final = 4  # messages that one socket may hold unread
LOOK_EVERY_S: Final = 0.02
GROWTH: Final = 2  # memory that parsed messages may take, as a multiple of their bytes
SLACK_MIB: Final = 40  # growth that has nothing to do with messages
GRACE_S: Final = 5.0  # between a broken connection and the news that the kernel is dead: a container takes its time
REPLY_S: Final = 2.0  # for the reply to the first question, before it is asked again
IDLE_S: Final = 0.3  # from the reply to the end of the answer
NEVER_MS: Final = 10**9  # to a new connection. -1 would end the broken one in the midst of a message: libzmq aborts

MOST_VALUES: Final = 50_000  # in one message: texts, lists, objects and commas
# A text, or the beginning of another value. Possessive (++, *+), so that nothing makes it slow.
VALUE: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{,]', re.DOTALL)
CONTENT_PART: Final = 3  # after header, parent header and metadata
NOT_KEPT: Final = "[not kept: a tree of too many values]"
# What stands in its place: every field that nbclient and nbformat read of an output or of the reply to a cell, whatever
# its kind. An error stays one.
LEFT_OUT: Final = json.dumps(
    {
        **{"data": {"text/plain": NOT_KEPT}, "metadata": {}, "execution_count": None},
        **{"name": "stdout", "text": NOT_KEPT},
        **{"ename": "Error", "evalue": NOT_KEPT, "traceback": [NOT_KEPT]},
        "status": "ok",
    }
).encode()

# The fields of each message that nbclient uses: field -> type.
CONTENT: Final[Mapping[str, Mapping[str, type | tuple[type, ...]]]] = {
    "status": {"execution_state": str},
    "stream": {"name": str, "text": str},
    **{kind: {"data": dict, "metadata": dict} for kind in ("display_data", "update_display_data", "execute_result")},
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
    """The counts and checks on what one kernel sends, over all its sockets."""

    def __init__(self, policy: SandboxPolicy, on_violation: Violation) -> None:
        self._bytes_left, self._messages_left = policy.output_mib * MIB, policy.output_messages
        self.growth_mib = GROWTH * policy.output_mib + SLACK_MIB
        self.stop = on_violation

    def admit(self, frames: list[bytes]) -> None:
        """Count one message. Raises OutputLimit."""
        self._bytes_left -= sum(map(len, frames))
        self._messages_left -= 1
        if self._bytes_left < 0 or self._messages_left < 0:
            self.stop(Stop.OUTPUT)
            raise OutputLimit("The notebook sent more output than it may.")

    def check(self, parse: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Parse one message and check its form. Raises MalformedMessage."""
        try:
            message = parse()
            _check_form(message)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, MemoryError) as error:
            self.stop(Stop.PROTOCOL)
            raise MalformedMessage(f"The kernel sent a malformed message ({type(error).__name__}).") from error
        return {**message, "parent_header": {}} if message["msg_type"].startswith("comm") else message


def _check_form(message: dict[str, Any]) -> None:
    header, content = message["header"], message["content"]
    if not (isinstance(header, dict) and isinstance(content, dict) and isinstance(message["parent_header"], dict)):
        raise TypeError("header, parent header and content must be objects")
    if not (isinstance(header["msg_type"], str) and isinstance(header["msg_id"], str)):
        raise TypeError("a message must have a type and an id")
    transient = {} if content.get("transient") is None else content["transient"]
    if not (isinstance(transient, dict) and isinstance(transient.get("display_id", ""), str | None)):
        raise TypeError("transient must be an object, and a display id a text")
    for field, kind in CONTENT.get(header["msg_type"], {}).items():
        is_left_out = content.get("status") in ("aborted", "abort") and field not in content
        if not (is_left_out or isinstance(content[field], kind)):
            raise TypeError(f"{field} has the wrong type")
    if not all(isinstance(line, str) for line in content.get("traceback") or ()):
        raise TypeError("a traceback must be a list of texts")


def _holds_many_values(part: bytes) -> bool:
    """Return True for JSON of more values than a message of an honest kernel has; texts are one each."""
    if sum(map(part.count, (b",", b"[", b"{"))) <= MOST_VALUES:  # a bound, and fast: most messages end here
        return False
    return any(True for _ in islice(VALUE.finditer(part), MOST_VALUES, None))


class GuardedChannel(AsyncZMQSocketChannel):
    """A channel whose messages pass a `MessageGuard`, which the client sets right after it has made the channel."""

    guard: MessageGuard | None = None

    async def _recv(self, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # as its own base does
        assert self.socket is not None
        assert self.guard is not None
        frames: list[bytes] = await self.socket.recv_multipart(**kwargs)
        self.guard.admit(frames)
        return self.guard.check(lambda: self.session.deserialize(self._leave_out(frames)))

    def _leave_out(self, frames: list[bytes]) -> list[bytes]:
        """Return signature and parts of a message, with a sentence in place of a tree that is too large to parse.

        A tree of JSON takes up to seventy times its bytes. Raises ValueError where it is no output of a cell.
        """
        signature, *parts = cast(list[bytes], self.session.feed_identities(frames)[1])
        if any(map(_holds_many_values, parts[:CONTENT_PART])):
            raise ValueError("a header with so many values")
        if _holds_many_values(parts[CONTENT_PART]):
            parts[CONTENT_PART] = LEFT_OUT
            signature = self.session.sign(parts[: CONTENT_PART + 1])
        return [signature, *parts]


def open_bounded_socket(context: Any, kind: int, *, retry: bool = False) -> Any:
    """Open a zmq socket that holds little and closes at once. `retry`: it may have to wait for its listener."""
    socket = context.socket(kind)
    socket.linger = 0
    socket.maxmsgsize = LARGEST_FRAME_MIB * MIB
    socket.rcvhwm = MOST_WAITING
    socket.sndtimeo = 0  # where the connection is broken, it would wait for another one, for ever
    if not retry:
        socket.reconnect_ivl = NEVER_MS
    return socket


class BoundedClient(AsyncKernelClient):
    """A kernel client over bounded, guarded channels, without heartbeat and standard input."""

    guard = AnyTrait()
    shell_channel_class = Type(GuardedChannel)
    iopub_channel_class = Type(GuardedChannel)
    control_channel_class = Type(GuardedChannel)
    stdin_channel_class = Type(GuardedChannel)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._monitored: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._breaks: list[asyncio.Task[None]] = []  # each ends when the kernel of a broken connection is dead

    def _create_connected_socket(self, channel: str, identity: bytes | None = None) -> Any:
        kind = zmq.SUB if channel == "iopub" else zmq.DEALER
        socket = open_bounded_socket(self.context, kind, retry=self.transport == "tcp")
        if identity:
            socket.identity = identity
        if channel in ("iopub", "shell"):  # a frame above the cap breaks the connection though the kernel lives
            monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            self._monitored.append(socket)
            self._breaks.append(asyncio.ensure_future(self._stop_at_break(monitor)))
        socket.connect(self._make_url(channel))
        return socket

    def start_channels(
        self, shell: bool = True, iopub: bool = True, stdin: bool = False, hb: bool = False, control: bool = True
    ) -> None:
        """Open the channels. Heartbeat and standard input stay closed in any case."""
        super().start_channels(shell=shell, iopub=iopub, stdin=False, hb=False, control=control)
        for channel in (self.shell_channel, self.iopub_channel, self.control_channel):
            channel.guard = self.guard
        self._tasks.append(asyncio.ensure_future(self._watch_own_memory()))

    def stop_channels(self) -> None:
        for task in (*self._tasks, *self._breaks):
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

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Send code. Return the id of the request; where the connection is broken, what raises when it is awaited."""
        try:
            return super().execute(*args, **kwargs)
        except zmq.Again:
            return self._wait_for_the_end()

    async def _wait_for_the_end(self) -> NoReturn:
        """Raise DeadKernelError when it is known why the connection is broken."""
        await asyncio.wait(self._breaks, timeout=2 * GRACE_S, return_when=asyncio.FIRST_COMPLETED)
        raise DeadKernelError("The connection to the kernel is broken.")

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers on both channels. Raises RuntimeError when it does not.

        The inherited method waits 0.2 s for silence; this one waits for the end of the answer.
        """
        deadline = time.monotonic() + (timeout or 60.0)
        while time.monotonic() < deadline:
            with contextlib.suppress(asyncio.TimeoutError, zmq.Again):
                request = self.kernel_info()
                async with asyncio.timeout(REPLY_S):
                    self._handle_kernel_info_reply(await _find_message(self.shell_channel, request))
                async with asyncio.timeout(IDLE_S):
                    answer: dict[str, Any] = {}
                    while answer.get("execution_state") != "idle":
                        answer = (await _find_message(self.iopub_channel, request))["content"]
                    return
            if not await self.is_alive():
                raise RuntimeError("The kernel died before it answered.")
            await asyncio.sleep(LOOK_EVERY_S)
        raise RuntimeError("The kernel did not answer in time.")

    async def _watch_own_memory(self) -> None:
        """Stop the kernel when this process grows by more than the admitted output explains."""
        process = psutil.Process()
        most = process.memory_info().rss + self.guard.growth_mib * MIB
        while process.memory_info().rss < most:
            await asyncio.sleep(LOOK_EVERY_S)
        self.guard.stop(Stop.OUTPUT)

    async def _stop_at_break(self, monitor: Any) -> None:
        parse_monitor_message(await monitor.recv_multipart())
        deadline = time.monotonic() + GRACE_S
        while await self.is_alive():
            if time.monotonic() > deadline:
                self.guard.stop(Stop.OUTPUT)
                return
            await asyncio.sleep(LOOK_EVERY_S)


async def _find_message(channel: Any, request: str) -> dict[str, Any]:
    """Wait for the next message that belongs to a request."""
    while True:
        message: dict[str, Any] = await channel.get_msg(timeout=None)
        if message["parent_header"].get("msg_id") == request:
            return message
