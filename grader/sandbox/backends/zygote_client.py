"""The grader's side of a zygote (zygote.py): start it, wait for it, open links to it, end it.

Where somebody kills it, as a system does that looks for memory, another one takes its place: each kernel that is wanted
from then on waits for its imports instead of for nobody.
"""

import contextlib
import json
import math
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Final

from grader.errors import GraderError
from grader.paths import ROOT
from grader.sandbox.environment import read_loader_variables
from grader.sandbox.folders import open_socket_folder
from grader.sandbox.link import SOCKET, Link
from grader.sandbox.policy import SandboxPolicy, Warmup

STEP_S: Final = 0.01
IMPORT_S: Final = 300.0  # at most, on a machine that does other things or reads from far away
REFUSED_S: Final = 10.0  # of a zygote that is gone: another one would have taken its place
LOOK_S: Final = 0.5
MOST_STARTS: Final = 200
COMMAND: Final = (sys.executable, "-s", "-m", "grader.sandbox.zygote")


class Zygote:
    """A running zygote. It ends when this process ends in any way, and on `close`."""

    def __init__(self, policy: SandboxPolicy, warmup: Warmup) -> None:
        """Start the imports without waiting for them."""
        self._held = contextlib.ExitStack()
        self.folder = self._held.enter_context(open_socket_folder("zygote"))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  lives as long; a pipe would fill up while nobody reads
        self._policy, self._warmup = policy, warmup
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._start()
        threading.Thread(target=self._replace_when_killed, daemon=True).start()

    def _start(self) -> None:
        fixed = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", **read_loader_variables()}
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        # a session of its own, since the leash ends it; ctrl-C would end it before it has cleaned up
        options = {"cwd": ROOT, "env": {**fixed, **self._warmup.environ}, "start_new_session": True, **streams}
        self._process = subprocess.Popen(COMMAND, **options)
        request = {
            "folder": str(self.folder), "policy": self._policy.to_json(), "modules": list(self._warmup.modules),
        }  # fmt: skip
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        self._ready = False

    def _replace_when_killed(self) -> None:
        """Start another one in place of one that was killed after it had listened once. Ends when it is closed."""
        listened = False
        for _ in range(MOST_STARTS):
            while self._process.poll() is None:
                if self._closed.wait(LOOK_S):
                    return
            listened = listened or self.address.exists()
            with self._lock:
                if self._closed.is_set() or not listened:
                    return
                self.address.unlink(missing_ok=True)
                for stream in (self._process.stdin, self._process.stdout):
                    assert stream is not None
                    with contextlib.suppress(OSError):  # what was not flushed goes with the process
                        stream.close()
                self._start()

    @property
    def address(self) -> Path:
        return self.folder / SOCKET

    def wait(self, timeout_s: float = IMPORT_S) -> None:
        """Wait until everything is imported. Raises GraderError when that fails."""
        assert self._process.stdout is not None
        with self._lock:
            if self._ready:
                return
            readable, _, _ = select.select([self._process.stdout], [], [], timeout_s)
            self._ready = bool(readable) and self._process.stdout.readline() == b"ready\n"
        if not self._ready:
            slow = f"it still imports libraries after {timeout_s:.0f} s; end other programs and try again"
            why = self._read_last_output() if readable else slow
            self._process.kill()
            self._process.wait()
            raise GraderError(f"The process that keeps kernels warm did not start: {why}.")

    def close(self) -> None:
        """End it and every kernel that came from it. While it imports it has none, and would not see the leash.

        Safe to call twice.
        """
        if self._closed.is_set():
            return
        self._closed.set()
        with self._lock:
            self._end()
        self._log.close()
        self._held.close()

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if not self._ready and not select.select([self._process.stdout], [], [], 0)[0]:
            self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read_last_output(self) -> str:
        """Return the last line of a process that has closed its output, and so is about to end."""
        self._process.wait()
        self._log.seek(0)
        return self._log.read().decode(errors="replace").strip().rpartition("\n")[2] or "no answer in time"


def connect(address: Path) -> Link:
    """Open a link to the zygote that listens, or soon will, at `address`. Raises GraderError."""
    deadline, refused_since = time.monotonic() + IMPORT_S, math.inf
    while True:
        end = socket.socket(socket.AF_UNIX)
        try:
            end.connect(str(address))
        except OSError as error:
            end.close()
            now = time.monotonic()
            refused_since = min(refused_since, now) if isinstance(error, ConnectionRefusedError) else math.inf
            if now > deadline or now - refused_since > REFUSED_S or not address.parent.exists():
                ended = f"The process that keeps kernels warm has ended ({error}). Start the command again."
                raise GraderError(ended) from error
            time.sleep(STEP_S)
        else:
            return Link(end)
