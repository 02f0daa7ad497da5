"""The line between whoever asked for a kernel and its supervisor: JSON objects, one per line, over a unix socket.

The first message carries the kernel's listening sockets as descriptors. Afterwards the asker may send `{"stop":
reason}`; the supervisor sends `{"event": "ready"}` and `{"event": "ended", …}`. Closing the line ends the kernel, so
a kernel never outlives its asker. Neither end is ever in the hands of the sandbox.
"""

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

SOCKET: Final = "zygote"  # where the zygote listens, in its folder
LONGEST_MESSAGE: Final = 1 << 20
MOST_DESCRIPTORS: Final = 8


class Link:
    """One end of the line."""

    def __init__(self, end: socket.socket, at_close: Callable[[], object] = lambda: None) -> None:
        self._end = end
        self._at_close = at_close
        self._pending = b""

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()
        self._at_close()

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send one message. Raises OSError when the other end is gone."""
        data = json.dumps(message).encode() + b"\n"
        sent = socket.send_fds(self._end, [data], list(descriptors)) if descriptors else 0
        self._end.sendall(data[sent:])

    def receive(self) -> list[dict[str, Any]]:
        """Every complete message that has arrived, waiting for nothing. Raises EOFError when the other end is gone."""
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

    def receive_first(self, timeout_s: float) -> tuple[dict[str, Any], list[int]]:
        """The first message with its descriptors. Raises EOFError or OSError (also for a time-out)."""
        self._end.settimeout(timeout_s)
        data, descriptors, _, _ = socket.recv_fds(self._end, LONGEST_MESSAGE, MOST_DESCRIPTORS)
        while not data.endswith(b"\n"):
            more = self._end.recv(LONGEST_MESSAGE)
            if not more or len(data) > LONGEST_MESSAGE:
                raise EOFError("no request")
            data += more
        self._end.settimeout(None)
        return json.loads(data), descriptors
