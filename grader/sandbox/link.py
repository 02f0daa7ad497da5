"""The link between the grader and a supervisor: JSON objects, one per line, over a unix socket.

The first message is a `KernelRequest` and carries the kernel's listening sockets as descriptors. Afterwards the grader
may send `{"stop": reason}`; the supervisor sends `{"event": "ready"}` and `{"event": "ended", "ending": {…}}`. Closing
the link ends the kernel, so a kernel never outlives its grader. No sandbox ever holds either end.
"""

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from grader.sandbox.policy import Workspace

SOCKET: Final = "zygote"  # where the zygote listens, in its folder
LONGEST_MESSAGE: Final = 1 << 20
MOST_DESCRIPTORS: Final = 8


@dataclass(frozen=True)
class KernelRequest:
    """An order for one kernel on these listeners, or for one run of a script."""

    workspace: Workspace
    folder: Path  # of this kernel alone; the supervisor removes it at the end
    info: Mapping[str, Any] = field(default_factory=dict)
    listeners: Mapping[int, int] = field(default_factory=dict)  # port -> descriptor
    script: str = ""

    def to_message(self) -> dict[str, Any]:
        """Return the request as JSON values; its listeners travel beside them."""
        work, order = self.workspace, {"info": dict(self.info), "ports": list(self.listeners), "script": self.script}
        folders = {"job": work.job.absolute(), "evidence": work.evidence.absolute(), "folder": self.folder}
        return {**{name: str(path) for name, path in folders.items()}, "environ": dict(work.environ), **order}

    @classmethod
    def from_message(cls, message: Mapping[str, Any], descriptors: Sequence[int]) -> Self:
        """Read a request. Raises KeyError or ValueError for anything else."""
        workspace = Workspace(job=Path(message["job"]), evidence=Path(message["evidence"]), environ=message["environ"])
        listeners = dict(zip(message["ports"], descriptors, strict=True))
        return cls(workspace, Path(message["folder"]), message["info"], listeners, message["script"])


class Link:
    """One end of the link."""

    def __init__(self, end: socket.socket, at_close: Callable[[], object] = lambda: None) -> None:
        self._end, self._at_close, self._pending = end, at_close, b""

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()
        self._at_close()

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send one message. Raises OSError when the other end is closed."""
        data = json.dumps(message).encode() + b"\n"
        sent = socket.send_fds(self._end, [data], list(descriptors)) if descriptors else 0
        self._end.sendall(data[sent:])

    def receive(self) -> list[dict[str, Any]]:
        """Return every complete message that has arrived, at once. Raises EOFError when the other end is closed."""
        try:
            data = self._end.recv(LONGEST_MESSAGE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError as error:
            raise EOFError(str(error)) from error
        if not data:
            raise EOFError("closed")
        *lines, self._pending = (self._pending + data).split(b"\n")
        if len(self._pending) > LONGEST_MESSAGE:
            raise EOFError("a message without an end")
        return [json.loads(line) for line in lines]

    def receive_request(self, timeout_s: float) -> KernelRequest:
        """Wait for the first message. Raises EOFError, OSError (also for a time-out), KeyError or ValueError."""
        self._end.settimeout(timeout_s)
        data, descriptors, _, _ = socket.recv_fds(self._end, LONGEST_MESSAGE, MOST_DESCRIPTORS)
        while not data.endswith(b"\n"):
            more = self._end.recv(LONGEST_MESSAGE)
            if not more or len(data) > LONGEST_MESSAGE:
                raise EOFError("no request")
            data += more
        self._end.settimeout(None)
        return KernelRequest.from_message(json.loads(data), descriptors)
